package origin

import (
	"strings"
)

// Place is what the path of a cgroup says by itself. The zero Place is no
// container.
type Place struct {
	// Cgroup is the path down to the container's own cgroup, or the pod's.
	Cgroup string
	// ContainerID has 64 hexadecimal digits, PodUID is the one Kubernetes gave.
	ContainerID, PodUID string
}

// Known reports whether the cgroup is that of a container or of a pod.
func (p Place) Known() bool { return p.ContainerID != "" || p.PodUID != "" }

// maxPath bounds the path of a cgroup: the kernel cuts it there (PATH_MAX).
const maxPath = 4096

// ParsePath finds the innermost container in the path of a cgroup, and the
// innermost pod around it. The path may be relative to a cgroup namespace, as in
// "/../../kubepods/…".
//
//	/kubepods/burstable/pod<uid>/<id>                                  cgroupfs driver
//	/kubepods.slice/…/kubepods-burstable-pod<u_i_d>.slice/crio-<id>.scope  systemd driver
//	/system.slice/containerd.service/kubepods-…-pod<u_i_d>.slice:cri-containerd:<id>
//	/docker/<id>, /system.slice/docker-<id>.scope, /machine.slice/libpod-<id>.scope/container
func ParsePath(path string) Place {
	if len(path) > maxPath {
		return Place{}
	}
	// Of a cgroup that was removed while a zombie was in it (kernel/cgroup/
	// cgroup.c, proc_cgroup_show).
	path = strings.TrimSuffix(path, " (deleted)")
	var p Place
	for end := len(path); end > 0; {
		begin := strings.LastIndexByte(path[:end], '/') + 1
		part := path[begin:end]
		if p.ContainerID == "" {
			if id := containerIn(part); id != "" {
				p.ContainerID, p.Cgroup = id, path[:end]
			}
		}
		if uid := podIn(part); uid != "" {
			p.PodUID = uid
			if p.Cgroup == "" {
				p.Cgroup = path[:end]
			}
			return p
		}
		end = begin - 1
	}
	return p
}

// runtimePrefixes stand before the id in the names that runtimes give to systemd
// scopes. What is not here is no container: crio-conmon and libpod-conmon hold
// the program that watches over one.
var runtimePrefixes = map[string]bool{
	"docker": true, "containerd": true, "cri-containerd": true, "nerdctl": true, "crio": true,
	"libpod": true, "libpod-payload": true,
}

// containerIn returns the container id that one part of a path names, or "".
func containerIn(part string) string {
	// What the systemd driver passes to runc, where runc was not told to use
	// systemd: slice, prefix, id.
	if fields := strings.Split(part, ":"); len(fields) == 3 {
		if runtimePrefixes[fields[1]] && isContainerID(fields[2]) {
			return fields[2]
		}
		return ""
	}
	part = strings.TrimSuffix(part, ".scope")
	if isContainerID(part) {
		return part
	}
	dash := strings.LastIndexByte(part, '-')
	if dash < 0 || !runtimePrefixes[part[:dash]] || !isContainerID(part[dash+1:]) {
		return ""
	}
	return part[dash+1:]
}

// containerIDLen is the length of what containerd's CRI plugin, CRI-O, Docker and
// Podman call a container: 32 random bytes in hexadecimal.
const containerIDLen = 64

func isContainerID(s string) bool { return len(s) == containerIDLen && isHex(s) }

// podIn returns the uid of the pod that one part of a path names, or "". The
// systemd driver writes the dashes of a uid as underscores, because a dash
// separates slices (systemd.slice(5)).
func podIn(part string) string {
	if slice, _, ok := strings.Cut(part, ":"); ok {
		part = slice
	}
	if slice, ok := strings.CutSuffix(part, ".slice"); ok {
		at := strings.LastIndex(slice, "-pod")
		if at < 0 || !strings.Contains(slice[:at], "kubepods") {
			return ""
		}
		return podUID(strings.ReplaceAll(slice[at+len("-pod"):], "_", "-"))
	}
	if uid, ok := strings.CutPrefix(part, "pod"); ok {
		return podUID(uid)
	}
	return ""
}

// podUID returns s if it is a UUID, or the hash of its manifest that is a static
// pod's uid; else "".
func podUID(s string) string {
	const uuid, hash = 36, 32
	switch {
	case len(s) == hash && isHex(s):
		return s
	case len(s) == uuid && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' &&
		isHex(strings.ReplaceAll(s, "-", "")) && strings.Count(s, "-") == 4:
		return s
	}
	return ""
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}
