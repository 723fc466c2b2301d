package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The app runs as a process of its own, as in a deploy: the test binary starts itself again with this variable set.
const runApp = "TEST_RUNS_APP"

func TestMain(m *testing.M) {
	if os.Getenv(runApp) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	addr   string
	report string
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, report: filepath.Join(t.TempDir(), "report.json")}
	p.cmd = exec.Command(os.Args[0], append([]string{"-version", "v1", "-report", p.report}, args...)...)
	p.cmd.Env = append(os.Environ(), runApp+"=1")
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill(); p.cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the app said nothing: %v", err)
	}
	p.addr = strings.TrimPrefix(strings.TrimSpace(line), "listening ")
	return p
}

func (p *process) dial() net.Conn {
	p.t.Helper()
	network, addr := "tcp", p.addr
	if strings.HasPrefix(addr, "unix:") {
		network, addr = "unix", strings.TrimPrefix(addr, "unix:")
	}
	conn, err := net.Dial(network, addr)
	if err != nil {
		p.t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	p.t.Cleanup(func() { conn.Close() })
	return conn
}

// send writes a request without reading the answer.
func (p *process) send(conn net.Conn, target string) net.Conn {
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", target)
	return conn
}

// get reads the whole answer; its bytes are returned.
func (p *process) get(conn net.Conn, target string) string {
	p.t.Helper()
	p.send(conn, target)
	return p.readUntil(conn, "\r\n\r\nok")
}

func (p *process) readUntil(conn net.Conn, end string) string {
	p.t.Helper()
	var all []byte
	one := make([]byte, 1)
	for !strings.HasSuffix(string(all), end) {
		if _, err := conn.Read(one); err != nil {
			p.t.Fatalf("after %q: %v", all, err)
		}
		all = append(all, one[0])
	}
	return string(all)
}

func (p *process) openWebSocket() net.Conn {
	p.t.Helper()
	conn := p.dial()
	fmt.Fprint(conn, "GET /ws HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	head := p.readUntil(conn, "\r\n\r\n")
	if !strings.Contains(head, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n") { // the example of RFC 6455
		p.t.Fatalf("handshake: %q", head)
	}
	return conn
}

func (p *process) terminate() report {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	return p.ended()
}

func (p *process) ended() report {
	p.t.Helper()
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("exit: %v", err)
	}
	body, err := os.ReadFile(p.report)
	if err != nil {
		p.t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(body, &r); err != nil {
		p.t.Fatal(err)
	}
	return r
}

func expect[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, expected %v", what, got, want)
	}
}

func TestAnAppThatHoldsNothingStopsAtOnce(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0", "unix:" + filepath.Join(t.TempDir(), "app.sock")} {
		p := start(t, "-listen", listen)
		conn := p.dial()
		p.get(conn, "/up")
		conn.Close()
		r := p.terminate()
		expect(t, listen+" held connections", r.Held.Connections, 0)
		expect(t, listen+" served", r.Served["up"], 1)
		if r.StopMs > 500 {
			t.Errorf("%s: stopping took %d ms", listen, r.StopMs)
		}
	}
}

func TestEveryKindOfHoldingIsReported(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "app.sock")} {
		p := start(t, "-listen", listen, "-shutdown-timeout", "400ms")
		p.get(p.dial(), "/up")                         // idle
		p.dial()                                       // new: nothing sent yet
		p.send(p.dial(), "/slow?ms=60000")             // a request
		stream := p.send(p.dial(), "/stream?events=9") // another, half answered
		p.readUntil(stream, "id: 1\ndata: ")
		p.openWebSocket() // a tunnel whose client never answers the goodbye
		time.Sleep(100 * time.Millisecond)

		r := p.terminate()
		expect(t, "requests", r.Held.Requests, 2)
		expect(t, "slow", r.Held.ByKind["slow"], 1)
		expect(t, "stream", r.Held.ByKind["stream"], 1)
		expect(t, "tunnels", r.Held.Tunnels, 1)
		expect(t, "idle", r.Held.Idle, 1)
		expect(t, "new", r.Held.New, 1)
		expect(t, "connections", r.Held.Connections, 5)
		expect(t, "abandoned requests", r.Abandoned.Requests, 2)
		expect(t, "abandoned tunnels", r.Abandoned.Tunnels, 1)
	}
}

// What the proxy has closed is not held, even if the app has not noticed: it is stopped (SIGSTOP) while the other
// side closes, so that its own view cannot have changed when SIGTERM is handled.
func TestAConnectionWhosePeerHasClosedIsNotHeld(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "app.sock")} {
		p := start(t, "-listen", listen)
		idle := p.dial()
		p.get(idle, "/up")
		slow := p.send(p.dial(), "/slow?ms=60000")
		tunnel := p.openWebSocket()
		time.Sleep(100 * time.Millisecond)

		p.cmd.Process.Signal(syscall.SIGSTOP)
		idle.Close()
		slow.Close()
		tunnel.Close()
		p.cmd.Process.Signal(syscall.SIGTERM)
		p.cmd.Process.Signal(syscall.SIGCONT)
		r := p.ended()
		expect(t, listen+" held connections", r.Held.Connections, 0)
		expect(t, listen+" held requests", r.Held.Requests, 0)
		expect(t, listen+" held tunnels", r.Held.Tunnels, 0)
		expect(t, listen+" abandoned requests", r.Abandoned.Requests, 0)
	}
}

func TestShutdownFinishesWhatItHolds(t *testing.T) {
	p := start(t)
	slow := p.send(p.dial(), "/slow?ms=700&n=10&seed=3")
	tunnel := p.openWebSocket()
	time.Sleep(100 * time.Millisecond)
	p.cmd.Process.Signal(syscall.SIGTERM)

	goodbye := make([]byte, 4)
	if _, err := io.ReadFull(tunnel, goodbye); err != nil || string(goodbye) != "\x88\x02\x03\xe9" {
		t.Errorf("expected a close frame 1001, got %x, %v", goodbye, err)
	}
	tunnel.Write([]byte("\x88\x82\x00\x00\x00\x00\x03\xe9"))
	p.readUntil(slow, "\r\n\r\n"+string(pattern(3, 10)))

	r := p.ended()
	expect(t, "held requests", r.Held.Requests, 1)
	expect(t, "held tunnels", r.Held.Tunnels, 1)
	expect(t, "abandoned", r.Abandoned, abandoned{})
	if r.StopMs < 400 || r.StopMs > 3000 {
		t.Errorf("expected the stop to take as long as the request, got %d ms", r.StopMs)
	}
}

func TestAnUnhealthyAppFailsOnlyItsProbe(t *testing.T) {
	p := start(t, "-unhealthy")
	conn := p.dial()
	head := p.readUntil(p.send(conn, "/up"), "\r\n\r\nnot ready\n")
	if !strings.HasPrefix(head, "HTTP/1.1 503 ") {
		t.Errorf("expected 503, got %q", head)
	}
	p.readUntil(p.send(conn, "/fast?n=10&seed=3"), "\r\n\r\n"+string(pattern(3, 10)))
}

func TestExitAtOnceFinishesNothing(t *testing.T) {
	p := start(t, "-exit-at-once")
	slow := p.send(p.dial(), "/slow?ms=3000")
	time.Sleep(100 * time.Millisecond)
	r := p.terminate()
	expect(t, "abandoned requests", r.Abandoned.Requests, 1)
	if answer, _ := io.ReadAll(slow); len(answer) > 0 {
		t.Errorf("expected no answer, got %q", answer)
	}
}

func TestAnUploadThatIsCutIsNotAnswered(t *testing.T) {
	p := start(t)
	conn := p.dial()
	fmt.Fprint(conn, "POST /upload HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX")
	if answer, _ := io.ReadAll(conn); strings.Contains(string(answer), " 200 ") {
		t.Errorf("got %q", answer)
	}
	expect(t, "left", p.terminate().Left, 1)
}

func TestAProbeIsNoLastRequest(t *testing.T) {
	p := start(t)
	conn := p.dial()
	p.get(conn, "/up")
	expect(t, "only probed", p.terminate().LastEnded, 0)

	p = start(t)
	conn = p.dial()
	p.readUntil(p.send(conn, "/fast?n=0"), "\r\n\r\n")
	answered := time.Now().UnixMilli()
	time.Sleep(50 * time.Millisecond)
	p.get(conn, "/up")
	if late := p.terminate().LastEnded - answered; late < -40 || late > 40 {
		t.Errorf("the last request ended %d ms after its answer", late)
	}
}
