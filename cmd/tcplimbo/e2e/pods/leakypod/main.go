// Leakypod is what runs in the test's pods. As "pause" it waits; as "leak" it
// forgets to close connections whose peers did: three at first, then one more each
// second, up to a hundred.
package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if len(os.Args) > 1 && os.Args[1] == "leak" {
		go func() {
			if err := leak(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}()
	}
	<-stop
}

func leak() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var forgotten []net.Conn
	for len(forgotten) < 100 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return err
		}
		peer, err := l.Accept()
		if err != nil {
			return err
		}
		if err := peer.Close(); err != nil {
			return err
		}
		if forgotten = append(forgotten, c); len(forgotten) >= 3 {
			time.Sleep(time.Second)
		}
	}
	return nil
}
