package config

import (
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tcplimbo/tcplimbo/userspace/rules"
)

var sourceNames = [...]string{FromDefault: "default", FromFile: "file", FromEnv: "environment", FromFlag: "flag"}

func (s Source) String() string { return sourceNames[s] }

// WriteYAML writes the configuration as a file that would give the same, with the source
// of each value. There are no secrets in it.
func (r *Run) WriteYAML(w io.Writer) error {
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, s := range Settings() {
		from := r.Source(s.Name)
		switch {
		case s.Name == configName:
			if text := r.texts[s.Name]; text != "" {
				root.HeadComment = fmt.Sprintf("read from %q (%s)", text, from)
			}
		case !s.Hidden || from != FromDefault:
			root.Content = append(root.Content, scalar(s.Name), s.node(r.texts[s.Name], r.remark(s.Name, from)))
		}
	}
	if len(r.Rules.Rules) > 0 {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range r.Rules.Rules {
			list.Content = append(list.Content, ruleNode(&r.Rules.Rules[i]))
		}
		root.Content = append(root.Content, scalar(rulesName), list)
	}
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return err
	}
	return encoder.Close()
}

func (r *Run) remark(name string, from Source) string {
	if used := r.EffectiveTick(); name == "tick" && used != r.Tick {
		return fmt.Sprintf("%s; %s is used, half of the smallest threshold", from, used)
	}
	return from.String()
}

func scalar(value string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
	if value == "" {
		n.Style = yaml.SingleQuotedStyle
	}
	return n
}

// value is a scalar without quotes where it needs none: all are read as text.
func value(text string) *yaml.Node {
	n := scalar(text)
	// As YAML writes a number; 010 and 1_000 would be others.
	if i, err := strconv.ParseUint(text, 10, 63); err == nil && strconv.FormatUint(i, 10) == text {
		n.Tag = "!!int"
	}
	return n
}

// node is the value that a setting has. One that is no number to a reader of the
// schema keeps its quotes.
func (s *Setting) node(given, comment string) *yaml.Node {
	n := scalar(given)
	switch s.Placeholder {
	case "N", "SIZE", "DURATION":
		n = value(given)
	}
	n.LineComment = comment
	return n
}

func ruleNode(r *rules.Rule) *yaml.Node {
	node := &yaml.Node{Kind: yaml.MappingNode}
	node.Content = append(node.Content, scalar(matchName), matchNode(&r.Match))
	changes := r.Ignore
	for _, key := range ruleKeys() {
		kind, ok := thresholdKinds[key]
		if !ok || r.Threshold[kind] == nil {
			continue
		}
		changes = true
		node.Content = append(node.Content, scalar(key), value(shortDuration(*r.Threshold[kind])))
	}
	if r.Ignore || !changes {
		node.Content = append(node.Content, scalar(ignoreName), &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(r.Ignore)})
	}
	return node
}

func matchNode(m *rules.Match) *yaml.Node {
	node := &yaml.Node{Kind: yaml.MappingNode}
	add := func(key string, values []string) {
		if len(values) > 0 {
			node.Content = append(node.Content, scalar(key), listNode(values))
		}
	}
	add("executable", words(m.Executables, globText))
	add("namespace", words(m.Namespaces, globText))
	if len(m.Labels) > 0 {
		labels := &yaml.Node{Kind: yaml.MappingNode}
		for _, l := range m.Labels {
			labels.Content = append(labels.Content, scalar(l.Key), listNode(words(l.Values, globText)))
		}
		node.Content = append(node.Content, scalar(podLabels), labels)
	}
	add("cgroup", words(m.Cgroups, globText))
	add("port", words(m.Ports, portText))
	add("local-port", words(m.LocalPorts, portText))
	add("peer-port", words(m.PeerPorts, portText))
	add("cidr", words(m.CIDRs, netip.Prefix.String))
	add("local-cidr", words(m.LocalCIDRs, netip.Prefix.String))
	add("peer-cidr", words(m.PeerCIDRs, netip.Prefix.String))
	var kinds []string
	for _, k := range m.Kinds {
		kinds = append(kinds, k.String())
	}
	add("kind", kinds)
	return node
}

func listNode(values []string) *yaml.Node {
	if len(values) == 1 {
		return value(values[0])
	}
	list := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, v := range values {
		list.Content = append(list.Content, value(v))
	}
	return list
}

func words[T any](values []T, word func(T) string) []string {
	var out []string
	for _, v := range values {
		out = append(out, word(v))
	}
	return out
}

func globText(g rules.Glob) string { return string(g) }

func portText(p rules.PortRange) string {
	if p.First == p.Last {
		return fmt.Sprint(p.First)
	}
	return fmt.Sprintf("%d-%d", p.First, p.Last)
}

// shortDuration is 5m for what Go calls 5m0s.
func shortDuration(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
