// Leaky is a server with two handlers that forget their connections and one that
// does not, and a client of its own. It does what its standard input says:
// "round" makes a connection to each handler, "stall" a connect that nobody
// answers. The marks in the comments are what the test looks for.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// kept keeps forgotten connections from the garbage collector, which would close
// them.
var kept struct {
	sync.Mutex
	conns []net.Conn
}

func keep(c net.Conn) {
	kept.Lock()
	defer kept.Unlock()
	kept.conns = append(kept.conns, c)
}

func handleUpload(c net.Conn) {
	buf := make([]byte, 512)
	for {
		_, err := c.Read(buf) // mark: upload
		if err != nil {
			keep(c)
			return
		}
	}
}

func handleStatus(c net.Conn) {
	if _, err := io.Copy(io.Discard, c); err != nil { // mark: status
		panic(err)
	}
	keep(c)
}

func handleWell(c net.Conn) {
	defer c.Close()
	if _, err := io.Copy(io.Discard, c); err != nil {
		panic(err)
	}
}

func serve(l net.Listener, handle func(net.Conn)) {
	for {
		c, err := l.Accept() // mark: accept
		if err != nil {
			panic(err)
		}
		go handle(c) // mark: handle
	}
}

func listen(handle func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go serve(l, handle)
	return l.Addr().String()
}

func call(address string) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		panic(err)
	}
	if _, err := c.Write([]byte("hello")); err != nil {
		panic(err)
	}
	if err := c.Close(); err != nil {
		panic(err)
	}
}

// full is a listener that takes one connection, which it has.
func full() string {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		panic(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		panic(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		panic(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		panic(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	c, err := net.Dial("tcp", address)
	if err != nil {
		panic(err)
	}
	keep(c)
	return address
}

func fetch(address string) {
	c, err := net.Dial("tcp", address) // mark: connect
	if err == nil {
		keep(c)
	}
}

func main() {
	handlers := []string{listen(handleUpload), listen(handleStatus), listen(handleWell)}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); fmt.Println("done") {
		switch in.Text() {
		case "round":
			for _, address := range handlers {
				call(address)
			}
		case "stall":
			go fetch(full()) // mark: stall
		}
	}
}
