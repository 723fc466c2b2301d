package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// shape is how long the long kinds take by themselves.
type shape struct {
	slow, gap, upload, ws time.Duration
	events                int
}

// exchange is one arrival: when it was due, and the random choices made for it.
type exchange struct {
	client *client
	shape  shape
	cap    time.Duration
	kind   string
	due    time.Time
	n      int     // the n-th of its kind
	seed   int32   // of its bytes
	dice   float64 // from 0 to 1: fresh connection or not

	version string // what X-App-Version said; empty when no answer came
}

// kinds is the table of what can be sent. Each returns nil only if everything that was expected came.
var kinds = map[string]func(*exchange) error{
	"fast":   fast,
	"slow":   slow,
	"stream": stream,
	"post":   post,
	"upload": upload,
	"ws":     webSocket,
}

// fast: mostly small bodies, now and then one that does not fit into a socket buffer at once.
func fast(e *exchange) error {
	size := 1 + int(e.seed)%2000
	if e.n%20 == 0 {
		size = 200_000
	}
	return e.get(fmt.Sprintf("/fast?n=%d&seed=%d", size, e.seed), 0, size)
}

func slow(e *exchange) error {
	target := fmt.Sprintf("/slow?ms=%d&n=64&seed=%d", e.shape.slow.Milliseconds(), e.seed)
	return e.get(target, e.shape.slow, 64)
}

func (e *exchange) get(target string, needs time.Duration, size int) error {
	return e.do(needs, request{method: "GET", target: target}, func(body io.Reader) error {
		return expectBytes(body, pattern(uint32(e.seed), size))
	})
}

// post: a body that comes back; every fourth is sent in chunks.
func post(e *exchange) error {
	sent := pattern(uint32(e.seed), int(e.seed)%8000)
	r := request{method: "POST", target: "/echo", parts: [][]byte{sent}, isChunked: e.n%4 == 0}
	return e.do(0, r, func(body io.Reader) error { return expectBytes(body, sent) })
}

// upload: a body that takes its time; every second is sent in chunks.
func upload(e *exchange) error {
	const parts, partBytes = 8, 32 << 10
	r := request{method: "POST", target: "/upload", isChunked: e.n%2 == 0, gap: e.shape.upload / parts}
	sum := sha256.New()
	for i := 0; i < parts; i++ {
		part := pattern(uint32(e.seed)+uint32(i), partBytes)
		sum.Write(part)
		r.parts = append(r.parts, part)
	}
	return e.do(e.shape.upload, r, func(body io.Reader) error {
		text, err := io.ReadAll(body)
		if err != nil {
			return err
		}
		var got struct {
			Bytes  int64
			Sha256 string
		}
		want := fmt.Sprintf("%x", sum.Sum(nil))
		if json.Unmarshal(text, &got) != nil || got.Bytes != parts*partBytes || got.Sha256 != want {
			return fail("altered_body", "the app received %.120q", text)
		}
		return nil
	})
}

// stream: every event, in order, with its bytes, and the last one.
func stream(e *exchange) error {
	seed := e.seed % (1 << 30)
	target := fmt.Sprintf("/stream?events=%d&gap_ms=%d&seed=%d", e.shape.events, e.shape.gap.Milliseconds(), seed)
	needs := time.Duration(e.shape.events) * e.shape.gap
	return e.do(needs, request{method: "GET", target: target}, func(body io.Reader) error {
		lines := bufio.NewReader(body)
		for i := 1; i <= e.shape.events; i++ {
			event := fmt.Sprintf("id: %d\ndata: %s\n\n", i, pattern(uint32(seed)+uint32(i), 24))
			if err := expectEvent(lines, event); err != nil {
				return err
			}
		}
		if err := expectEvent(lines, "data: end\n\n"); err != nil {
			return err
		}
		return expectBytes(lines, nil)
	})
}

func expectEvent(r *bufio.Reader, want string) error {
	got := make([]byte, len(want))
	n, err := io.ReadFull(r, got)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fail("missing_event", "the stream ended as if complete, before %q", want)
	}
	if err != nil {
		return err
	}
	if string(got[:n]) != want {
		return fail("missing_event", "found %q, expected %q", got, want)
	}
	return nil
}

func expectBytes(body io.Reader, want []byte) error {
	got, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if len(got) < len(want) {
		return fail("short_body", "complete after %d of %d bytes", len(got), len(want))
	}
	if !bytes.Equal(got, want) {
		return fail("altered_body", "%d bytes differ from the %d expected", len(got), len(want))
	}
	return nil
}

type request struct {
	method, target string
	parts          [][]byte // of the body, sent `gap` apart
	gap            time.Duration
	isChunked      bool
}

// do sends the request once, reads the answer and lets check judge the body of a 200.
func (e *exchange) do(needs time.Duration, r request, check func(io.Reader) error) error {
	wantFresh := e.dice < freshShare
	wantClose := e.dice < freshShare*closeShare
	conn, err := e.client.connect(wantFresh, e.due.Add(needs+e.cap))
	if err != nil {
		return failOf(err, "closed")
	}
	isDone := false
	defer func() {
		if !isDone {
			conn.Close()
		}
	}()

	// The answer is read while the body is still being sent, because it may come early.
	written := make(chan error, 1)
	if len(r.parts) == 0 {
		written <- r.write(conn, e.client.host, wantClose)
	} else {
		go func() { written <- r.write(conn, e.client.host, wantClose) }()
	}
	a, err := readAnswer(conn)
	if err != nil {
		return err
	}
	if err := e.judge(a); err != nil {
		return err
	}
	if err := check(a.body); err != nil {
		return failOf(err, "short_body")
	}
	if err := <-written; err != nil {
		return failOf(err, "closed")
	}
	if conn.reader.Buffered() > 0 {
		return fail("extra_bytes", "%d bytes after the answer", conn.reader.Buffered())
	}
	if a.mayBeReuse && !wantClose {
		isDone = true
		e.client.keep(conn)
	}
	return nil
}

// judge notes the version and refuses what is not a 200.
func (e *exchange) judge(a *answer) error {
	e.version = a.value("X-App-Version")
	if a.status == 200 {
		return nil
	}
	return statusFailure(a)
}

// statusFailure tells an error of the app from one that the proxy made, which says so itself.
func statusFailure(a *answer) *failure {
	by := "app"
	if word := a.value("x-tidegate-error"); word != "" {
		by = "tidegate " + word
	}
	return fail(fmt.Sprintf("status_%d(%s)", a.status, by), "%v", a.fields)
}

func (r request) write(w io.Writer, host string, wantClose bool) error {
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.method, r.target, host)
	if wantClose {
		head.WriteString("Connection: close\r\n")
	}
	if r.isChunked {
		head.WriteString("Transfer-Encoding: chunked\r\n")
	} else if r.method == "POST" {
		size := 0
		for _, part := range r.parts {
			size += len(part)
		}
		head.WriteString("Content-Length: " + strconv.Itoa(size) + "\r\n")
	}
	head.WriteString("\r\n")
	if _, err := io.WriteString(w, head.String()); err != nil {
		return err
	}
	for _, part := range r.parts {
		if r.isChunked && len(part) > 0 {
			part = append([]byte(fmt.Sprintf("%x\r\n", len(part))), append(part[:len(part):len(part)], "\r\n"...)...)
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
		time.Sleep(r.gap)
	}
	if r.isChunked {
		_, err := io.WriteString(w, "0\r\n\r\n")
		return err
	}
	return nil
}

// pattern is the same function as in the app: n bytes that depend on the seed and on the place of each.
func pattern(seed uint32, n int) []byte {
	body := make([]byte, n)
	x := seed*2654435761 + 1
	for i := range body {
		x = x*1664525 + 1013904223
		body[i] = 'a' + byte(x>>24)%26
	}
	return body
}
