package origin

import (
	"strings"
	"testing"
)

const (
	idA  = "2f6a1c0b7e52a94d13c8f1e05b6d7a8990a1b2c3d4e5f60718293a4b5c6d7e8f"
	idB  = "91d3c8f1e05b6d7a8990a1b2c3d4e5f60718293a4b5c6d7e8f2f6a1c0b7e52a9"
	uid  = "0e4a1b62-8c1d-4a55-9d0f-3f2b8c7d6e5a"
	uid_ = "0e4a1b62_8c1d_4a55_9d0f_3f2b8c7d6e5a"
	hash = "5dc4d8a7b6c54e2f9b1a7c3d2e1f0a9b"
)

func TestParsePath(t *testing.T) {
	for _, c := range []struct {
		name, path string
		id, uid    string
		cgroup     string // "": the whole path
	}{
		{"cgroupfs burstable", "/kubepods/burstable/pod" + uid + "/" + idA, idA, uid, ""},
		{"cgroupfs guaranteed", "/kubepods/pod" + uid + "/" + idA, idA, uid, ""},
		{"cgroupfs static pod", "/kubepods/besteffort/pod" + hash + "/" + idA, idA, hash, ""},
		{"systemd containerd", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uid_ + ".slice/cri-containerd-" + idA + ".scope", idA, uid, ""},
		{"systemd guaranteed", "/kubepods.slice/kubepods-pod" + uid_ + ".slice/cri-containerd-" + idA + ".scope", idA, uid, ""},
		{"systemd static pod", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + hash + ".slice/crio-" + idA + ".scope", idA, hash, ""},
		{"systemd cri-o, group of its own", "/kubepods.slice/kubepods-pod" + uid_ + ".slice/crio-" + idA + ".scope/container", idA, uid, "/kubepods.slice/kubepods-pod" + uid_ + ".slice/crio-" + idA + ".scope"},
		{"systemd docker in kubernetes", "/kubepods.slice/kubepods-pod" + uid_ + ".slice/docker-" + idA + ".scope", idA, uid, ""},
		{"cgroupfs cri-o", "/kubepods/burstable/pod" + uid + "/crio-" + idA, idA, uid, ""},
		{"systemd path given to cgroupfs", "/system.slice/containerd.service/kubepods-burstable-pod" + uid_ + ".slice:cri-containerd:" + idA, idA, uid, ""},
		{"cri-o's monitor", "/kubepods.slice/kubepods-pod" + uid_ + ".slice/crio-conmon-" + idA + ".scope", "", uid, "/kubepods.slice/kubepods-pod" + uid_ + ".slice"},
		{"pod only", "/kubepods/burstable/pod" + uid, "", uid, ""},
		{"containerd without a pod", "/k8s.io/" + idA, idA, "", ""},
		{"nerdctl", "/default/" + idA, idA, "", ""},
		{"nerdctl, systemd", "/system.slice/nerdctl-" + idA + ".scope", idA, "", ""},
		{"docker", "/docker/" + idA, idA, "", ""},
		{"docker, systemd", "/system.slice/docker-" + idA + ".scope", idA, "", ""},
		{"docker, rootless", "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + idA + ".scope", idA, "", ""},
		{"docker, own parent", "/my.slice/docker-" + idA + ".scope/init.scope", idA, "", "/my.slice/docker-" + idA + ".scope"},
		{"podman", "/machine.slice/libpod-" + idA + ".scope/container", idA, "", "/machine.slice/libpod-" + idA + ".scope"},
		{"podman, rootless", "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + idA + ".scope", idA, "", ""},
		{"podman, cgroupfs", "/libpod_parent/libpod-" + idA, idA, "", ""},
		{"podman, split", "/system.slice/web.service/libpod-payload-" + idA, idA, "", ""},
		{"podman's monitor", "/machine.slice/libpod-conmon-" + idA + ".scope", "", "", ""},
		{"ecs", "/ecs/0123456789abcdef0123456789abcdef/" + idA, idA, "", ""},
		{"kind", "/docker/" + idB + "/kubelet/kubepods/burstable/pod" + uid + "/" + idA, idA, uid, ""},
		{"kind, systemd", "/docker/" + idB + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" + uid_ + ".slice/cri-containerd-" + idA + ".scope", idA, uid, ""},
		{"docker in docker", "/docker/" + idB + "/docker/" + idA, idA, "", ""},
		{"docker in a pod", "/kubepods/pod" + uid + "/" + idB + "/docker/" + idA, idA, uid, ""},
		{"systemd in a container", "/docker/" + idA + "/system.slice/nginx.service", idA, "", "/docker/" + idA},
		{"from inside of a cgroup namespace", "/../../pod" + uid + "/" + idA, idA, uid, ""},
		{"sibling, from inside", "/../" + idA, idA, "", ""},
		{"sibling scope, from inside", "/../cri-containerd-" + idA + ".scope", idA, "", ""},
		{"removed", "/docker/" + idA + " (deleted)", idA, "", "/docker/" + idA},

		{"root", "/", "", "", ""},
		{"nothing", "", "", "", ""},
		{"service", "/system.slice/nginx.service", "", "", ""},
		{"session", "/user.slice/user-1000.slice/session-3.scope", "", "", ""},
		{"fargate", "/ecs/0123456789abcdef0123456789abcdef/0123456789abcdef0123456789abcdef-2531612879", "", "", ""},
		{"lxc", "/lxc.payload.web/system.slice/nginx.service", "", "", ""},
		{"lxd", "/lxc/web", "", "", ""},
		{"nspawn", "/machine.slice/systemd-nspawn@web.service/payload", "", "", ""},
		{"machine", "/machine.slice/machine-web.scope", "", "", ""},
		{"ctr with a name", "/default/web", "", "", ""},
		{"foreign prefix", "/system.slice/backup-" + idA + ".scope", "", "", ""},
		{"too short", "/docker/" + idA[1:], "", "", ""},
		{"too long", "/docker/" + idA + "0", "", "", ""},
		{"upper case", "/docker/" + strings.ToUpper(idA), "", "", ""},
		{"no uid", "/kubepods/podfoo/" + idA, idA, "", ""},
		{"uid of dashes", "/kubepods/pod" + strings.Repeat("-", 36) + "/" + idA, idA, "", ""},
		{"slice of a user's", "/my-pod" + uid_ + ".slice/docker-" + idA + ".scope", idA, "", ""},
		{"endless", strings.Repeat("/a", 4000) + "/" + idA, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := Place{ContainerID: c.id, PodUID: c.uid, Cgroup: c.cgroup}
			if c.cgroup == "" && want.Known() {
				want.Cgroup = c.path
			}
			if got := ParsePath(c.path); got != want {
				t.Errorf("ParsePath(%q)\n got %+v\nwant %+v", c.path, got, want)
			}
		})
	}
}

func TestParseFile(t *testing.T) {
	inA, inB := "/docker/"+idA, "/docker/"+idB
	for _, c := range []struct {
		name, file, id string
	}{
		{"version 2", "0::" + inA + "\n", idA},
		{"version 1", "12:pids:" + inA + "\n2:cpu,cpuacct:" + inA + "\n1:name=systemd:" + inA + "\n", idA},
		{"hybrid, runtime in version 1", "3:memory:" + inA + "\n1:name=systemd:" + inA + "\n0::/\n", idA},
		{"hybrid, nested in version 2 only", "1:name=systemd:" + inB + "\n0::" + inB + inA + "\n", idA},
		{"systemd's is believed before others", "9:memory:" + inB + "\n1:name=systemd:" + inA + "\n", idA},
		{"a pod is less than a container", "9:memory:/kubepods/pod" + uid + "\n8:pids:" + inA + "\n0::/\n", idA},
		{"colons in the path", "0::/system.slice/containerd.service/kubepods-burstable-pod" + uid_ + ".slice:cri-containerd:" + idA, idA},
		{"host", "1:name=systemd:/init.scope\n0::/init.scope\n", ""},
		{"broken", "docker/" + idA + "\n::\n\x00", ""},
		{"empty", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ParseFile([]byte(c.file)).ContainerID; got != c.id {
				t.Errorf("container %q, want %q", got, c.id)
			}
		})
	}
}

func FuzzParseFile(f *testing.F) {
	for _, seed := range []string{
		"0::/kubepods/burstable/pod" + uid + "/" + idA + "\n", "1:name=systemd:/a\n0::/docker/" + idA + " (deleted)\n",
		"0::/x/kubepods-pod" + uid_ + ".slice:cri-containerd:" + idA, "::::\n\n:", "0::/../../crio-" + idA + ".scope/container",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		p := ParseFile(file)
		if p.ContainerID != "" && (len(p.ContainerID) != containerIDLen || !isHex(p.ContainerID)) {
			t.Errorf("container id %q", p.ContainerID)
		}
		if p.PodUID != "" && podUID(p.PodUID) == "" {
			t.Errorf("pod uid %q", p.PodUID)
		}
		if p.Known() != (p.Cgroup != "") || !strings.Contains(string(file), p.Cgroup) {
			t.Errorf("cgroup %q of %+v", p.Cgroup, p)
		}
	})
}
