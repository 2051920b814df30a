// The server answers as a program with net/http/pprof does, and has goroutines
// in known places.
package main

import (
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"sync"
)

//go:noinline
func upload(ready *sync.WaitGroup, never chan struct{}) {
	ready.Done()
	<-never
}

//go:noinline
func download(ready *sync.WaitGroup, never chan struct{}) { upload(ready, never) }

func main() {
	var ready sync.WaitGroup
	never := make(chan struct{})
	for range 7 {
		ready.Add(1)
		go upload(&ready, never)
	}
	for range 3 {
		ready.Add(1)
		go download(&ready, never)
	}
	ready.Wait()
	// A listener that serves something else comes first.
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() {
		for {
			c, err := other.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	fmt.Fprintln(os.Stderr, http.Serve(l, nil))
	os.Exit(1)
}
