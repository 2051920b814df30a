package main

import (
	"io"
	"time"

	"github.com/rs/zerolog"
)

// newLogger writes diagnostics: for people on a terminal, JSON lines else.
func newLogger(stderr io.Writer, t terminal) zerolog.Logger {
	if t.Width > 0 {
		stderr = zerolog.ConsoleWriter{Out: stderr, NoColor: !t.Color, TimeFormat: time.TimeOnly}
	}
	return zerolog.New(stderr).With().Timestamp().Logger()
}
