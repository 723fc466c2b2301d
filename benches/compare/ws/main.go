// Both ends of the `ws` workload of benches/compare: a WebSocket echo server and a closed-loop load on it.
//
//	ws serve ADDRESS
//	ws load ADDRESS CONNECTIONS SECONDS BYTES
//
// Beside /ws the server answers what the proxies' probes and the measurement ask for: /small, and /counts
// with the number of connections accepted so far, in the words of nginx's stub_status. The load prints one
// line, as load.lua does for wrk: COUNTED {...}, latencies in microseconds.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

const usage = "usage: ws serve ADDRESS | ws load ADDRESS CONNECTIONS SECONDS BYTES"

func main() {
	words := os.Args[1:]
	var err error
	switch {
	case len(words) == 2 && words[0] == "serve":
		err = serve(words[1])
	case len(words) == 5 && words[0] == "load":
		numbers := make([]int, 3)
		for i, word := range words[2:] {
			n, parseErr := strconv.Atoi(word)
			if parseErr != nil || n < 1 {
				fmt.Fprintf(os.Stderr, "error: found %q, expected a number from 1\nhint: %s\n", word, usage)
				os.Exit(2)
			}
			numbers[i] = n
		}
		err = load(words[1], numbers[0], time.Duration(numbers[1])*time.Second, numbers[2])
	default:
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
