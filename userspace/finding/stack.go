package finding

// Why a finding has no stack, or none that tells the program's own function.
const (
	// MissingOlder: the socket was opened before the agent watched.
	MissingOlder = "older_than_agent"
	// MissingNotSeen: it was opened in a way that is not seen, by io_uring for one,
	// or while the agent began to watch.
	MissingNotSeen = "not_seen"
	// MissingOverBudget: the host opens more connections than stacks may be taken.
	MissingOverBudget = "over_budget"
	// MissingNoHook: this kernel, or this container, does not let accepts be seen.
	MissingNoHook = "no_accept_hook"
	// MissingUnaccepted: no program has it yet.
	MissingUnaccepted = "unaccepted"
	// MissingClosed: its program closed it, and what was known of it went with it.
	MissingClosed = "closed"
	// MissingNoFrames: a kernel thread or a worker of io_uring opened it.
	MissingNoFrames = "no_user_frames"
	// MissingEvicted: the stack had to make room for others.
	MissingEvicted = "evicted"
	// MissingProcessGone: the process ended, or runs another program, and its
	// addresses had not been looked up yet.
	MissingProcessGone = "process_gone"
	// MissingUnseenProcess: the process is not in the agent's pid namespace.
	MissingUnseenProcess = "unseen_process"
	// MissingUnreadable: the program's files, or what it has mapped, cannot be read.
	MissingUnreadable = "unreadable"
	// MissingNoFramePointers: there are frames and none is the program's own: it
	// was built without frame pointers, or is run by an interpreter.
	MissingNoFramePointers = "no_frame_pointers"
	// MissingPending: the addresses are being looked up; an update has the frames.
	MissingPending = "pending"
)

// Missing lists them all.
var Missing = []string{
	MissingOlder, MissingNotSeen, MissingOverBudget, MissingNoHook, MissingUnaccepted, MissingClosed, MissingNoFrames,
	MissingEvicted, MissingProcessGone, MissingUnseenProcess, MissingUnreadable, MissingNoFramePointers, MissingPending,
}

// Own returns the first of the program's own functions, innermost first; false if
// none is known.
func (s *Stack) Own() (Frame, bool) {
	if s == nil {
		return Frame{}, false
	}
	for _, f := range s.Frames {
		if !f.Plumbing && f.Function != "" {
			return f, true
		}
	}
	return Frame{}, false
}
