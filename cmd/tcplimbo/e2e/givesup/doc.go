// Package givesup holds the test that lets sockets of every kind die by the
// kernel's own timers and compares that with what was predicted. It is a package
// of its own so that its binary also runs on other kernels, without the rest.
package givesup
