package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tcplimbo/tcplimbo/userspace/config"
	"github.com/tcplimbo/tcplimbo/userspace/privilege"
)

func TestConfigCommands(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	for file, text := range map[string]string{
		good: "close-wait: 11s\nrules:\n- match: {namespace: kube-*}\n  ignore: true\n",
		bad:  "rules:\n- match: {namespace: kube-*}\n  ignore: true\n- match: {namespace: kube-system}\n  close-wait: 5s\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		args      []string
		code      int
		out, errs string
	}{
		{[]string{"config", "check", good}, 0, "ok: " + good + " (kinds: 5, rules: 1)\n", ""},
		{[]string{"config", "check", "--config", good, "--established", "0"}, 0, "(kinds: 4, rules: 1)\n", ""},
		{[]string{"config", "check"}, 0, "ok: no file (kinds: 5, rules: 0)\n", ""},
		{[]string{"config", "check", bad}, 2, "", "tcplimbo: " + bad + ":4:3: the rule can never match: the one on line 2 comes first and matches all that it would\n"},
		{[]string{"config", "check", dir + "/none"}, 2, "", "no such file or directory; name a readable YAML file\n"},
		{[]string{"config", "check", good, bad}, 2, "", "give one file\n"},
		{[]string{"config", "check", "--config", good, bad}, 2, "", "give one\n"},
		{[]string{"config", "check", "--clsoing", "1s"}, 2, "", "did you mean --closing?\n"},
		{[]string{"config", "print", "--tick", "1s", good}, 0, "close-wait: 11s # file\n", ""},
		{[]string{"config", "print", bad}, 2, "", ":4:3: "},
		{[]string{"config", "schema"}, 0, `"pod-labels"`, ""},
		{[]string{"config", "schema", "x"}, 2, "", "takes flags only\n"},
		{[]string{"config"}, 0, "USAGE\n  tcplimbo config check|print|schema\n", ""},
		{[]string{"config", "chekc"}, 2, "", "did you mean `tcplimbo config check`?\n"},
		{[]string{"config", "nonsense"}, 2, "", "there is check, print, schema\n"},
		{[]string{"help", "config", "print"}, 0, "tcplimbo config print [flags] [FILE]\n", ""},
		{[]string{"config", "print", "--help"}, 0, "tcplimbo config print [flags] [FILE]\n", ""},
	}
	for _, tt := range tests {
		w := newTestWorld(t)
		code := w.run(t, tt.args...)
		if code != tt.code || !strings.Contains(w.out.String(), tt.out) || !strings.HasSuffix(w.errs.String(), tt.errs) && !strings.Contains(w.errs.String(), tt.errs) {
			t.Errorf("%q: %d\n%s%s", tt.args, code, w.out.String(), w.errs.String())
		}
		if tt.errs != "" {
			oneLine(t, w.errs.String())
		}
	}
	w := newTestWorld(t)
	if w.run(t, "config", "schema") != 0 || !json.Valid(w.out.Bytes()) {
		t.Errorf("the schema is no JSON: %s", w.out.String())
	}
}

// What the program may still do follows the configuration, and what happened is said.
func TestConfine(t *testing.T) {
	tests := []struct {
		name    string
		args    []string
		polled  bool
		dropped privilege.Dropped
		err     error
		needs   privilege.Needs
		want    string
	}{
		{
			"as usual", nil, false,
			privilege.Dropped{Kept: []string{"cap_bpf", "cap_perfmon"}, Gone: 3, Filter: true, ReadOnly: true},
			nil,
			privilege.Needs{},
			`{"level":"info","kept":"cap_bpf, cap_perfmon","dropped":3,"system_call_filter":true,"read_only":true,`,
		},
		{
			"with a log file",
			[]string{"--log-file", "/var/log/limbo"},
			false,
			privilege.Dropped{Filter: true},
			nil,
			privilege.Needs{Files: []string{"/var/log/limbo"}},
			`"kept":"none","dropped":0,"system_call_filter":true,"read_only":false,`,
		},
		{
			"without eBPF", nil, true,
			privilege.Dropped{Filter: true, ReadOnly: true},
			nil,
			privilege.Needs{Namespaces: true},
			`"read_only":true,`,
		},
		{
			"not allowed", nil, false,
			privilege.Dropped{},
			errors.New("filtering system calls: function not implemented"),
			privilege.Needs{},
			`{"level":"warn","error":"filtering system calls: function not implemented",`,
		},
		{"turned off", []string{"--sandbox", "off"}, false, privilege.Dropped{}, nil, privilege.Needs{Files: []string{"not called"}}, `"privileges are kept: --sandbox=off"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newTestWorld(t)
			got := privilege.Needs{Files: []string{"not called"}}
			w.dropPrivileges = func(n privilege.Needs) (privilege.Dropped, error) {
				got = n
				return tt.dropped, tt.err
			}
			cfg, err := config.Load(flagsOf(tt.args), w.lookupEnv)
			if err != nil {
				t.Fatal(err)
			}
			w.confine(cfg, tt.polled, newLogger(w.stderr, terminal{}))
			if line := oneLine(t, w.errs.String()); !strings.Contains(line, tt.want) || strings.Join(got.Files, " ") != strings.Join(tt.needs.Files, " ") ||
				got.Namespaces != tt.needs.Namespaces {
				t.Errorf("needs %+v, said %s", got, line)
			}
		})
	}
}

func flagsOf(args []string) map[string]string {
	flags := map[string]string{}
	for i := 0; i+1 < len(args); i += 2 {
		flags[strings.TrimPrefix(args[i], "--")] = args[i+1]
	}
	return flags
}

// A ready file of an earlier run does not speak for this one; a file that was named by
// mistake loses nothing.
func TestStaleReadyFile(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": "", "full": "precious"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		removeStale(file)
		if _, err := os.Stat(file); os.IsNotExist(err) != (text == "") {
			t.Errorf("%s: %v", name, err)
		}
	}
	removeStale(filepath.Join(dir, "none"))
	removeStale(dir)
	removeStale("")
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}
