# fish completion for tcplimbo

function __tcplimbo_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in ($words[1] __complete $words[2..-1] "$current" 2>/dev/null)
        if string match -q ':files*' -- $line
            set -l path (string replace -r '^--[^=]*=' '' -- "$current")
            set -l flag (string match -r '^--[^=]*=' -- "$current")
            for file in (__fish_complete_path $path)
                echo "$flag$file"
            end
        else
            echo $line
        end
    end
end

complete -c tcplimbo -f -a '(__tcplimbo_complete)'
