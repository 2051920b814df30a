package writequeue

import "time"

// Bounds are the upper ends of the buckets in which flush delays are counted, and
// the moments at which a socket is looked at; what took longer than the last one
// is counted above it.
var Bounds = [...]time.Duration{
	5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 35 * time.Millisecond,
	50 * time.Millisecond, 75 * time.Millisecond, 100 * time.Millisecond, 150 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
	5 * time.Second, 10 * time.Second,
}

// window is for how long observations count: the last one to two of them.
const window = 5 * time.Minute

// delays are the flush delays of a pair.
type delays struct {
	now, before [len(Bounds) + 1]uint32
	began       time.Duration // the window of now
}

func (d *delays) add(bucket int, at time.Duration) {
	d.turn(at)
	d.now[bucket]++
}

// turn begins another window if this one is over.
func (d *delays) turn(at time.Duration) {
	if at-d.began < window {
		return
	}
	d.before = d.now
	if at-d.began >= 2*window {
		clear(d.before[:])
	}
	clear(d.now[:])
	d.began = at
}

func (d *delays) count() (n uint64) {
	for i := range d.now {
		n += uint64(d.now[i]) + uint64(d.before[i])
	}
	return n
}

// quantile returns the delay that a share of all stayed below, interpolated in its
// bucket; the last bound where it is above that, and -1 without observations.
func (d *delays) quantile(share float64) time.Duration {
	n := d.count()
	if n == 0 {
		return -1
	}
	rank, below := share*float64(n), 0.0
	for i, bound := range Bounds {
		in := float64(d.now[i]) + float64(d.before[i])
		if below+in >= rank && in > 0 {
			low := time.Duration(0)
			if i > 0 {
				low = Bounds[i-1]
			}
			return low + time.Duration(float64(bound-low)*(rank-below)/in)
		}
		below += in
	}
	return Bounds[len(Bounds)-1]
}
