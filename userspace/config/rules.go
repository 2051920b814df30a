package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tcplimbo/tcplimbo/userspace/config/nearest"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/rules"
)

// The keys of a rule beside the thresholds, which are named as the flags are.
const (
	rulesName  = "rules"
	matchName  = "match"
	ignoreName = "ignore"
)

// The limits keep the comparison of each rule with those before it, and the matching
// itself, from taking noticeable time.
const (
	maxRules  = 100
	maxValues = 64
	maxText   = 1024
)

// thresholdKinds are the settings that a rule can override.
var thresholdKinds = map[string]finding.Kind{
	"syn-sent":    finding.SynSentStalled,
	"fin-wait2":   finding.FinWait2Dangling,
	"close-wait":  finding.CloseWaitSilent,
	"established": finding.EstablishedStalled,
	"closing":     finding.ClosingStalled,
}

// ruleKeys are in the order of the documentation.
func ruleKeys() []string {
	return []string{matchName, ignoreName, "syn-sent", "fin-wait2", "close-wait", "established", "closing"}
}

// rules reads the list of rules.
func (l *loader) rules(path string, list *yaml.Node) error {
	list = target(list)
	if list.Kind != yaml.SequenceNode {
		return fmt.Errorf("%s: %s: expected a list of rules, each beginning with \"- match:\"", position(path, list), rulesName)
	}
	if len(list.Content) > maxRules {
		return fmt.Errorf("%s: %s: more than %d rules; join those that say the same", position(path, list), rulesName, maxRules)
	}
	var all []rules.Rule
	for _, node := range list.Content {
		r := ruleReader{path: path}
		rule, err := r.rule(target(node))
		if err != nil {
			return err
		}
		if before := covering(all, rule); before != nil {
			return fmt.Errorf("%s: the rule can never match: the one on line %d comes first and matches all that it would",
				position(path, node), before.Line)
		}
		all = append(all, *rule)
	}
	l.run.Rules.Rules = all
	return nil
}

func covering(earlier []rules.Rule, r *rules.Rule) *rules.Rule {
	for i := range earlier {
		if earlier[i].Match.Covers(&r.Match) {
			return &earlier[i]
		}
	}
	return nil
}

type ruleReader struct{ path string }

func (r *ruleReader) errorf(at *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("%s: %w", position(r.path, at), fmt.Errorf(format, args...))
}

func (r *ruleReader) rule(node *yaml.Node) (*rules.Rule, error) {
	rule := &rules.Rule{Line: node.Line}
	given := map[string]*yaml.Node{}
	err := r.mapping(node, "a rule", ruleKeys(), func(key string, at, value *yaml.Node) (err error) {
		given[key] = at
		switch key {
		case matchName:
			return r.match(value, &rule.Match)
		case ignoreName:
			rule.Ignore, err = flag(value)
		default:
			var d time.Duration
			if err = single(value, func(text string) error { return setDuration(&d, text, thresholdRange) }); err == nil {
				rule.Threshold[thresholdKinds[key]] = &d
			}
		}
		if err != nil {
			return r.errorf(value, "%s: %w", key, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rule, r.sensible(node, rule, given)
}

// sensible refuses rules that would do nothing.
func (r *ruleReader) sensible(node *yaml.Node, rule *rules.Rule, given map[string]*yaml.Node) error {
	if given[matchName] == nil {
		return r.errorf(node, "the rule has no %q; without a condition use the settings themselves", matchName)
	}
	for _, key := range ruleKeys() {
		at, kind := given[key], thresholdKinds[key]
		switch {
		case at == nil, kind == finding.KindNone:
		case rule.Ignore:
			return r.errorf(at, "%s has no effect: the rule ignores what it matches", key)
		case !rule.Match.MayBe(kind):
			return r.errorf(at, "%s has no effect: the rule matches other kinds only; add %s to its kind", key, kind)
		}
	}
	if len(given) == 1 {
		return r.errorf(node, "the rule changes nothing; give it a threshold such as \"close-wait: 5m\", or ignore: true, or "+
			"ignore: false to keep what it matches from the rules below it")
	}
	if why := rule.Match.Contradicts(); why != "" {
		return r.errorf(given[matchName], "the rule can never match: %s", why)
	}
	return nil
}

// mapping walks over the keys of a mapping; keys that are not known or stand there twice
// are errors.
func (r *ruleReader) mapping(node *yaml.Node, what string, keys []string, each func(key string, at, value *yaml.Node) error) error {
	if node.Kind != yaml.MappingNode {
		return r.errorf(node, "expected %s, with keys such as %q", what, keys[0])
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], target(node.Content[i+1])
		if key.Kind != yaml.ScalarNode {
			return r.errorf(key, "a key must be a plain word")
		}
		if keys != nil && !slices.Contains(keys, key.Value) {
			return r.errorf(key, "unknown key %q of %s%s", clip(key.Value), what, meantKey(key.Value, keys))
		}
		if line, twice := lines[key.Value]; twice {
			return r.errorf(key, "key %q stands on line %d already", clip(key.Value), line)
		}
		lines[key.Value] = key.Line
		if err := each(key.Value, key, value); err != nil {
			return err
		}
	}
	return nil
}

func meantKey(word string, keys []string) string {
	if best := nearest.To(word, keys); best != "" {
		return "; did you mean " + strconv.Quote(best) + "?"
	}
	return "; allowed: " + strings.Join(keys, ", ")
}

// target is what an alias stands for.
func target(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode && node.Alias != nil {
		return node.Alias
	}
	return node
}

func single(node *yaml.Node, set func(string) error) error {
	text, err := yamlScalar(node)
	if err != nil {
		return err
	}
	return set(text)
}

func flag(node *yaml.Node) (bool, error) {
	text, err := yamlScalar(node)
	if err != nil {
		return false, err
	}
	switch text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is not known; allowed: true, false", clip(text))
}

var errNoValues = errors.New("the list is empty, so the rule can never match; name at least one value or leave the key out")
