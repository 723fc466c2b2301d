package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Bounds of what a request may ask for; past them it is answered 400 or 413.
const (
	bodyBytesMax    = 256 << 20 // /fast?n= and /echo, held in memory
	bodyBytesUsual  = 128
	eventsMax       = 1_000_000
	eventBytesUsual = 24
)

type app struct {
	version     string
	slow        time.Duration
	isUnhealthy bool
	ledger      *ledger
	tunnels     tunnels
	stopping    chan struct{} // closed when SIGTERM has come
}

func newApp(version string, slow time.Duration, isUnhealthy bool) *app {
	return &app{version: version, slow: slow, isUnhealthy: isUnhealthy, ledger: newLedger(), stopping: make(chan struct{})}
}

// A handler returns false when its client went away before the answer was ready.
type handler func(http.ResponseWriter, *http.Request) (answered bool)

func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	route := func(path, kind, method string, h handler) { mux.Handle(path, a.counted(kind, method, h)) }
	route("/up", "up", http.MethodGet, a.up)
	route("/fast", "fast", http.MethodGet, a.fast)
	route("/slow", "slow", http.MethodGet, a.slowly)
	route("/stream", "stream", http.MethodGet, a.stream)
	route("/upload", "upload", http.MethodPost, a.upload)
	route("/echo", "echo", http.MethodPost, a.echo)
	route("/ws", "ws", http.MethodGet, a.webSocket)
	route("/status/", "status", http.MethodGet, a.status)
	route("/", "fast", http.MethodGet, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return true
		}
		return a.fast(w, r)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-App-Version", a.version)
		mux.ServeHTTP(w, r)
	})
}

// counted writes the request into the ledger, and cuts the connection of one that could not be answered: net/http
// would otherwise end it like a good answer.
func (a *app) counted(kind, method string, h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.ledger.requestBegan(connOf(r), kind)
		answered := false
		defer func() { a.ledger.requestEnded(kind, answered) }() // also when the handler panics
		isHead := r.Method == http.MethodHead && method == http.MethodGet
		if r.Method != method && !isHead {
			w.Header().Set("Allow", method)
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			answered = true
			return
		}
		answered = h(w, r)
		if !answered && kind != "ws" {
			panic(http.ErrAbortHandler)
		}
	})
}

func (a *app) up(w http.ResponseWriter, _ *http.Request) bool {
	if a.isUnhealthy {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return true
	}
	fmt.Fprint(w, "ok")
	return true
}

func (a *app) fast(w http.ResponseWriter, r *http.Request) bool {
	return writePattern(w, r)
}

func (a *app) slowly(w http.ResponseWriter, r *http.Request) bool {
	ms, ok := number(w, r, "ms", int(a.slow.Milliseconds()), 3_600_000)
	if !ok {
		return true
	}
	if !pause(r, time.Duration(ms)*time.Millisecond) {
		return false
	}
	return writePattern(w, r)
}

// stream sends `events` numbered events, `gap_ms` apart, each flushed, and then one with the data `end`.
func (a *app) stream(w http.ResponseWriter, r *http.Request) bool {
	events, ok1 := number(w, r, "events", 10, eventsMax)
	gap, ok2 := number(w, r, "gap_ms", 100, 3_600_000)
	seed, ok3 := number(w, r, "seed", 0, 1<<31-1)
	if !ok1 || !ok2 || !ok3 {
		return true
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	flusher := w.(http.Flusher)
	for i := 1; i <= events; i++ {
		fmt.Fprintf(w, "id: %d\ndata: %s\n\n", i, pattern(uint32(seed+i), eventBytesUsual))
		flusher.Flush()
		if !pause(r, time.Duration(gap)*time.Millisecond) {
			return false
		}
	}
	fmt.Fprint(w, "data: end\n\n")
	return true
}

func (a *app) upload(w http.ResponseWriter, r *http.Request) bool {
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	if err != nil {
		return false
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"bytes": n, "sha256": fmt.Sprintf("%x", sum.Sum(nil))})
	return true
}

func (a *app) echo(w http.ResponseWriter, r *http.Request) bool {
	var body bytes.Buffer
	n, err := io.Copy(&body, io.LimitReader(r.Body, bodyBytesMax+1))
	if err != nil {
		return false
	}
	if n > bodyBytesMax {
		http.Error(w, "body too large", http.StatusRequestEntityTooLarge)
		return true
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	w.Write(body.Bytes())
	return true
}

func (a *app) status(w http.ResponseWriter, r *http.Request) bool {
	code, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/status/"))
	if err != nil || code < 200 || code > 599 {
		http.Error(w, "expected /status/200 to /status/599", http.StatusBadRequest)
		return true
	}
	w.WriteHeader(code)
	if code != http.StatusNoContent && code != http.StatusNotModified {
		fmt.Fprintf(w, "status %d\n", code)
	}
	return true
}

func writePattern(w http.ResponseWriter, r *http.Request) bool {
	n, ok1 := number(w, r, "n", bodyBytesUsual, bodyBytesMax)
	seed, ok2 := number(w, r, "seed", 0, 1<<31-1)
	if ok1 && ok2 {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Length", strconv.Itoa(n))
		w.Write(pattern(uint32(seed), n))
	}
	return true
}

// pattern makes n bytes that depend on the seed and on the place of each, so that a client notices bytes that are
// missing, doubled, moved or another request's. The load generator has the same function.
func pattern(seed uint32, n int) []byte {
	body := make([]byte, n)
	x := seed*2654435761 + 1
	for i := range body {
		x = x*1664525 + 1013904223
		body[i] = 'a' + byte(x>>24)%26
	}
	return body
}

// pause returns false when the client went away meanwhile.
func pause(r *http.Request, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// number reads a query parameter; when it is no number from 0 to max it answers 400 and says false.
func number(w http.ResponseWriter, r *http.Request, name string, usual, max int) (int, bool) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return usual, true
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > max {
		http.Error(w, fmt.Sprintf("%s: expected a number from 0 to %d", name, max), http.StatusBadRequest)
		return 0, false
	}
	return n, true
}
