// Package e2e holds the tests that run the tcplimbo binary from outside: real
// sockets, its JSON lines, its exit codes. What the lines must say comes from
// the workload that made the sockets, and a second time from sock_diag.
package e2e
