//go:build race

package e2e

// underRace: the agent and the test take ten times as long.
const underRace = true
