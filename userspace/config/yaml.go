package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/tcplimbo/tcplimbo/userspace/config/nearest"
)

// yaml applies a file's text. It walks the nodes itself instead of decoding
// into a struct: that way every error has a line and a column, every value goes
// through the same parser as a flag, and no key is ignored.
func (l *loader) yaml(path string, text []byte) error {
	root, err := parseYAML(path, text)
	if err != nil || root == nil {
		return err
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if key.Value == rulesName {
			if err := l.once(path, key, rulesName, seen); err != nil {
				return err
			}
			if err := l.rules(path, value); err != nil {
				return err
			}
			continue
		}
		s, err := l.yamlKey(path, key, seen)
		if err != nil {
			return err
		}
		scalar, err := yamlScalar(value)
		if err == nil {
			err = l.set(s, scalar, FromFile)
		}
		if err != nil {
			return fmt.Errorf("%s: %s: %w", position(path, value), s.Name, err)
		}
	}
	return nil
}

// parseYAML returns the mapping at the top, nil for an empty file.
func parseYAML(path string, text []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, syntaxError(path, text, err)
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		root = nil // only comments, or an explicit null
	} else if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: expected lines such as \"close-wait: 30s\"", position(path, root))
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		return nil, fmt.Errorf("%s: a second document; only one is read", position(path, &second))
	} else if !errors.Is(err, io.EOF) {
		return nil, syntaxError(path, text, err)
	}
	return root, nil
}

var yamlLine = regexp.MustCompile(`^line (\d+): `)

// syntaxError turns the parser's error into the form of all others. It has a line but no
// column: that is where the line's text begins.
func syntaxError(path string, text []byte, err error) error {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		message = message[len(m[0]):]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
	}
	// The parser cites anchors, which can be as long as the file.
	return fmt.Errorf("%s:%d:%d: not valid YAML: %s", path, line, beginOf(text, line), strings.ToValidUTF8(clip(message), "\ufffd"))
}

// beginOf is the column, from 1, of the first character of a line that is not blank.
func beginOf(text []byte, line int) int {
	for range line - 1 {
		i := bytes.IndexByte(text, '\n')
		if i < 0 {
			return 1
		}
		text = text[i+1:]
	}
	return len(text) - len(bytes.TrimLeft(text, " \t")) + 1
}

func (l *loader) yamlKey(path string, key *yaml.Node, seen map[string]int) (*Setting, error) {
	if key.Kind != yaml.ScalarNode {
		return nil, fmt.Errorf("%s: a key must be a plain word", position(path, key))
	}
	if key.Value == configName {
		return nil, fmt.Errorf("%s: %q cannot stand in the file itself; use --config", position(path, key), configName)
	}
	s := l.find(key.Value)
	if s == nil {
		return nil, fmt.Errorf("%s: unknown key %q%s", position(path, key), clip(key.Value), l.meant(key.Value))
	}
	return s, l.once(path, key, s.Name, seen)
}

func (l *loader) once(path string, key *yaml.Node, name string, seen map[string]int) error {
	if line, twice := seen[name]; twice {
		return fmt.Errorf("%s: key %q stands on line %d already", position(path, key), name, line)
	}
	seen[name] = key.Line
	return nil
}

func (l *loader) meant(word string) string {
	names := []string{rulesName}
	for i := range l.settings {
		if name := l.settings[i].Name; name != configName {
			names = append(names, name)
		}
	}
	if best := nearest.To(word, names); best != "" {
		return "; did you mean " + strconv.Quote(best) + "?"
	}
	return "; `tcplimbo help run` lists the keys"
}

// yamlScalar returns the text of a single value as it was written: 0, 30s and
// "30s" reach the setting's parser alike.
func yamlScalar(value *yaml.Node) (string, error) {
	if value.Kind == yaml.AliasNode {
		value = value.Alias
	}
	if value.Kind != yaml.ScalarNode {
		return "", errors.New("expected a single value")
	}
	if value.ShortTag() == "!!null" {
		return "", errors.New("the value is missing; write '' for an empty one")
	}
	return value.Value, nil
}

func position(path string, at *yaml.Node) string {
	return fmt.Sprintf("%s:%d:%d", path, at.Line, at.Column)
}
