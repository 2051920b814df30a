package pprof

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// Bounds of a profile. Samples are stacks, of which a program has as many as
// places where goroutines wait.
const (
	maxSamples   = 20_000
	maxLocations = 100_000
	maxFunctions = 100_000
	maxStrings   = 200_000
	maxDepth     = 512
	// maxLines and maxPlaces bound what all locations and all samples hold.
	maxLines, maxPlaces = 200_000, 1_000_000
)

var (
	errTooLarge = errors.New("larger than any real profile")
	errBroken   = errors.New("broken profile")
	errOther    = errors.New("profile of something else than goroutines")
)

// profile is what is read of one (github.com/google/pprof, proto/profile.proto).
// Its own package would read all of it, and two bytes of a message make a
// hundred of memory there.
type profile struct {
	samples   []sample
	locations map[uint64]location
	functions map[uint64]function
	strings   [][]byte
	// kind is what the first number of a sample counts, an index into strings.
	kind  uint64
	kinds int
	// lines and places count what was read so far.
	lines, places int
}

// sample is a stack, innermost first, with how many goroutines have it.
type sample struct {
	locations []uint64
	count     int64
}

// location is an address, with what was inlined there first.
type location struct{ lines []line }

type line struct {
	function uint64
	number   int64
}

type function struct{ name, file uint64 }

// Numbers of fields.
const (
	profileKind     = 1
	profileSample   = 2
	profileLocation = 4
	profileFunction = 5
	profileString   = 6

	kindName = 1

	sampleLocation = 1
	sampleValue    = 2

	locationID   = 1
	locationLine = 4
	lineFunction = 1
	lineNumber   = 2

	functionID   = 1
	functionName = 2
	functionFile = 4
)

// decode reads a profile of goroutines.
func decode(b []byte) (*profile, error) {
	p := &profile{locations: make(map[uint64]location), functions: make(map[uint64]function)}
	err := fields(b, func(num protowire.Number, v uint64, part []byte) error {
		switch num {
		case profileKind:
			return p.addKind(part)
		case profileSample:
			return p.addSample(part)
		case profileLocation:
			return p.addLocation(part)
		case profileFunction:
			return p.addFunction(part)
		case profileString:
			if len(p.strings) >= maxStrings {
				return errTooLarge
			}
			p.strings = append(p.strings, part)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	// The heap's or the CPU's would be counted as wrongly as gladly.
	if p.kinds == 0 || p.text(p.kind) != "goroutine" {
		return nil, errOther
	}
	return p, nil
}

// fields calls fn for each field of a message: with its number, or with its
// bytes.
func fields(b []byte, fn func(num protowire.Number, v uint64, part []byte) error) error {
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errBroken
		}
		b = b[n:]
		var v uint64
		var part []byte
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			part, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, kind, b)
		}
		if n < 0 {
			return errBroken
		}
		b = b[n:]
		if err := fn(num, v, part); err != nil {
			return err
		}
	}
	return nil
}

func (p *profile) addKind(b []byte) error {
	p.kinds++
	if p.kinds > 1 {
		return nil
	}
	return fields(b, func(num protowire.Number, v uint64, _ []byte) error {
		if num == kindName {
			p.kind = v
		}
		return nil
	})
}

func (p *profile) addSample(b []byte) error {
	if len(p.samples) >= maxSamples {
		return errTooLarge
	}
	var s sample
	values := 0
	err := fields(b, func(num protowire.Number, v uint64, part []byte) error {
		switch num {
		case sampleLocation:
			return numbers(v, part, func(v uint64) {
				// What is deeper is not the part that tells anything.
				if len(s.locations) < maxDepth {
					s.locations = append(s.locations, v)
					p.places++
				}
			})
		case sampleValue:
			return numbers(v, part, func(v uint64) {
				if values++; values == 1 {
					s.count = int64(v)
				}
			})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if p.places > maxPlaces {
		return errTooLarge
	}
	// No host has that many goroutines.
	if s.count < 0 || s.count > 1<<40 {
		return errBroken
	}
	p.samples = append(p.samples, s)
	return nil
}

// numbers takes a repeated number, packed or one by one.
func numbers(v uint64, part []byte, fn func(uint64)) error {
	if part == nil {
		fn(v)
		return nil
	}
	for len(part) > 0 {
		v, n := protowire.ConsumeVarint(part)
		if n < 0 {
			return errBroken
		}
		part = part[n:]
		fn(v)
	}
	return nil
}

func (p *profile) addLocation(b []byte) error {
	if len(p.locations) >= maxLocations {
		return errTooLarge
	}
	var id uint64
	var l location
	err := fields(b, func(num protowire.Number, v uint64, part []byte) error {
		switch num {
		case locationID:
			id = v
		case locationLine:
			var at line
			if p.lines++; len(l.lines) >= maxDepth || p.lines > maxLines {
				return errTooLarge
			}
			err := fields(part, func(num protowire.Number, v uint64, _ []byte) error {
				switch num {
				case lineFunction:
					at.function = v
				case lineNumber:
					at.number = int64(v)
				}
				return nil
			})
			l.lines = append(l.lines, at)
			return err
		}
		return nil
	})
	p.locations[id] = l
	return err
}

func (p *profile) addFunction(b []byte) error {
	if len(p.functions) >= maxFunctions {
		return errTooLarge
	}
	var id uint64
	var f function
	err := fields(b, func(num protowire.Number, v uint64, _ []byte) error {
		switch num {
		case functionID:
			id = v
		case functionName:
			f.name = v
		case functionFile:
			f.file = v
		}
		return nil
	})
	p.functions[id] = f
	return err
}

// text returns a string of the table, "" if there is none; a long one is cut.
func (p *profile) text(i uint64) string {
	if i >= uint64(len(p.strings)) {
		return ""
	}
	const most = 512
	return string(p.strings[i][:min(len(p.strings[i]), most)])
}
