// Profiled is a server that serves net/http/pprof and has a handler that waits for
// ever once it has read the end of file, its connection open. It does what its standard
// input says: "round" makes connections that are closed by the other end.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
)

// lost is where the handler waits; nobody sends.
var lost = make(chan struct{})

func handleUpload(c net.Conn) {
	defer c.Close()
	_, _ = io.Copy(io.Discard, c)
	store()
}

func store() {
	<-lost // mark: waits
}

func serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go handleUpload(c)
	}
}

func listen() net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	return l
}

func main() {
	uploads := listen()
	go serve(uploads)
	go func() { panic(http.Serve(listen(), nil)) }()
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); fmt.Println("done") {
		for range 3 {
			c, err := net.Dial("tcp", uploads.Addr().String())
			if err != nil {
				panic(err)
			}
			c.Close()
		}
	}
}
