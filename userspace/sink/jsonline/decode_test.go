package jsonline

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"

	"github.com/tcplimbo/tcplimbo/userspace/sink/sinktest"
)

// TestDecodeIsTheLine compares with encoding/json, for every sort of line.
func TestDecodeIsTheLine(t *testing.T) {
	for _, line := range allLines() {
		fields, err := Decode(nil, line)
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		got := map[string]any{}
		for _, f := range fields {
			got[f.Key] = loose(f.Value)
		}
		var want map[string]any
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) || len(fields) != len(want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	}
}

// loose makes values as encoding/json does.
func loose(v any) any {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case []string:
		var list []any
		for _, s := range v {
			list = append(list, s)
		}
		return list
	}
	return v
}

func TestDecodedTypes(t *testing.T) {
	fields, err := Decode(nil, []byte(`{"a_seconds":30,"n":9223372036854775807,"u":18446744073709551615,"b":true,"s":"","l":["x","y"],"e":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Field{
		{"a_seconds", 30.0},
		{"n", int64(math.MaxInt64)},
		{"u", float64(math.MaxUint64)},
		{"b", true},
		{"s", ""},
		{"l", []string{"x", "y"}},
		{"e", []string(nil)},
	}
	if !reflect.DeepEqual(fields, want) {
		t.Errorf("got  %#v\nwant %#v", fields, want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, line := range []string{"", "x", "[]", "{", `{"a"`, `{"a":1`, `{"a":{}}`, `{"a":null}`, `{"a":[1]}`, `{"a":["x"`, `{"a":1e999}`} {
		if fields, err := Decode(nil, []byte(line)); err == nil {
			t.Errorf("%q: %v", line, fields)
		}
	}
}

func FuzzDecode(f *testing.F) {
	e := testEncoder()
	for _, s := range sinktest.Findings()[:3] {
		f.Add(e.AppendFinding(nil, &s.Finding))
	}
	f.Add([]byte(`{"a":[["x"]],"a":1e400}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		fields, err := Decode(nil, line)
		if err != nil {
			return
		}
		for _, field := range fields {
			switch v := field.Value.(type) {
			case string, int64, bool, []string:
			case float64:
				if math.IsNaN(v) || math.IsInf(v, 0) {
					t.Errorf("%s is %v", field.Key, v)
				}
			default:
				t.Errorf("%s is a %T", field.Key, v)
			}
		}
	})
}
