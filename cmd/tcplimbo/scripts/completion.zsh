#compdef tcplimbo
# zsh completion for tcplimbo

_tcplimbo() {
	local line word files=0
	local -a words_found described
	while IFS= read -r line; do
		word=${line%%$'\t'*}
		if [[ $word == ":files" ]]; then
			files=1
		else
			words_found+=("$word")
			described+=("$word${${line#*$'\t'}:+  -- ${line#*$'\t'}}")
		fi
	done < <("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
	if ((files)); then
		compset -P '*='
		_files
		return
	fi
	((${#words_found})) && compadd -l -d described -a words_found
}

# When the file is autoloaded from fpath its body is the function itself.
if [[ $funcstack[1] == _tcplimbo ]]; then
	_tcplimbo "$@"
else
	compdef _tcplimbo tcplimbo
fi
