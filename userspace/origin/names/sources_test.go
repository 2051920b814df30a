package names

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/tcplimbo/tcplimbo/userspace/origin"
)

// listen listens at a socket with a short path.
func listen(t *testing.T) (net.Listener, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "limbo")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", dir+"/s")
	if err != nil {
		t.Fatal(err)
	}
	return l, dir + "/s"
}

// fakeCRI answers as containerd does, with one pod of one container.
type fakeCRI struct {
	runtime.UnimplementedRuntimeServiceServer
}

func (fakeCRI) ListPodSandbox(_ context.Context, req *runtime.ListPodSandboxRequest) (*runtime.ListPodSandboxResponse, error) {
	f := req.GetFilter()
	if f.GetId() != "" && f.GetId() != idB || f.GetLabelSelector()[labelPodUID] != "" && f.GetLabelSelector()[labelPodUID] != uid {
		return &runtime.ListPodSandboxResponse{}, nil
	}
	return &runtime.ListPodSandboxResponse{Items: []*runtime.PodSandbox{{
		Id: idB, Metadata: &runtime.PodSandboxMetadata{Name: "cart-0", Namespace: "shop", Uid: uid},
		Labels: map[string]string{"app": "cart"},
	}}}, nil
}

func (fakeCRI) ListContainers(_ context.Context, req *runtime.ListContainersRequest) (*runtime.ListContainersResponse, error) {
	if id := req.GetFilter().GetId(); id != "" && !strings.HasPrefix(idA, id) {
		return &runtime.ListContainersResponse{}, nil
	}
	return &runtime.ListContainersResponse{Containers: []*runtime.Container{
		{Id: idA, PodSandboxId: idB, Metadata: &runtime.ContainerMetadata{Name: "cart"}},
	}}, nil
}

func serveCRI(t *testing.T, register func(*grpc.Server)) string {
	t.Helper()
	l, path := listen(t)
	server := grpc.NewServer()
	register(server)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return path
}

func TestCRI(t *testing.T) {
	path := serveCRI(t, func(s *grpc.Server) { runtime.RegisterRuntimeServiceServer(s, fakeCRI{}) })
	c := newCRI(path, true)
	t.Cleanup(func() { _ = c.Close() })
	all, err := c.All(t.Context())
	if err != nil || len(all) != 1 || !reflect.DeepEqual(all[0], cart) {
		t.Errorf("all: %+v, %v", all, err)
	}
	pod := cart
	pod.ID, pod.Name = "", ""
	for _, tt := range []struct {
		name string
		at   origin.Place
		want Container
	}{
		{"container", placeA, cart},
		{"container in no pod", origin.Place{ContainerID: idA}, cart},
		{"pod", origin.Place{PodUID: uid}, pod},
		{"sandbox", origin.Place{ContainerID: idB, PodUID: uid}, pod},
		{"a prefix is another id", origin.Place{ContainerID: idA[:12]}, Container{}},
		{"nobody", origin.Place{ContainerID: strings.Repeat("0", 64)}, Container{}},
		{"no pod", origin.Place{PodUID: strings.Replace(uid, "0", "1", 1)}, Container{}},
	} {
		got, ok, err := c.Find(t.Context(), tt.at)
		if err != nil || ok != (tt.want.Pod != "") || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, %v, %v", tt.name, got, ok, err)
		}
	}
}

// TestCRIAbsent: no runtime where one may be is no error, and neither is one without
// CRI; where somebody said that there is one, both are.
func TestCRIAbsent(t *testing.T) {
	other := serveCRI(t, func(*grpc.Server) {})
	nobody := filepath.Join(t.TempDir(), "s")
	for _, tt := range []struct {
		path  string
		usual bool
		fails bool
	}{{other, true, false}, {other, false, true}, {nobody, true, false}, {nobody, false, true}} {
		c := newCRI(tt.path, tt.usual)
		_, errAll := c.All(t.Context())
		_, ok, errFind := c.Find(t.Context(), placeA)
		if ok || (errAll != nil) != tt.fails || (errFind != nil) != tt.fails {
			t.Errorf("%+v: %v, %v, %v", tt, errAll, errFind, ok)
		}
		if errAll != nil && (strings.Contains(errAll.Error(), "rpc error") || strings.Contains(errAll.Error(), "\n")) {
			t.Errorf("not for people: %v", errAll)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := newCRI("/x", true).answered("x", status.Error(codes.Unavailable, "gone")); err == nil {
		t.Error("a runtime that is gone is no error")
	}
}

func TestDocker(t *testing.T) {
	labels := map[string]string{labelNamespace: "shop", labelPod: "cart-0", labelPodUID: uid, labelContainer: "cart"}
	l, path := listen(t)
	mux := http.NewServeMux()
	answer := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(v) }
	}
	mux.HandleFunc("/containers/json", answer([]any{
		map[string]any{"Id": idA, "Names": []string{"/web"}, "Labels": map[string]string{"a": "b"}},
		map[string]any{"Id": idB, "Names": []string{"/k8s_cart"}, "Labels": labels},
	}))
	mux.HandleFunc("/containers/"+idA+"/json", answer(map[string]any{"Id": idA, "Name": "/web", "Config": map[string]any{"Labels": map[string]string{"a": "b"}}}))
	mux.HandleFunc("/containers/"+idB+"/json", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	d := newDocker(path)
	web := Container{ID: idA, Name: "web", Labels: map[string]string{"a": "b"}}
	pod := Container{ID: idB, Name: "cart", Namespace: "shop", Pod: "cart-0", PodUID: uid, Labels: labels}
	if all, err := d.All(t.Context()); err != nil || !reflect.DeepEqual(all, []Container{web, pod}) {
		t.Errorf("all: %+v, %v", all, err)
	}
	if c, ok, err := d.Find(t.Context(), origin.Place{ContainerID: idA}); err != nil || !ok || !reflect.DeepEqual(c, web) {
		t.Errorf("found %+v, %v, %v", c, ok, err)
	}
	if _, ok, err := d.Find(t.Context(), origin.Place{ContainerID: strings.Repeat("0", 64)}); ok || err != nil {
		t.Errorf("nobody: %v, %v", ok, err)
	}
	if _, ok, err := d.Find(t.Context(), origin.Place{ContainerID: idB}); ok || err == nil {
		t.Error("an answer of 500 is no error")
	}
	if all, err := newDocker(path + "x").All(t.Context()); all != nil || err != nil {
		t.Errorf("nobody there: %v, %v", all, err)
	}
	if err := os.WriteFile(path+"y", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newDocker(path + "y").All(t.Context()); err == nil {
		t.Error("a file that nobody listens at is no error")
	}
}

func TestPodLogs(t *testing.T) {
	dir := t.TempDir()
	const other = "1e4a1b62-8c1d-4a55-9d0f-3f2b8c7d6e5a"
	for _, path := range []string{
		"pods/shop_cart-0_" + uid + "/cart", "pods/bank_ledger-0_" + other + "/books", "pods/bank_ledger-0_" + other + "/init",
		"pods/broken", "pods/a_b_c_d", "containers/ledger-0_bank_books-" + idB + ".log", "containers/broken-" + idB[1:] + "0.log",
	} {
		if err := os.MkdirAll(filepath.Join(dir, path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l := newPodLogs(dir+"/pods", dir+"/containers")
	for _, tt := range []struct {
		name string
		at   origin.Place
		want Container
	}{
		{"only container", placeA, Container{ID: idA, Name: "cart", Namespace: "shop", Pod: "cart-0", PodUID: uid}},
		{"linked", origin.Place{ContainerID: idB, PodUID: other}, Container{ID: idB, Name: "books", Namespace: "bank", Pod: "ledger-0", PodUID: other}},
		{"one of several", origin.Place{ContainerID: idA, PodUID: other}, Container{ID: idA, Namespace: "bank", Pod: "ledger-0", PodUID: other}},
		{"linked, pod not known", origin.Place{ContainerID: idB}, Container{ID: idB, Name: "books", Namespace: "bank", Pod: "ledger-0"}},
		{"pod only", origin.Place{PodUID: uid}, Container{Namespace: "shop", Pod: "cart-0", PodUID: uid}},
		{"broken link", origin.Place{ContainerID: idB[1:] + "0"}, Container{ID: idB[1:] + "0"}},
		{"nobody", origin.Place{ContainerID: strings.Repeat("0", 64), PodUID: strings.Repeat("0", 32)}, Container{ID: strings.Repeat("0", 64)}},
	} {
		got, ok, err := l.Find(t.Context(), tt.at)
		got.Labels = nil
		if err != nil || ok != (tt.want.Pod != "") || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, %v, %v", tt.name, got, ok, err)
		}
	}
	if _, ok, err := newPodLogs(dir+"/none", dir+"/none").Find(t.Context(), placeA); ok || err != nil {
		t.Errorf("no directories: %v, %v", ok, err)
	}
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := newPodLogs(dir+"/file", dir+"/file").Find(t.Context(), placeA); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file as a directory: %v", err)
	}
}

func FuzzPodLogs(f *testing.F) {
	f.Add("shop_cart-0_"+uid, "cart-0_shop_cart-"+idA+".log", uid)
	f.Add("__", "__-"+idA+".log", "")
	f.Fuzz(func(t *testing.T, dir, link, uid string) {
		if c := fromPodDir(dir); c.Pod != "" && !strings.Contains(dir, c.Namespace+"_"+c.Pod) {
			t.Errorf("%q became %+v", dir, c)
		}
		if c, ok := fromLink(link, idA); ok && !strings.HasPrefix(link, c.Pod+"_"+c.Namespace+"_"+c.Name) {
			t.Errorf("%q became %+v", link, c)
		}
	})
}
