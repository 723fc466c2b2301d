package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestEveryKindOfLoadGetsItsAnswerAndTheAppHoldsNothingAfterwards(t *testing.T) {
	app, err := startApp("a", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer app.end()
	l := startLoad(context.Background(), app.address, mixed)
	time.Sleep(500 * time.Millisecond)
	l.end()
	if l.failed > 0 {
		t.Errorf("%d failed: %v", l.failed, l.samples)
	}
	for _, k := range mixed {
		if len(l.arrivals[k.name]) == 0 {
			t.Errorf("no %s", k.name)
		}
	}
	if err := soon(time.Second, func() bool { return app.now().connections == 0 }); err != nil {
		t.Error(err)
	}
	if held := app.now(); held.requests+held.tunnels != 0 || held.begun != int(l.sent.Load()) {
		t.Errorf("found %+v, expected nothing but %d begun", held, l.sent.Load())
	}
}

func TestARequestAtTheDoorIsHeldUntilItIsOpened(t *testing.T) {
	entered := make(chan *app, 1)
	app, err := startApp("a", entered)
	if err != nil {
		t.Fatal(err)
	}
	defer app.end()
	ended := make(chan error, 1)
	go func() {
		_, err := newClient(app.address).exchange(request{method: http.MethodGet, path: "/door", seed: 3, length: 9})
		ended <- err
	}()
	<-entered
	if held := app.now(); held.requests != 1 || held.connections != 1 {
		t.Errorf("found %+v, expected one request", held)
	}
	select {
	case err := <-ended:
		t.Fatalf("it was answered: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	app.open()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// What a proxy could do to an answer, each of which is a failure.
func TestNothingButTheWholeAnswerIsTaken(t *testing.T) {
	r := request{method: http.MethodGet, path: "/body", seed: 5, length: 40}
	good := string(bodyOf(5, 40))
	for name, answer := range map[string]string{
		"":                      "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n" + good,
		"not as they were sent": "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n" + strings.Repeat("x", 40),
		"after 30 of 40":        "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n" + good[:30],
		"30 bytes of 40":        "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n" + good[:30],
		"behind the answer":     "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n" + good + "HTTP",
		"status 502":            "HTTP/1.1 502 Bad Gateway\r\nX-Tidegate-Error: upstream_reset\r\nContent-Length: 0\r\n\r\n",
		"EOF":                   "",
	} {
		err := against(t, answer, func(c *client) error { return errorOf(c.exchange(r)) })
		if text := fmt.Sprint(err); (name == "") != (err == nil) || !strings.Contains(text, name) && err != nil {
			t.Errorf("expected %q, found %v", name, err)
		}
	}
	for name, answer := range map[string]string{
		"status 503":  "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
		"piece 1":     "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
		"piece 2":     "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n" + good[:20] + strings.Repeat("x", 20),
		"as it was":   "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n" + strings.Repeat("x", 40),
		"end of the ": "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n" + good[:20] + string(bodyOf(6, 20)) + "more",
	} {
		err := against(t, answer, func(c *client) error { return c.tunnel(r, 2) })
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("expected %q, found %v", name, err)
		}
	}
}

// against makes an exchange with a server that sends this and closes its side.
func against(t *testing.T, answer string, exchange func(*client) error) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		http.ReadRequest(bufio.NewReader(conn))
		fmt.Fprint(conn, answer)
		conn.(*net.TCPConn).CloseWrite()
		time.Sleep(50 * time.Millisecond)
	}()
	return exchange(newClient(listener.Addr().String()))
}

func TestArrivalsComeOnTimeAndLateOnesAreMadeUpFor(t *testing.T) {
	ctx, stop := context.WithTimeout(context.Background(), time.Second)
	defer stop()
	began, count := time.Now(), 0
	eachArrival(ctx, began, 100, func(due time.Time) {
		if count == 0 {
			time.Sleep(200 * time.Millisecond)
		}
		if expected := began.Add(time.Duration(count)*10*time.Millisecond + 5*time.Millisecond); due != expected {
			t.Errorf("arrival %d: found %v, expected %v", count, due.Sub(began), expected.Sub(began))
		}
		count++
	})
	if count < 80 || count > 101 {
		t.Errorf("found %d arrivals in a second, expected 100", count)
	}
	if aRequest("GET", "/", rand.New(rand.NewSource(1))) != aRequest("GET", "/", rand.New(rand.NewSource(1))) {
		t.Error("the load is not the same each time")
	}
}
