package config

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Load puts the configuration together: flag over environment over file over
// default. flags holds what was given on the command line, by name without
// dashes; lookupEnv is os.LookupEnv or a test's. Every error names where the
// value stands, the value, and what is allowed.
func Load(flags map[string]string, lookupEnv func(string) (string, bool)) (*Run, error) {
	l := newLoader()
	if err := l.defaults(); err != nil {
		return nil, err
	}
	if err := l.file(flags, lookupEnv); err != nil {
		return nil, err
	}
	if err := l.environment(lookupEnv); err != nil {
		return nil, err
	}
	if err := l.flags(flags); err != nil {
		return nil, err
	}
	if err := l.run.checkPprof(); err != nil {
		return nil, err
	}
	l.run.Rules.Base = l.run.thresholds()
	kinds := l.run.Kinds()
	if len(kinds) == 0 {
		return nil, errors.New("--syn-sent, --fin-wait2, --close-wait, --established and --closing are all 0, so nothing would be watched; " +
			"give at least one of them a duration")
	}
	for _, k := range kinds {
		l.run.watched[k] = true
	}
	if l.run.By != "" && l.run.Output != OutputConsole {
		return nil, fmt.Errorf("--by: the summary is for people and comes with --output console; --output is %s", l.run.Output)
	}
	return l.run, nil
}

type loader struct {
	settings []Setting
	run      *Run
}

func newLoader() *loader {
	return &loader{settings: Settings(), run: &Run{sources: map[string]Source{}, texts: map[string]string{}}}
}

func (l *loader) set(s *Setting, value string, from Source) error {
	if err := s.set(l.run, value); err != nil {
		return err
	}
	l.run.sources[s.Name], l.run.texts[s.Name] = from, value
	return nil
}

func (l *loader) defaults() error {
	for i := range l.settings {
		s := &l.settings[i]
		if err := l.set(s, s.Default, FromDefault); err != nil {
			return fmt.Errorf("default of --%s: %w", s.Name, err)
		}
	}
	return nil
}

func (l *loader) environment(lookup func(string) (string, bool)) error {
	for i := range l.settings {
		s := &l.settings[i]
		value, given := lookup(s.Env())
		if !given {
			continue
		}
		if err := l.set(s, value, FromEnv); err != nil {
			return fmt.Errorf("environment variable %s: %w", s.Env(), err)
		}
	}
	return nil
}

func (l *loader) flags(flags map[string]string) error {
	for i := range l.settings {
		s := &l.settings[i]
		value, given := flags[s.Name]
		if !given {
			continue
		}
		if err := l.set(s, value, FromFlag); err != nil {
			return fmt.Errorf("--%s: %w", s.Name, err)
		}
	}
	return nil
}

// file reads the file that the flag or the environment names, if any.
func (l *loader) file(flags map[string]string, lookup func(string) (string, bool)) error {
	s := l.find(configName)
	path, given := flags[configName]
	where := "--" + configName
	if !given {
		path, _ = lookup(s.Env())
		where = "environment variable " + s.Env()
	}
	if path == "" {
		return nil
	}
	text, err := readFile(path)
	if err != nil {
		return fmt.Errorf("%s: reading configuration: %w; name a readable YAML file", where, err)
	}
	return l.yaml(path, text)
}

func (l *loader) find(name string) *Setting {
	for i := range l.settings {
		if l.settings[i].Name == name {
			return &l.settings[i]
		}
	}
	return nil
}

// maxFile is far above any sensible configuration; it bounds what a path to an
// endless file can take.
const maxFile = 1 << 20

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%q is larger than 1 MiB", path)
	}
	return text, nil
}
