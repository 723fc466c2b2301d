package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A server on bare sockets that answers each request with the bytes of its script, right or wrong. Each exchange
// below is one arrival of the real load; what it is judged to be is the test.

type scripted struct {
	addr     string
	requests atomic.Int32
	conns    atomic.Int32
}

// script gets the head of each request on a connection, whose body is left unread; false ends the connection.
type script func(head string, n int, conn *net.TCPConn, r *bufio.Reader) (goOn bool)

func serve(t *testing.T, s script) *scripted {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	server := &scripted{addr: listener.Addr().String()}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			server.conns.Add(1)
			go func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(10 * time.Second))
				for r := bufio.NewReader(conn); ; {
					head := ""
					for !strings.HasSuffix(head, "\r\n\r\n") {
						b, err := r.ReadByte()
						if err != nil {
							return
						}
						head += string(b)
					}
					if !s(head, int(server.requests.Add(1)), conn.(*net.TCPConn), r) {
						return
					}
				}
			}()
		}
	}()
	return server
}

// arrival is one of a kind, on a kept connection if there is one, with little time to spare.
func arrival(kind string, c *client) *exchange {
	return &exchange{
		client: c, cap: 400 * time.Millisecond, kind: kind, due: time.Now(), n: 1, seed: 7, dice: 1,
		shape: shape{slow: 50 * time.Millisecond, events: 3, gap: time.Millisecond, upload: 20 * time.Millisecond, ws: 50 * time.Millisecond},
	}
}

func judged(t *testing.T, kind string, addr string) string {
	t.Helper()
	c := newClient(addr, "test", newRecord(1))
	defer c.close()
	return reasonOf(kinds[kind](arrival(kind, c)))
}

func reasonOf(err error) string {
	if err == nil {
		return "ok"
	}
	return failOf(err, "closed").reason
}

func says(text string, goOn bool) script {
	return func(_ string, _ int, conn *net.TCPConn, _ *bufio.Reader) bool {
		conn.Write([]byte(text))
		return goOn
	}
}

// right is the body that "eight" expects.
var right = string(pattern(7, 8))

func withLength(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nX-App-Version: v1\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

const (
	chunkedHead = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	open, ends  = true, false
)

func TestEachAnswerIsJudged(t *testing.T) {
	events := func(n int) (text string) {
		for i := 1; i <= n; i++ {
			event := fmt.Sprintf("id: %d\ndata: %s\n\n", i, pattern(7+uint32(i), 24))
			text += fmt.Sprintf("%x\r\n%s\r\n", len(event), event)
		}
		return text
	}
	const end = "b\r\ndata: end\n\n\r\n"
	wrong := "x" + right[1:]
	for _, c := range []struct {
		name, kind, answer string
		goOn               bool
		want               string
	}{
		{"right", "eight", withLength(right), open, "ok"},
		{"right, chunked", "eight", chunkedHead + "3;ext=1\r\n" + right[:3] + "\r\n5\r\n" + right[3:] + "\r\n0\r\nTrailer: x\r\n\r\n", open, "ok"},
		{"right, until close", "eight", "HTTP/1.0 200 OK\r\n\r\n" + right, ends, "ok"},
		{"after interim answers", "eight", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + withLength(right), open, "ok"},

		{"one byte wrong", "eight", withLength(wrong), open, "altered_body"},
		{"one byte wrong, chunked", "eight", chunkedHead + "8\r\n" + wrong + "\r\n0\r\n\r\n", open, "altered_body"},
		{"bytes swapped", "eight", withLength(right[1:2] + right[:1] + right[2:]), open, "altered_body"},
		{"another request's", "eight", withLength(string(pattern(8, 8))), open, "altered_body"},
		{"one byte too many", "eight", withLength(right + "x"), open, "altered_body"},
		{"complete but short", "eight", withLength(right[:7]), open, "short_body"},
		{"short, until close", "eight", "HTTP/1.0 200 OK\r\n\r\n" + right[:7], ends, "short_body"},
		{"cut in the body", "eight", strings.TrimSuffix(withLength(right), right[7:]), ends, "short_body"},
		{"silent in the body", "eight", strings.TrimSuffix(withLength(right), right[7:]), open, "timeout"},
		{"cut in a chunk", "eight", chunkedHead + "8\r\n" + right[:4], ends, "short_body"},
		{"cut after a chunk", "eight", chunkedHead + "8\r\n" + right, ends, "short_body"},
		{"cut between chunks", "eight", chunkedHead + "8\r\n" + right + "\r\n", ends, "short_body"},
		{"cut in the last chunk", "eight", chunkedHead + "8\r\n" + right + "\r\n0\r\n", ends, "short_body"},
		{"cut before the last CRLF", "eight", chunkedHead + "8\r\n" + right + "\r\n0\r\nA: b\r\n", ends, "short_body"},
		{"cut in the head", "eight", "HTTP/1.1 200 OK\r\nContent-Le", ends, "short_head"},
		{"closed without an answer", "eight", "", ends, "closed"},
		{"no answer", "eight", "", open, "timeout"},

		{"both lengths", "eight", "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n" + right + "\r\n0\r\n\r\n", open, "bad_framing"},
		{"two lengths", "eight", "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nContent-Length: 8\r\n\r\n" + right, open, "bad_framing"},
		{"signed length", "eight", "HTTP/1.1 200 OK\r\nContent-Length: +8\r\n\r\n" + right, open, "bad_framing"},
		{"prefixed chunk size", "eight", chunkedHead + "0x8\r\n" + right + "\r\n0\r\n\r\n", open, "bad_framing"},
		{"negative chunk size", "eight", chunkedHead + "-8\r\n" + right + "\r\n0\r\n\r\n", open, "bad_framing"},
		{"no CRLF after a chunk", "eight", chunkedHead + "8\r\n" + right + "0\r\n\r\n", open, "bad_framing"},
		{"bare LF", "eight", "HTTP/1.1 200 OK\nContent-Length: 8\n\n" + right, open, "bad_framing"},
		{"space before the colon", "eight", "HTTP/1.1 200 OK\r\nContent-Length : 8\r\n\r\n" + right, open, "bad_head"},
		{"folded field", "eight", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 8\r\n\r\n" + right, open, "bad_head"},
		{"garbage", "eight", "SSH-2.0-x\r\n\r\n", open, "bad_head"},
		{"bytes after the body", "eight", withLength(right) + "x", open, "extra_bytes"},

		{"error of the app", "eight", "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", open, "status_500(app)"},
		{"error of the proxy", "eight", "HTTP/1.1 503 No\r\nx-tidegate-error: no_backend\r\nContent-Length: 0\r\n\r\n", open, "status_503(tidegate no_backend)"},
		{"redirect", "eight", "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", open, "status_302(app)"},
		{"no content", "eight", "HTTP/1.1 204 No Content\r\n\r\n", open, "status_204(app)"},

		{"stream, complete", "stream", chunkedHead + events(3) + end + "0\r\n\r\n", open, "ok"},
		{"stream, an event missing", "stream", chunkedHead + events(2) + end + "0\r\n\r\n", open, "missing_event"},
		{"stream, the last missing", "stream", chunkedHead + events(3) + "0\r\n\r\n", open, "missing_event"},
		{"stream, cut", "stream", chunkedHead + events(2), ends, "short_body"},
		{"stream, cut after the last", "stream", chunkedHead + events(3) + end, ends, "short_body"},
		{"stream, one too many", "stream", chunkedHead + events(3) + end + "b\r\ndata: end\n\n\r\n0\r\n\r\n", open, "altered_body"},

		{"upload, wrong sum", "upload", withLength(`{"bytes":262144,"sha256":"00"}`), open, "altered_body"},
		{"upload, refused early", "upload", "HTTP/1.1 503 No\r\nx-tidegate-error: connect_failed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", ends, "status_503(tidegate connect_failed)"},
		{"ws, refused", "ws", "HTTP/1.1 502 No\r\nx-tidegate-error: upstream_reset\r\nContent-Length: 0\r\n\r\n", open, "status_502(tidegate upstream_reset)"},
		{"ws, not accepted", "ws", "HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n", open, "ws_bad_handshake"},
	} {
		c := c
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := judged(t, c.kind, serve(t, says(c.answer, c.goOn)).addr); got != c.want {
				t.Errorf("got %q, expected %q", got, c.want)
			}
		})
	}
}

// "eight" is `fast` with a body short enough to write out in a test.
func TestMain(m *testing.M) {
	kinds["eight"] = func(e *exchange) error {
		return e.do(0, request{method: "GET", target: "/fast?n=8&seed=7"}, func(body io.Reader) error {
			return expectBytes(body, []byte(right))
		})
	}
	os.Exit(m.Run())
}

func TestAResetIsAFailure(t *testing.T) {
	for _, text := range []string{"", withLength(right)[:60]} {
		text := text
		server := serve(t, func(_ string, _ int, conn *net.TCPConn, _ *bufio.Reader) bool {
			conn.Write([]byte(text))
			time.Sleep(20 * time.Millisecond)
			conn.SetLinger(0)
			return false
		})
		if got := judged(t, "eight", server.addr); got != "reset" {
			t.Errorf("after %q: got %q", text, got)
		}
	}
}

func TestARefusedConnectionIsAFailure(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	listener.Close()
	for kind := range kinds {
		if got := judged(t, kind, addr); got != "refused" {
			t.Errorf("%s: got %q", kind, got)
		}
	}
}

// The server takes the second request on a kept connection and closes. Go's own client would send it again.
func TestARequestIsNeverSentTwice(t *testing.T) {
	server := serve(t, func(_ string, n int, conn *net.TCPConn, _ *bufio.Reader) bool {
		if n == 1 {
			conn.Write([]byte(withLength(right)))
			return true
		}
		return false
	})
	c := newClient(server.addr, "test", newRecord(1))
	defer c.close()
	first := reasonOf(kinds["eight"](arrival("eight", c)))
	second := reasonOf(kinds["eight"](arrival("eight", c)))
	if first != "ok" || second != "closed_reused" {
		t.Errorf("got %q, then %q", first, second)
	}
	if n, conns := server.requests.Load(), server.conns.Load(); n != 2 || conns != 1 {
		t.Errorf("the server saw %d requests on %d connections", n, conns)
	}
}

func TestAConnectionClosedWhileIdleIsReplaced(t *testing.T) {
	server := serve(t, says(withLength(right), ends))
	rec := newRecord(1)
	c := newClient(server.addr, "test", rec)
	defer c.close()
	for i := 0; i < 3; i++ {
		if got := reasonOf(kinds["eight"](arrival("eight", c))); got != "ok" {
			t.Errorf("got %q", got)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if rec.connections != (connectionTotals{Opened: 3, ClosedIdle: 2}) {
		t.Errorf("got %+v", rec.connections)
	}
}

func TestBytesOnAnIdleConnectionAreAFailure(t *testing.T) {
	server := serve(t, func(_ string, _ int, conn *net.TCPConn, _ *bufio.Reader) bool {
		conn.Write([]byte(withLength(right)))
		time.Sleep(20 * time.Millisecond)
		conn.Write([]byte("x"))
		return true
	})
	c := newClient(server.addr, "test", newRecord(1))
	defer c.close()
	kinds["eight"](arrival("eight", c))
	time.Sleep(50 * time.Millisecond)
	if got := reasonOf(kinds["eight"](arrival("eight", c))); got != "late_bytes" {
		t.Errorf("got %q", got)
	}
}

// An answer that comes after what the request needs plus the cap is a failure, also one that trickles.
func TestASlowAnswerIsAFailure(t *testing.T) {
	server := serve(t, func(_ string, _ int, conn *net.TCPConn, _ *bufio.Reader) bool {
		for _, b := range []byte(withLength(right)) {
			conn.Write([]byte{b})
			time.Sleep(20 * time.Millisecond)
		}
		return true
	})
	if got := judged(t, "eight", server.addr); got != "timeout" {
		t.Errorf("got %q", got)
	}
}

func TestEachRequestOnAKeptConnectionHasItsOwnTime(t *testing.T) {
	server := serve(t, func(_ string, _ int, conn *net.TCPConn, _ *bufio.Reader) bool {
		time.Sleep(250 * time.Millisecond)
		conn.Write([]byte(withLength(right)))
		return true
	})
	c := newClient(server.addr, "test", newRecord(1))
	defer c.close()
	for i := 0; i < 3; i++ {
		if got := reasonOf(kinds["eight"](arrival("eight", c))); got != "ok" {
			t.Errorf("got %q", got)
		}
	}
	if n := server.conns.Load(); n != 1 {
		t.Errorf("the server saw %d connections", n)
	}
}

// Open loop: a server that answers nobody still gets every arrival on time, up to the bound on what is open.
func TestArrivalsDoNotWaitForAnswers(t *testing.T) {
	server := serve(t, func(string, int, *net.TCPConn, *bufio.Reader) bool { return true })
	ctx, cancel := context.WithTimeout(context.Background(), 400*time.Millisecond)
	defer cancel()
	rec := run(ctx, options{target: server.addr, host: "test", rates: map[string]float64{"fast": 100},
		cap: time.Second, inFlightMax: 25})
	res := rec.result(nil)
	if res.Sent != 40 || res.Kinds["fast"].Failures["overload"] != 15 || res.Kinds["fast"].Failures["timeout"] != 25 {
		t.Errorf("sent %d, %v", res.Sent, res.Kinds["fast"].Failures)
	}
}

func TestOneInFiveConnectionsIsNew(t *testing.T) {
	server := serve(t, says(withLength(right), open))
	ctx, cancel := context.WithTimeout(context.Background(), 400*time.Millisecond)
	defer cancel()
	rec := run(ctx, options{target: server.addr, host: "test", rates: map[string]float64{"eight": 1000},
		cap: time.Second, inFlightMax: 100})
	share := float64(rec.connections.Opened) / float64(rec.connections.Opened+rec.connections.Reused)
	if res := rec.result(nil); res.Failed > 0 || share < 0.1 || share > 0.4 {
		t.Errorf("%d failed, %.2f of the connections were new", res.Failed, share)
	}
}

// A server that has its answers as files has one for each of them.
func TestSeedsAreOnlyThoseAskedFor(t *testing.T) {
	random, seen := rand.New(rand.NewSource(1)), map[int32]bool{}
	for i := 0; i < 200; i++ {
		seen[drawSeed(random, 3)] = true
	}
	if len(seen) != 3 || !seen[0] || !seen[seedStep] || !seen[2*seedStep] {
		t.Errorf("drew %v", seen)
	}
}

func TestWindowsAreCounted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "windows")
	// Two deploys that overlap are one window; the last one never ended.
	os.WriteFile(file, []byte("begin 1000\nbegin 1500\nend 2000\nend 3000\nbegin 9000\n"), 0o644)
	windows, err := readWindows(file, time.UnixMilli(9500))
	if err != nil || fmt.Sprint(windows) != "[{1000 3000} {9000 9500}]" {
		t.Fatalf("got %v, %v", windows, err)
	}
	for _, c := range []struct {
		begin, end int64
		want       bool
	}{{0, 999, false}, {0, 1000, true}, {1500, 1600, true}, {0, 5000, true}, {2999, 8000, true}, {3001, 8999, false}, {9400, 9600, true}} {
		if overlaps(windows, c.begin, c.end) != c.want {
			t.Errorf("%d to %d: expected %v", c.begin, c.end, c.want)
		}
	}
	os.WriteFile(file, []byte("end 1000\n"), 0o644)
	if _, err := readWindows(file, time.Now()); err == nil {
		t.Error("an end without a begin was taken")
	}
	if windows, err := readWindows(filepath.Join(t.TempDir(), "none"), time.Now()); err != nil || len(windows) != 0 {
		t.Errorf("got %v, %v", windows, err)
	}
}

func TestTheTableIsWhatPeopleSee(t *testing.T) {
	rec := newRecord(1)
	begin := rec.begun
	add := func(kind, reason string, at, took time.Duration) {
		rec.ended = append(rec.ended, ended{kind, reason, at, at + took})
	}
	add("fast", "", 0, 2*time.Millisecond)
	add("fast", "", time.Second, 4*time.Millisecond)
	add("fast", "reset", time.Second, time.Millisecond)
	add("ws", "", 0, 1500*time.Millisecond)
	res := rec.result([]window{{begin.UnixMilli() + 900, begin.UnixMilli() + 1100}})
	var out strings.Builder
	res.print(&out)
	const want = `kind         sent       ok   failed  in windows    p50 ms    p99 ms    max ms  failures
fast            3        2        1           2       2.0       2.0       4.0  reset 1
ws              1        1        0           1    1500.0    1500.0    1500.0  -
all             4        3        1           3
`
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
	if res.FailedInWindow != 1 {
		t.Errorf("failed in windows: %d", res.FailedInWindow)
	}
}

func TestOptionsAreRefusedWithAReason(t *testing.T) {
	for args, want := range map[string]string{
		"":                                       `-target: found "", expected http://host:port`,
		"-target https://a:1":                    `-target: found "https://a:1", expected http://host:port`,
		"-target http://a":                       `-target: found "http://a", expected http://host:port`,
		"-target http://a:1 -rate fats=1":        `-rate: found "fats=1", expected KIND=NUMBER with a kind of eight, fast, post, slow, stream, upload, ws`,
		"-target http://a:1 -rate fast":          `-rate: found "fast", expected KIND=NUMBER with a kind of eight, fast, post, slow, stream, upload, ws`,
		"-target http://a:1 -in-flight-max 0":    `-in-flight-max: expected at least 1`,
		"-target http://a:1 -seeds -1":           `-seeds: expected 0 to 1048576`,
		"-target http://a:1 more":                `unexpected argument "more"`,
		"-target http://[::1]:80 -rate fast=0.5": "",
	} {
		_, err := parseOptions(strings.Fields(args))
		if got := fmt.Sprint(err); got != want && !(err == nil && want == "") {
			t.Errorf("%q: got %q", args, got)
		}
	}
}
