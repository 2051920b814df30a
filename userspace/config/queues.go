package config

// queueSettings are the limits of what ESTABLISHED connections have written and
// not got acknowledged.
func queueSettings() []Setting {
	return []Setting{
		{
			Name: "warn-pending", Placeholder: "SIZE", Default: "128MiB", Group: groupQueues,
			Usage: "warn when a service has more than this written to a peer and not acknowledged",
			set:   func(r *Run, v string) error { return setBytes(&r.WarnPending, v) },
		},
		{
			Name: "warn-undrained", Placeholder: "DURATION", Default: "30s", Group: groupQueues,
			Usage: "warn when nothing of what was written to a peer was acknowledged for this long",
			set:   func(r *Run, v string) error { return setDuration(&r.WarnUndrained, v, thresholdRange) },
		},
		{
			Name: "warn-flush-p99", Placeholder: "DURATION", Default: "50ms", Group: groupQueues,
			Usage: "warn when written data takes this much longer than a round trip to be acknowledged, 99th percentile",
			set:   func(r *Run, v string) error { return setDuration(&r.WarnFlushP99, v, thresholdRange) },
		},
	}
}
