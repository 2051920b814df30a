package main

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/tcplimbo/tcplimbo/userspace/check"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// The exit codes; check has the other two.
const (
	exitRuntime = 1
	exitUsage   = 2
)

// exitError is an error with an exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// writing makes an error of printing into a sentence; nil stays nil.
func writing(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("writing to standard output: %w", err)
}

// maxErrorLine bounds what a hostile argument or path can print.
const maxErrorLine = 1000

// report prints what went wrong as one line and returns the exit code.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	// Should this fail too, the exit code is all that is left to say.
	_, _ = fmt.Fprintln(stderr, readable.Safe(programName+": "+withAdvice(err), maxErrorLine))
	return exitCode(err)
}

func exitCode(err error) int {
	var exit *exitError
	var blocked *check.Blocked
	switch {
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, &blocked):
		return blocked.Code
	}
	return exitRuntime
}

// withAdvice adds what to do where the error only says what happened.
func withAdvice(err error) string {
	text := err.Error()
	switch {
	case errors.Is(err, syscall.EPIPE):
		text += "; the program that read it has ended"
	case errors.Is(err, syscall.ENOSPC):
		text += "; make room there"
	}
	return text
}
