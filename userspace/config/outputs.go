package config

import (
	"fmt"
	"slices"

	"github.com/tcplimbo/tcplimbo/userspace/sink/otlp/endpoint"
)

var onOff = []string{"on", "off"}

func setSwitch(to *bool, text string) error {
	if !slices.Contains(onOff, text) {
		return notOneOf(text, onOff)
	}
	*to = text == "on"
	return nil
}

// setEndpoint takes an OTLP endpoint. The value is not quoted in errors: people
// put passwords into URLs.
func setEndpoint(to *string, text string) error {
	if text != "" {
		if _, err := endpoint.Parse(text); err != nil {
			return fmt.Errorf("%w; allowed: %s", err, endpoint.Allowed)
		}
	}
	*to = text
	return nil
}
