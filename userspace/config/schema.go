package config

import (
	"encoding/json"
	"fmt"
	"io"
)

// object is a JSON object of the schema.
type object = map[string]any

// WriteSchema writes the JSON Schema of the file, for editors and for checks before a
// roll-out. What it accepts may still be refused: that a rule can never match, for
// instance, no schema tells.
func WriteSchema(w io.Writer) error {
	properties := object{rulesName: ruleSchema()}
	for _, s := range Settings() {
		if s.Name != configName {
			properties[s.Name] = s.schema()
		}
	}
	text, err := json.MarshalIndent(object{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"title":                "tcplimbo configuration",
		"type":                 "object",
		"properties":           properties,
		"additionalProperties": false,
		"$defs": object{
			"duration": object{
				"description": "with a unit, such as 30s or 1h30m; 0 turns it off",
				"oneOf":       []any{object{"type": "string", "pattern": `^([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$|^0$`}, object{"const": 0}},
			},
			"size": object{
				"description": "in bytes, or with a unit, such as 100MiB",
				"oneOf":       []any{object{"type": "string", "pattern": `^[0-9]+[A-Za-z]*$`}, object{"type": "integer", "minimum": 0}},
			},
		},
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the schema: %w", err)
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// schema is that of the setting's value.
func (s *Setting) schema() object {
	o := object{"description": s.Usage, "default": s.Default}
	switch {
	case len(s.Values) > 0:
		o["enum"] = s.Values
	case s.Placeholder == "DURATION":
		o["$ref"] = "#/$defs/duration"
	case s.Placeholder == "SIZE":
		o["$ref"] = "#/$defs/size"
	case s.Placeholder == "N":
		o["type"] = []string{"integer", "string"}
	default:
		o["type"] = "string"
	}
	return o
}

func ruleSchema() object {
	match := object{}
	for _, c := range conditions() {
		value := object{"type": []string{"string", "integer"}}
		list := object{"type": "array", "items": value, "minItems": 1, "maxItems": maxValues}
		one := object{"oneOf": []any{value, list}}
		if c.set == nil {
			one = object{"type": "object", "additionalProperties": one, "minProperties": 1}
		}
		one["description"] = c.usage + ", such as " + c.example
		match[c.name] = one
	}
	properties := object{
		matchName: object{
			"description": "all that is given must hold, and of each one of its values",
			"type":        "object", "properties": match, "additionalProperties": false, "minProperties": 1,
		},
		ignoreName: object{"type": "boolean", "description": "leave alone what matches; false: treat it as usual, whatever the rules below say"},
	}
	for name := range thresholdKinds {
		properties[name] = object{"$ref": "#/$defs/duration"}
	}
	return object{
		"description": "the first rule that matches a socket decides what is too long for it",
		"type":        "array", "maxItems": maxRules,
		"items": object{
			"type": "object", "properties": properties, "additionalProperties": false,
			"required": []string{matchName}, "minProperties": 2,
		},
	}
}
