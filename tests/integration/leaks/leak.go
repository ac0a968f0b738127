// Leaks in rememberForever (`leak`) or is busy in spinAround (`spin`); an order on stdin lets it take more.
// With a second word it serves net/http/pprof on a port of its choice, and says which.
package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"time"
)

var kept [][]byte

//go:noinline
func rememberForever(megabytes int) {
	for range make([]struct{}, megabytes*16) {
		page := make([]byte, 64<<10)
		for at := range page {
			page[at] = byte(at)
		}
		kept = append(kept, page)
		time.Sleep(500 * time.Microsecond)
	}
}

//go:noinline
func spinAround() (sum uint64) {
	for until := time.Now().Add(10 * time.Millisecond); time.Now().Before(until); {
		for number := uint64(0); number < 100000; number++ {
			sum += number * number
		}
	}
	return
}

//go:noinline
func waitForever(gate chan int) {
	<-gate
}

func main() {
	told := "ready"
	if len(os.Args) > 2 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		told = listener.Addr().String()
		go http.Serve(listener, nil)
	}
	gate := make(chan int)
	for range make([]struct{}, 20) {
		go waitForever(gate)
	}
	fmt.Println(told)
	if os.Args[1] == "spin" {
		for {
			spinAround()
		}
	}
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		rememberForever(60)
		fmt.Println(len(kept))
	}
}
