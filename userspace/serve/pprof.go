package serve

// Profiles makes the series of goroutine profiles with these results exist, at
// zero. Without it there are none.
func (m *Metrics) Profiles(results ...string) {
	m.profiles = counter("goroutine_profiles_total", "Go programs with findings that were asked for their goroutines, by the result.", "result")
	m.registry.MustRegister(m.profiles)
	for _, r := range results {
		m.profiles.WithLabelValues(r)
	}
}

// Profile counts a program that was asked for its goroutines.
func (m *Metrics) Profile(result string) { m.profiles.WithLabelValues(result).Inc() }
