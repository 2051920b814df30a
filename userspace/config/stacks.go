package config

import (
	"slices"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
)

// stackModes are the values of the setting, by flow.StackMode.
var stackModes = []string{flow.StacksOff: "off", flow.StacksOn: "on", flow.StacksAlways: "always"}

func stacksSetting() Setting {
	modes := []string{stackModes[flow.StacksOn], stackModes[flow.StacksAlways], stackModes[flow.StacksOff]}
	return Setting{
		Name: "stacks", Placeholder: "MODE", Default: modes[0], Group: groupRunning, Values: modes,
		Usage: "user stacks: on (at connect and accept, within a budget; who reads the end of file once a leak was seen), " +
			"always (every one, from the start) or off",
		set: func(r *Run, v string) error {
			i := slices.Index(stackModes, v)
			if i < 0 {
				return notOneOf(v, modes)
			}
			r.Stacks = flow.StackMode(i)
			return nil
		},
	}
}
