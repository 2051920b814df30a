// Package pods holds the tests with real pods: a containerd of its own, a small
// client that plays the kubelet, programs that leak in pods, and tcplimbo as one.
package pods
