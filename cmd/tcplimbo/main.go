// Command tcplimbo finds TCP sockets that are stuck and says why.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(execute(context.Background(), os.Args, thisHost()))
}
