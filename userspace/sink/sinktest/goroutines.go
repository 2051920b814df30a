package sinktest

import (
	"math"
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// goroutineSamples are findings about programs that were asked for their goroutines.
func goroutineSamples() []Sample {
	said, gone, silent := closeWaitUpdate(), closeWaitUpdate(), closeWaitUpdate()
	said.Goroutines = &finding.Goroutines{
		Total: 214, Matching: 31, Function: "main.handleUpload",
		Parked: finding.Frame{Function: "main.(*store).put", File: "/src/api/store.go", Line: 88},
		Age:    2 * time.Second, Dump: "goroutine-api-812-20260309T070502.120.pb.gz",
	}
	gone.Goroutines = &finding.Goroutines{Total: 9, Function: "main.handleUpload", Age: time.Second}
	silent.Goroutines = &finding.Goroutines{Missing: "no_endpoint"}
	return []Sample{{"close_wait_goroutines", said}, {"close_wait_no_goroutine", gone}, {"close_wait_no_profile", silent}}
}

// LongGoroutines are as long as they can be.
func LongGoroutines(text string) *finding.Goroutines {
	return &finding.Goroutines{
		Total: math.MaxInt64, Matching: math.MaxInt64, Function: text, Age: math.MaxInt64, Dump: text,
		Parked: finding.Frame{Function: text, File: "/" + text, Line: math.MaxInt64},
	}
}
