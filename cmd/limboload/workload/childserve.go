package workload

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// request is what a Child is asked to do.
type request struct {
	Op   string `json:"op"`
	FDs  []int  `json:"fds,omitempty"`
	Spec *Spec  `json:"spec,omitempty"`
	Set  int    `json:"set,omitempty"`
	How  End    `json:"how,omitempty"`
	Name []byte `json:"name,omitempty"`
}

// answer is what it says. More announces another packet of truths.
type answer struct {
	Error  string   `json:"error,omitempty"`
	FDs    []int    `json:"fds,omitempty"`
	Set    int      `json:"set,omitempty"`
	Truths []*Truth `json:"truths,omitempty"`
	More   bool     `json:"more,omitempty"`
}

// maxPacket is the largest control packet, and truthsPerPacket how many truths
// surely fit in one: a truth takes some 600 bytes.
const (
	maxPacket       = 96 << 10
	truthsPerPacket = 100
)

// RunChild turns the process into a Child and does not return if it was
// started as one. Call it first of all in main or TestMain.
func RunChild() {
	v, ok := os.LookupEnv(childEnv)
	if !ok {
		return
	}
	fd, err := strconv.Atoi(v)
	if err == nil {
		// Its own children must not take themselves for ours.
		err = errors.Join(os.Unsetenv(childEnv), (&childServer{ctrl: fd}).serve())
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "limboload child: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

type childServer struct {
	ctrl int
	sets []*Set
}

// serve answers requests until the parent hangs up, which it also does by
// dying, and then removes everything.
func (s *childServer) serve() error {
	unix.CloseOnExec(s.ctrl)
	for {
		b, fds, err := receivePacket(s.ctrl)
		if errors.Is(err, io.EOF) {
			return s.close()
		}
		if err != nil {
			return errors.Join(fmt.Errorf("receiving a request: %w", err), s.close())
		}
		var req request
		if err := json.Unmarshal(b, &req); err != nil {
			return errors.Join(fmt.Errorf("decoding a request: %w", err), s.close())
		}
		if err := s.answer(s.do(req, fds)); err != nil {
			return errors.Join(fmt.Errorf("answering: %w", err), s.close())
		}
	}
}

func (s *childServer) close() error {
	var errs []error
	for _, set := range s.sets {
		errs = append(errs, set.Close())
	}
	return errors.Join(errs...)
}

func (s *childServer) answer(a answer) error {
	rest := a.Truths
	for {
		n := min(len(rest), truthsPerPacket)
		a.Truths, rest = rest[:n], rest[n:]
		a.More = len(rest) > 0
		b, err := json.Marshal(a)
		if err != nil {
			return err
		}
		if err := sendPacket(s.ctrl, b, nil); err != nil {
			return err
		}
		if !a.More {
			return nil
		}
	}
}

func (s *childServer) do(req request, fds []int) answer {
	switch req.Op {
	case "hello":
		return answer{}
	case "keep":
		return answer{FDs: fds}
	case "accept":
		fd, err := accept(req.FDs[0])
		return result(err, fd)
	case "dup":
		fd, err := Dup(req.FDs[0])
		return result(err, fd)
	case "close":
		closeAll(req.FDs...)
		return answer{}
	case "name":
		return result(os.WriteFile("/proc/self/comm", req.Name, 0o644))
	case "make":
		set, err := Make(*req.Spec)
		if err != nil {
			return result(err)
		}
		s.sets = append(s.sets, set)
		return answer{Set: len(s.sets) - 1, Truths: set.Truths()}
	case "end":
		set := s.sets[req.Set]
		if err := set.End(req.How); err != nil {
			return result(err)
		}
		return answer{Truths: set.Truths()}
	}
	return result(fmt.Errorf("unknown request %q", req.Op))
}

func result(err error, fds ...int) answer {
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{FDs: fds}
}

// sendPacket sends one packet and descriptors with it.
func sendPacket(ctrl int, b []byte, fds []int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	return unix.Sendmsg(ctrl, b, oob, nil, unix.MSG_NOSIGNAL)
}

// maxFDs is SCM_MAX_FD, the most descriptors one message can carry.
const maxFDs = 253

// receivePacket returns io.EOF when the other side has hung up.
func receivePacket(ctrl int) ([]byte, []int, error) {
	b := make([]byte, maxPacket)
	oob := make([]byte, unix.CmsgSpace(4*maxFDs))
	for {
		n, oobn, flags, _, err := unix.Recvmsg(ctrl, b, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, nil, err
		case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
			return nil, nil, fmt.Errorf("packet was cut at %d bytes", n)
		case n == 0:
			return nil, nil, io.EOF
		}
		fds, err := rights(oob[:oobn])
		return b[:n], fds, err
	}
}

func rights(oob []byte) ([]int, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var fds []int
	for _, m := range msgs {
		got, err := unix.ParseUnixRights(&m)
		if err != nil {
			return nil, err
		}
		fds = append(fds, got...)
	}
	return fds, nil
}
