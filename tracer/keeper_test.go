package tracer

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// keeperVariable makes the test's own program keep descriptors: the kernels of
// `make test-kernels` have no other.
const keeperVariable = "TCPLIMBO_TEST_KEEPER"

func TestMain(m *testing.M) {
	if os.Getenv(keeperVariable) != "" {
		keep()
		return
	}
	os.Exit(m.Run())
}

// keep receives descriptors over its descriptor 3, says the number each has here,
// and ends with its standard input.
func keep() {
	go func() {
		b, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
		for {
			_, n, _, _, err := unix.Recvmsg(3, b, oob, unix.MSG_CMSG_CLOEXEC)
			if err != nil || n == 0 {
				return
			}
			messages, err := unix.ParseSocketControlMessage(oob[:n])
			if err != nil {
				return
			}
			fds, err := unix.ParseUnixRights(&messages[0])
			if err != nil {
				return
			}
			fmt.Println(fds[0])
		}
	}()
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}

// keeper is a child process that can be given descriptors.
type keeper struct {
	cmd  *exec.Cmd
	out  *bufio.Scanner
	pipe int
}

// startKeeper starts one that inherits the given sockets as descriptors 4 and up,
// as after a fork.
func startKeeper(t *testing.T, inherited ...*socket) *keeper {
	t.Helper()
	pipe, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{cmd: exec.Command(self), pipe: pipe[0]}
	k.cmd.Env = append(os.Environ(), keeperVariable+"=1")
	theirs := os.NewFile(uintptr(pipe[1]), "pipe")
	k.cmd.ExtraFiles = []*os.File{theirs}
	for _, s := range inherited {
		fd, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		k.cmd.ExtraFiles = append(k.cmd.ExtraFiles, os.NewFile(uintptr(fd), "inherited"))
	}
	stdin, err := k.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := k.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	k.out = bufio.NewScanner(stdout)
	if err := k.cmd.Start(); err != nil {
		t.Fatalf("starting a child: %v", err)
	}
	for _, f := range k.cmd.ExtraFiles {
		f.Close()
	}
	t.Cleanup(func() {
		stdin.Close()
		unix.Close(k.pipe)
		if err := k.cmd.Wait(); err != nil {
			t.Errorf("ending a child: %v", err)
		}
	})
	return k
}

func (k *keeper) pid() uint32 { return uint32(k.cmd.Process.Pid) }

// give passes a descriptor, and returns the number that it has over there.
func (k *keeper) give(t *testing.T, s *socket) uint32 {
	t.Helper()
	if err := unix.Sendmsg(k.pipe, []byte{0}, unix.UnixRights(s.fd), nil, 0); err != nil {
		t.Fatalf("passing a descriptor: %v", err)
	}
	if !k.out.Scan() {
		t.Fatalf("the child did not answer: %v", k.out.Err())
	}
	fd, err := strconv.ParseUint(k.out.Text(), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(fd)
}
