// Package workload makes TCP sockets that are stuck on purpose, knows the
// truth about each of them, and ends them in a known way. It also makes the
// opposite: many healthy connections, opened and closed as fast as possible or
// held idle. Tests and benchmarks compare what tcplimbo says with what this
// package knows.
//
// Everything works on loopback and needs no firewall: a socket is made deaf
// with a filter that accepts nothing (SO_ATTACH_FILTER, which tcp_v4_rcv and
// tcp_v6_rcv apply to listeners and to connections alike), and an endpoint
// vanishes without a word when it is closed in repair mode (TCP_REPAIR, needs
// CAP_NET_ADMIN). A Lab adds a silence that comes from another network
// namespace.
//
// The names of kinds, reasons and outcomes are written out here a second time
// and not taken from the product: a misspelt name there must not be able to
// agree with itself.
package workload
