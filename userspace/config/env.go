package config

import (
	"slices"
	"strings"

	"github.com/tcplimbo/tcplimbo/userspace/config/nearest"
)

const envPrefix = "TCPLIMBO_"

// mistypedMost bounds what a hostile environment can make be said.
const mistypedMost = 8

// Mistyped is an environment variable that names no setting, and the one that was
// probably meant.
type Mistyped struct{ Name, Meant string }

// MistypedEnv returns the variables of environ (as os.Environ's) that are near the
// name of a setting and none. What is not near one may be something else's: a
// Service called tcplimbo makes Kubernetes set TCPLIMBO_SERVICE_HOST and more, and
// the tests have theirs.
func MistypedEnv(environ []string) []Mistyped {
	settings := Settings()
	var envs, names []string
	for i := range settings {
		envs, names = append(envs, settings[i].Env()), append(names, settings[i].Name)
	}
	var found []Mistyped
	for _, variable := range environ {
		if len(found) == mistypedMost {
			break
		}
		name, _, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(strings.ToUpper(name), envPrefix) || slices.Contains(envs, name) || ofService(name) {
			continue
		}
		word := strings.ReplaceAll(name[len(envPrefix):], "_", "-")
		if best := nearest.To(word, names); best != "" {
			found = append(found, Mistyped{name, envs[slices.Index(names, best)]})
		}
	}
	slices.SortFunc(found, func(a, b Mistyped) int { return strings.Compare(a.Name, b.Name) })
	return found
}

// ofService: Kubernetes and Docker set these for a service of that name, and for
// those whose names begin so.
func ofService(name string) bool {
	return strings.Contains(name, "_SERVICE_") || strings.Contains(name, "_PORT_") || strings.HasSuffix(name, "_PORT")
}
