package sockdiag

// devices are the interfaces of sockets that are bound to one (link-local IPv6,
// VRF), by address: without it the kernel does not find them again (INET_MATCH).
// What is not seen for long is forgotten, a generation at a time.
type devices struct {
	young, old map[uint64]uint32
}

// devicesMax is how many a generation has: more than are met between two walks.
const devicesMax = 1 << 15

func (d *devices) note(addr uint64, device uint32) {
	if device == 0 {
		return
	}
	if d.young == nil || len(d.young) >= devicesMax {
		d.young, d.old = map[uint64]uint32{}, d.young
	}
	d.young[addr] = device
}

// of returns the interface of a socket, 0 for none.
func (d *devices) of(addr uint64) uint32 {
	if device, ok := d.young[addr]; ok {
		return device
	}
	return d.old[addr]
}
