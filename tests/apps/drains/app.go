package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

const (
	noiseBytes = 1 << 20
	bodyMax    = 64 << 10
	heldMax    = 10 * time.Minute // a door that nobody opens
)

// noise is what bodies are cut from: which part is in the request, so that both sides know it.
var noise = func() []byte {
	all := make([]byte, noiseBytes+bodyMax)
	rand.New(rand.NewSource(1)).Read(all)
	return all
}()

func bodyOf(seed, length int) []byte { return noise[seed%noiseBytes:][:length] }

// An app is one backend, and counts what it holds. A request or tunnel is no longer held when all that is left to do
// is to write its last bytes: the proxy cannot be done with it before.
type app struct {
	id, address string
	server      *http.Server
	entered     chan *app // told of each request that waits at the door

	mu sync.Mutex
	holding
	release chan struct{} // closed to let go who waits at the door
}

// holding is what an app has at one moment; `begun` is all it ever had but probes, `left` when the last request left.
type holding struct {
	begun, requests, tunnels, connections int
	left                                  time.Time
}

func startApp(id string, entered chan *app) (*app, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a := &app{id: id, address: listener.Addr().String(), entered: entered, release: make(chan struct{})}
	a.server = &http.Server{Handler: a, ConnState: a.connection}
	go a.server.Serve(listener)
	return a, nil
}

func (a *app) end() {
	a.open()
	a.server.Close()
}

func (a *app) change(by func(*holding)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	by(&a.holding)
}

func (a *app) now() (h holding) {
	a.change(func(all *holding) { h = *all })
	return h
}

// open lets go those who wait at the door; who comes later waits again.
func (a *app) open() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.release)
	a.release = make(chan struct{})
}

// connection counts those that the server has; a tunnel's is taken over and counted by itself.
func (a *app) connection(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		a.change(func(h *holding) { h.connections++ })
	case http.StateClosed:
		a.change(func(h *holding) { h.connections-- })
	}
}

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/up" {
		io.WriteString(w, "up")
		return
	}
	query := r.URL.Query()
	w.Header().Set("X-App", a.id)
	if r.URL.Path == "/tunnel" {
		a.tunnel(w, query)
		return
	}
	a.change(func(h *holding) { h.begun++; h.requests++ })
	var once sync.Once
	leave := func() { once.Do(func() { a.change(func(h *holding) { h.requests--; h.left = time.Now() }) }) }
	defer leave()
	answer := bodyOf(number(query, "seed"), number(query, "n"))
	switch r.URL.Path {
	case "/body":
	case "/slow":
		// In two pieces over the time; with a length or in chunks.
		pause := time.Duration(number(query, "ms")) * time.Millisecond / 2
		if number(query, "seed")%2 == 0 {
			w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		}
		time.Sleep(pause)
		half := len(answer) / 2
		w.Write(answer[:half])
		w.(http.Flusher).Flush()
		time.Sleep(pause)
		answer = answer[half:]
	case "/echo":
		sent, err := io.ReadAll(io.LimitReader(r.Body, bodyMax+1))
		if err != nil || !bytes.Equal(sent, answer) {
			http.Error(w, fmt.Sprintf("%d bytes came, not as they were sent, %v", len(sent), err), http.StatusBadRequest)
			return
		}
	case "/door":
		a.wait(r)
	default:
		http.NotFound(w, r)
		return
	}
	leave()
	w.Write(answer)
}

func (a *app) wait(r *http.Request) {
	a.mu.Lock()
	release := a.release
	a.mu.Unlock()
	if a.entered != nil {
		a.entered <- a
	}
	select {
	case <-release:
	case <-r.Context().Done():
	case <-time.After(heldMax):
	}
}

// tunnel sends so many bytes back as they come, and closes.
func (a *app) tunnel(w http.ResponseWriter, query url.Values) {
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	a.change(func(h *holding) { h.begun++; h.tunnels++ })
	var once sync.Once
	leave := func() { once.Do(func() { a.change(func(h *holding) { h.tunnels-- }) }) }
	defer func() {
		leave()
		conn.Close()
		a.change(func(h *holding) { h.connections-- })
	}()
	conn.SetDeadline(time.Now().Add(requestMax))
	fmt.Fprintf(buffered, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-App: %s\r\n\r\n", a.id)
	piece := make([]byte, 4<<10)
	for left := number(query, "n"); left > 0; {
		if buffered.Flush() != nil {
			return
		}
		read, err := buffered.Read(piece)
		left -= read
		if left <= 0 {
			leave()
		}
		if _, failed := buffered.Write(piece[:read]); err != nil || failed != nil {
			return
		}
	}
	buffered.Flush()
}

func number(query url.Values, name string) int {
	value, err := strconv.Atoi(query.Get(name))
	if err != nil || value < 0 || (name == "n" && value > bodyMax) {
		return 0
	}
	return value
}

// soon says whether something gets true in time.
func soon(atMost time.Duration, isTrue func() bool) error {
	for deadline := time.Now().Add(atMost); ; time.Sleep(time.Millisecond) {
		switch {
		case isTrue():
			return nil
		case time.Now().After(deadline):
			return errors.New("not within " + atMost.String())
		}
	}
}
