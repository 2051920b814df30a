package deploytest

import (
	"errors"
	"os/exec"
	"testing"
)

// runProgram runs tcplimbo to its end and returns all that it wrote and its
// exit code.
func runProgram(t *testing.T, args ...string) (string, int) {
	t.Helper()
	out, err := exec.Command(program("tcplimbo"), args...).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return string(out), exit.ExitCode()
	case err != nil:
		t.Fatal(err)
	}
	return string(out), 0
}
