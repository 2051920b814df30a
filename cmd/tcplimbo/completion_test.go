package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestComplete(t *testing.T) {
	w := newTestWorld(t)
	commands := w.commands()
	tests := []struct{ words, want string }{
		{"", "run list trace check explain config unpin version completion help --help --version"},
		{"r", "run"},
		{"--v", "--version"},
		{"run --cl", "--close-wait --closing"},
		{"run --close-wait 3s --cl", "--closing"},
		{"run --close-wait=3s --cl", "--closing"},
		{"list --state close_wait --st", "--state"}, // may be repeated
		{"run --ring", ""},                          // hidden
		{"run -o ", "json console none"},
		{"run --output c", "console"},
		{"run --output=c", "--output=console"},
		{"run --output = c", "console"}, // as bash splits it
		{"run --output =", "json console none"},
		{"run --config ", filesAnswer},
		{"run --config=/etc/h", filesAnswer},
		{"run --tick ", ""},
		{"run ", ""},
		{"list --all --no", "--no-header"},
		{"list --all=", ""},
		{"list --bogus=", ""},
		{"trace --new-state fin", "fin_wait_1 fin_wait_2"},
		{"completion ", "bash zsh fish"},
		{"completion f", "fish"},
		{"help ch", "check"},
		{"config ", "check print schema"},
		{"config p", "print"},
		{"config check ", ":files"},
		{"config print --ti", "--tick"},
		{"config print --output=j", "--output=json"},
		{"config nonsense ", ""},
		{"explain eof", "eof_ignored eof_unread"},
		{"explain unr", "unreachable"}, // a reason and an outcome
		{"explain -o ", "text markdown"},
		{"nonsense ", ""},
		{"nonsense --", ""},
		{"run - -", "--syn-sent --fin-wait2 --close-wait --established --closing --idle-audit --warn-pending --warn-undrained --warn-flush-p99 --output --group-above --by --log-file --log-file-max-size --journald --otlp-endpoint --metrics-addr --config --source --pin-path --cri-socket --tick --stacks --ready-file --duration --pprof --capture-dir --help"},
	}
	for _, tt := range tests {
		var got []string
		for _, c := range complete(commands, strings.Split(tt.words, " ")) {
			got = append(got, c.word)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%q: got %q, want %q", tt.words, got, tt.want)
		}
	}
	if got := complete(commands, nil); len(got) == 0 {
		t.Error("nothing for no words")
	}
}

// TestCompletionInShells lets each shell that is installed complete with its
// script and the real program.
func TestCompletionInShells(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, programName)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "limbo file.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		shell  string
		script string
		want   string
	}{
		{"bash", `source <(tcplimbo completion bash)
try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _tcplimbo; printf '[%s]' "${COMPREPLY[@]}"; echo; }
try tcplimbo r
try tcplimbo run --clos
try tcplimbo run --output = js
try tcplimbo run --output =
try tcplimbo run --config lim
try tcplimbo explain eof
try tcplimbo nonsense x
complete -p tcplimbo
`, "[run]\n[--close-wait][--closing]\n[json]\n[json][console][none]\n[limbo file.yaml]\n[eof_ignored][eof_unread]\n[]\ncomplete -F _tcplimbo tcplimbo\n"},
		{"fish", `source (tcplimbo completion fish | psub)
for line in 'tcplimbo r' 'tcplimbo run --clos' 'tcplimbo run --output=js' 'tcplimbo run --config=lim' 'tcplimbo explain eof' 'tcplimbo nonsense x'
  complete -C $line | string replace -r '\t.*' ''
  echo -
end
`, "run\n-\n--close-wait\n--closing\n-\n--output=json\n-\n--config=limbo file.yaml\n-\neof_ignored\neof_unread\n-\n-\n"},
		{"zsh", `autoload -U compinit; compinit -D -u
source <(tcplimbo completion zsh)
print -r -- $_comps[tcplimbo]
# Without a line editor, what would be offered is caught where it is added.
compadd() { local -a a; while [[ $1 == -* ]]; do case $1 in -d) shift;; -a) a=(${(P)2}); shift;; esac; shift; done; print -r -- $a; }
try() { words=("$@"); CURRENT=$#; _tcplimbo; }
try tcplimbo r
try tcplimbo run --clos
try tcplimbo run --output=js
try tcplimbo explain eof
`, "_tcplimbo\nrun\n--close-wait --closing\n--output=json\neof_ignored eof_unread\n"},
	}
	for _, tt := range tests {
		t.Run(tt.shell, func(t *testing.T) {
			path, err := exec.LookPath(tt.shell)
			if err != nil {
				t.Skipf("%s is not installed", tt.shell)
			}
			args := map[string][]string{"bash": {"--norc", "-c"}, "zsh": {"-f", "-c"}, "fish": {"--no-config", "-c"}}[tt.shell]
			cmd := exec.CommandContext(t.Context(), path, append(args, tt.script)...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), beProgram+"=1", "PATH="+dir+":"+os.Getenv("PATH"), "HOME="+dir, "TERM=dumb")
			var errs strings.Builder
			cmd.Stderr = &errs
			out, err := cmd.Output()
			if err != nil || string(out) != tt.want {
				t.Errorf("%v\ngot  %q\nwant %q\n%s", err, out, tt.want, errs.String())
			}
		})
	}
}

func TestManualIsGoodRoff(t *testing.T) {
	page := manual(newTestWorld(t).commands())
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "'") || strings.ContainsAny(line, "\t\x1b") {
			t.Errorf("a line that roff reads as something else: %q", line)
		}
	}
	if got, want := roffText(".a-b\\c 'd'"), `\&.a\-b\ec \(aqd\(aq`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("groff is not installed")
	}
	cmd := exec.CommandContext(t.Context(), groff, "-man", "-Tascii", "-ww")
	cmd.Stdin = strings.NewReader(page)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil || errs.Len() != 0 {
		t.Errorf("%v: %s", err, errs.String())
	}
	if !strings.Contains(out.String(), "--close-wait") {
		t.Error("the flags are not to be found with their dashes")
	}
}
