// Large bodies through the proxy while one side is slow: does its memory stay flat, and does every byte arrive?
//
// It is the app, the client and the scale in one: it starts the proxy in front of its own backend and reads the
// proxy's peak resident memory from /proc. Both sides make and check the same stream of numbered blocks, so that a
// lost, doubled or altered byte is seen. main.go has the cases, body.go the stream, proxy.go the process.
//
// The last line is `N passed, N failed`; the exit code is 1 if something failed, 2 for wrong usage.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"
)

const (
	caseMax = 120 * time.Second // past it a case has failed, however much has arrived
	// A slow side pauses so often, so long: in each pause the other side could send hundreds of MiB.
	pauses      = 16
	pauseLength = 100 * time.Millisecond
	mib         = 1 << 20
)

// A transfer is one large body in one direction; `slow` is the side that pauses.
type transfer struct {
	isUpload, isChunked bool
	slow                side
}

type side string

const (
	reader side = "reader"
	writer side = "writer"
)

var cases = []struct {
	name      string
	transfers []transfer
}{
	{"download, slow reader", []transfer{{slow: reader}}},
	{"download in chunks, slow reader", []transfer{{isChunked: true, slow: reader}}},
	{"upload, slow reader", []transfer{{isUpload: true, slow: reader}}},
	{"upload in chunks, slow reader", []transfer{{isUpload: true, isChunked: true, slow: reader}}},
	{"download, slow writer", []transfer{{slow: writer}}},
	{"upload, slow writer", []transfer{{isUpload: true, slow: writer}}},
	{"eight at once, slow readers", eight()},
}

func eight() (all []transfer) {
	for i := 0; i < 8; i++ {
		all = append(all, transfer{isUpload: i%2 == 0, isChunked: i/2%2 == 0, slow: reader})
	}
	return all
}

// The kernel ends the proxy when the thread that started it ends: that has to be one that stays.
func init() { runtime.LockOSThread() }

func main() {
	binary := flag.String("tidegate", "", "the proxy's `binary`")
	bytes := flag.Int64("bytes", 1<<30, "length of each body")
	riseMax := flag.Float64("rise-max", 20, "`MiB` by which the proxy's peak may exceed its memory before any case")
	flag.Parse()
	if flag.NArg() > 0 || *binary == "" || *bytes < blockBytes {
		fmt.Fprintf(os.Stderr, "error: usage: bulk -tidegate BINARY [-bytes N, at least %d] [-rise-max MIB]\n", blockBytes)
		os.Exit(2)
	}
	failed, err := run(*binary, *bytes, *riseMax)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	fmt.Printf("%d passed, %d failed\n", len(cases)-failed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

func run(binary string, bytes int64, riseMax float64) (failed int, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	go http.Serve(listener, http.HandlerFunc(serve))
	proxy, err := startProxy(binary, listener.Addr().String())
	if err != nil {
		return 0, err
	}
	defer proxy.end()
	before, err := proxy.resident()
	if err != nil {
		return 0, err
	}
	fmt.Printf("%d MiB each; the proxy has %.1f MiB before\n", bytes/mib, before)
	fmt.Printf("%-34s %8s %8s %10s\n", "", "seconds", "MiB/s", "rise, MiB")
	for _, c := range cases {
		if err := proxy.resetPeak(); err != nil {
			return 0, err
		}
		began := time.Now()
		problem := all(proxy.address, c.transfers, bytes)
		seconds := time.Since(began).Seconds()
		peak, err := proxy.peak()
		if err != nil {
			return 0, err
		}
		if problem == nil && peak-before > riseMax {
			problem = fmt.Errorf("it rose by more than %.0f MiB", riseMax)
		}
		rate := float64(bytes*int64(len(c.transfers))) / mib / seconds
		fmt.Printf("%-34s %8.1f %8.0f %10.1f", c.name, seconds, rate, peak-before)
		if problem != nil {
			fmt.Printf("  WRONG: %v", problem)
			failed++
		}
		fmt.Println()
	}
	return failed, nil
}

// all runs transfers at once; the first that went wrong is the answer.
func all(address string, transfers []transfer, bytes int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), caseMax)
	defer cancel()
	problems := make([]error, len(transfers))
	var group sync.WaitGroup
	for i, t := range transfers {
		group.Add(1)
		go func(i int, t transfer) {
			defer group.Done()
			problems[i] = t.through(ctx, address, bytes)
		}(i, t)
	}
	group.Wait()
	for _, problem := range problems {
		if problem != nil {
			return problem
		}
	}
	return nil
}

// through makes the request; what the other side has to do is in its query.
func (t transfer) through(ctx context.Context, address string, bytes int64) error {
	url := fmt.Sprintf("http://%s/?bytes=%d&chunked=%t&slow=%s", address, bytes, t.isChunked, t.slow)
	if !t.isUpload {
		request, _ := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		return exchange(request, func(response *http.Response) error {
			if (response.ContentLength < 0) != t.isChunked {
				return fmt.Errorf("the answer's length is %d, chunked is %t", response.ContentLength, t.isChunked)
			}
			return check(response.Body, bytes, t.slow == reader)
		})
	}
	request, _ := http.NewRequestWithContext(ctx, http.MethodPost, url, newBody(bytes, t.slow == writer))
	if !t.isChunked {
		request.ContentLength = bytes
	}
	return exchange(request, func(response *http.Response) error {
		said, err := io.ReadAll(response.Body)
		if err == nil && string(said) != "whole" {
			err = fmt.Errorf("the backend says: %s", said)
		}
		return err
	})
}

func exchange(request *http.Request, look func(*http.Response) error) error {
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true, ReadBufferSize: blockBytes, WriteBufferSize: blockBytes}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d, x-tidegate-error %q", response.StatusCode, response.Header.Get("X-Tidegate-Error"))
	}
	return look(response)
}

// serve is the backend: GET is a download, POST an upload.
func serve(w http.ResponseWriter, r *http.Request) {
	bytes, _ := strconv.ParseInt(r.URL.Query().Get("bytes"), 10, 64)
	slow := side(r.URL.Query().Get("slow"))
	if r.Method == http.MethodPost {
		said := "whole"
		if err := check(r.Body, bytes, slow == reader); err != nil {
			said = err.Error()
		}
		io.WriteString(w, said)
		return
	}
	if r.URL.Query().Get("chunked") != "true" {
		w.Header().Set("Content-Length", strconv.FormatInt(bytes, 10))
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, newBody(bytes, slow == writer), make([]byte, blockBytes)); err != nil {
		panic(http.ErrAbortHandler) // an early end must look like one
	}
}
