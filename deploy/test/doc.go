// Package deploytest has no code of its own. Its tests hold what deploy/ ships
// against the parts it is for: Helm, Kubernetes' types, Pod Security, systemd,
// Prometheus, Alertmanager, rsyslog. It is a module of its own, so that none of
// their libraries comes near the program.
package deploytest
