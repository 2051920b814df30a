package config

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/rules"
)

// condition is one thing that a rule can ask.
type condition struct {
	name string
	// usage is one sentence, example a value as one would write it.
	usage, example string
	// set takes one value of the list; nil for pod-labels, which is a mapping.
	set func(*rules.Match, string) error
}

// conditions are in the order of the documentation.
func conditions() []condition {
	return []condition{
		{"executable", "name of the program; with a slash, its whole path", "java", setExecutable},
		{"namespace", "Kubernetes namespace", "kube-*", setNamespace},
		{podLabels, "labels of the pod; all must hold", "app: [web, api]", nil},
		{"cgroup", "path of the cgroup below the root of its hierarchy", "/system.slice/nginx.service*", setCgroup},
		{"port", "port at one of the two ends", "8000-8999", portsOf(func(m *rules.Match) *[]rules.PortRange { return &m.Ports })},
		{"local-port", "port at this end", "443", portsOf(func(m *rules.Match) *[]rules.PortRange { return &m.LocalPorts })},
		{"peer-port", "port at the other end", "5432", portsOf(func(m *rules.Match) *[]rules.PortRange { return &m.PeerPorts })},
		{"cidr", "network of one of the two ends", "10.0.0.0/8", cidrsOf(func(m *rules.Match) *[]netip.Prefix { return &m.CIDRs })},
		{"local-cidr", "network of this end", "127.0.0.0/8", cidrsOf(func(m *rules.Match) *[]netip.Prefix { return &m.LocalCIDRs })},
		{"peer-cidr", "network of the other end", "fd00::/8", cidrsOf(func(m *rules.Match) *[]netip.Prefix { return &m.PeerCIDRs })},
		{"kind", "kind of finding", finding.CloseWaitSilent.String(), setKind},
	}
}

const podLabels = "pod-labels"

// match reads the conditions of a rule.
func (r *ruleReader) match(node *yaml.Node, m *rules.Match) error {
	all := conditions()
	var names []string
	byName := map[string]*condition{}
	for i := range all {
		names = append(names, all[i].name)
		byName[all[i].name] = &all[i]
	}
	if node.Kind == yaml.MappingNode && len(node.Content) == 0 || node.ShortTag() == "!!null" {
		return r.errorf(node, "%s asks for nothing; give at least one of %s", matchName, strings.Join(names, ", "))
	}
	return r.mapping(node, matchName, names, func(key string, _, value *yaml.Node) error {
		c := byName[key]
		if c.set == nil {
			return r.labels(value, m)
		}
		return r.values(value, c.name, func(text string) error { return c.set(m, text) })
	})
}

// values takes a single value or a list of them.
func (r *ruleReader) values(node *yaml.Node, name string, set func(string) error) error {
	list := []*yaml.Node{node}
	if node.Kind == yaml.SequenceNode {
		list = node.Content
	}
	if len(list) == 0 {
		return r.errorf(node, "%s: %w", name, errNoValues)
	}
	if len(list) > maxValues {
		return r.errorf(node, "%s: more than %d values", name, maxValues)
	}
	for _, value := range list {
		if err := single(value, set); err != nil {
			return r.errorf(value, "%s: %w", name, err)
		}
	}
	return nil
}

// labelKey is a name with an optional prefix (Kubernetes, "Labels and Selectors").
var labelKey = regexp.MustCompile(`^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)

func (r *ruleReader) labels(node *yaml.Node, m *rules.Match) error {
	if node.Kind == yaml.MappingNode && len(node.Content) == 0 {
		return r.errorf(node, "%s: %w", podLabels, errNoValues)
	}
	if node.Kind != yaml.MappingNode {
		return r.errorf(node, "%s: expected lines such as \"app: web\"", podLabels)
	}
	if len(node.Content) > 2*maxValues {
		return r.errorf(node, "%s: more than %d labels", podLabels, maxValues)
	}
	return r.mapping(node, podLabels, nil, func(key string, at, value *yaml.Node) error {
		if !labelKey.MatchString(key) {
			return r.errorf(at, "%s: %q is not the key of a label, so the rule can never match", podLabels, clip(key))
		}
		l := rules.Label{Key: key}
		err := r.values(value, podLabels+": "+key, func(text string) error {
			return addGlob(&l.Values, text, labelValue, "the value of a label")
		})
		m.Labels = append(m.Labels, l)
		return err
	})
}

// What the texts that patterns are compared with can be made of, with * and ?.
var (
	labelValue    = regexp.MustCompile(`^[-A-Za-z0-9_.*?]{0,63}$`)
	namespaceName = regexp.MustCompile(`^[-a-z0-9*?]{1,63}$`)
	absolutePath  = regexp.MustCompile(`^[/*?]`)
	programName   = regexp.MustCompile(`^[^/]+$`)
)

func addGlob(to *[]rules.Glob, text string, allowed *regexp.Regexp, what string) error {
	if len(text) > maxText {
		return fmt.Errorf("%q is longer than %d bytes", clip(text), maxText)
	}
	if strings.ContainsRune(text, 0) || !allowed.MatchString(text) {
		return fmt.Errorf("%q is no pattern for %s, so the rule can never match", clip(text), what)
	}
	*to = append(*to, rules.Glob(text))
	return nil
}

func setExecutable(m *rules.Match, text string) error {
	if strings.Contains(text, "/") {
		return addGlob(&m.Executables, text, absolutePath, "a whole path (it begins with a slash)")
	}
	return addGlob(&m.Executables, text, programName, "the name of a program")
}

func setNamespace(m *rules.Match, text string) error {
	return addGlob(&m.Namespaces, text, namespaceName, "a namespace (lower case letters, digits and -)")
}

func setCgroup(m *rules.Match, text string) error {
	return addGlob(&m.Cgroups, text, absolutePath, "a cgroup's path (it begins with a slash)")
}

func setKind(m *rules.Match, text string) error {
	var names []string
	for k := finding.KindNone + 1; k < finding.KindCount; k++ {
		if k.String() == text {
			m.Kinds = append(m.Kinds, k)
			return nil
		}
		names = append(names, k.String())
	}
	return fmt.Errorf("%q is not a kind; allowed: %s", clip(text), strings.Join(names, ", "))
}

func portsOf(field func(*rules.Match) *[]rules.PortRange) func(*rules.Match, string) error {
	return func(m *rules.Match, text string) error {
		first, last, isRange := strings.Cut(text, "-")
		if !isRange {
			last = first
		}
		a, err := strconv.ParseUint(first, 10, 16)
		b, err2 := strconv.ParseUint(last, 10, 16)
		if err := errors.Join(err, err2); err != nil || a == 0 {
			return fmt.Errorf("%q is no port; allowed: 1 to 65535, or a range such as 8000-8999", clip(text))
		}
		if a > b {
			return fmt.Errorf("%q ends before it begins, so the rule can never match", clip(text))
		}
		ports := field(m)
		*ports = append(*ports, rules.PortRange{First: uint16(a), Last: uint16(b)})
		return nil
	}
}

func cidrsOf(field func(*rules.Match) *[]netip.Prefix) func(*rules.Match, string) error {
	return func(m *rules.Match, text string) error {
		p, err := ParsePrefix(text)
		if err != nil {
			return err
		}
		prefixes := field(m)
		*prefixes = append(*prefixes, p)
		return nil
	}
}

// ParsePrefix reads a network. A single address stands for itself; an IPv4-mapped one
// is IPv4. Its error quotes the text and says what is allowed.
func ParsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err == nil && p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a network; allowed: an address or a prefix such as 10.0.0.0/8 or fd00::/8", clip(text))
	}
	return p.Masked(), nil
}
