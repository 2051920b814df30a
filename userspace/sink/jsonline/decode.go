package jsonline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Field is one member of a line. Its value is a string, an int64, a float64, a
// bool or a []string.
type Field struct {
	Key   string
	Value any
}

// Decode appends the members of one line, in their order. Other sinks are fed
// with it, so that what they say cannot differ from the line. Keys that end in
// "_seconds" always are a float64: a type that changed with the value would
// split a column in two.
func Decode(dst []Field, line []byte) ([]Field, error) {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return dst, errors.New("decoding a record: not an object")
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return dst, fmt.Errorf("decoding a record: %w", err)
		}
		name, _ := key.(string) // a decoder takes nothing else for a key
		value, err := decodeValue(dec, name)
		if err != nil {
			return dst, fmt.Errorf("decoding %q of a record: %w", name, err)
		}
		dst = append(dst, Field{name, value})
	}
	if _, err := dec.Token(); err != nil {
		return dst, fmt.Errorf("decoding a record: %w", err)
	}
	return dst, nil
}

func decodeValue(dec *json.Decoder, key string) (any, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch v := tok.(type) {
	case string, bool:
		return v, nil
	case json.Number:
		return decodeNumber(v, key)
	case json.Delim:
		if v == '[' {
			return decodeList(dec)
		}
	}
	return nil, fmt.Errorf("%v is no value of a flat record", tok)
}

// decodeNumber makes what no int64 holds a float64.
func decodeNumber(n json.Number, key string) (any, error) {
	if !strings.HasSuffix(key, "_seconds") {
		if i, err := n.Int64(); err == nil {
			return i, nil
		}
	}
	f, err := n.Float64()
	if err != nil {
		return nil, err
	}
	return f, nil
}

func decodeList(dec *json.Decoder) (any, error) {
	var list []string
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		text, ok := tok.(string)
		if !ok {
			return nil, fmt.Errorf("%v stands in a list of texts", tok)
		}
		list = append(list, text)
	}
	_, err := dec.Token()
	return list, err
}
