package main

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	heldCount  = 1000
	dialsMax   = 50 // at once
	releaseMax = 30 * time.Second
)

// heldRequest waits at the door of its app until all of them may go.
var heldRequest = request{method: http.MethodGet, path: "/door", seed: 7, length: 1000, takes: heldMax}

// A crowd is heldCount requests that are open at one app, each on a connection of its own.
type crowd struct {
	app      *app
	conns    []*connection
	running  sync.WaitGroup
	answered atomic.Int64
	failed   atomic.Int64 // counted after the sample
	mu       sync.Mutex
	sample   error // of the failures
}

// gather opens them all, and comes back when the app has every one.
func gather(address string, app *app) (*crowd, error) {
	w := &crowd{app: app}
	slots := make(chan struct{}, dialsMax)
	for i := 0; i < heldCount; i++ {
		slots <- struct{}{}
		w.running.Add(1)
		go w.one(address, slots)
	}
	arrived := func() bool { return app.now().requests == heldCount || w.failed.Load() > 0 }
	if err := soon(releaseMax, arrived); err != nil || w.failed.Load() > 0 {
		return w, fmt.Errorf("%d of %d requests are open, %d failed (%v) %v", app.now().requests, heldCount, w.failed.Load(), w.sample, err)
	}
	return w, nil
}

func (w *crowd) one(address string, slots chan struct{}) {
	defer w.running.Done()
	raw, err := net.DialTimeout("tcp", address, requestMax)
	<-slots
	if err == nil {
		conn := newConnection(raw)
		w.mu.Lock()
		w.conns = append(w.conns, conn)
		w.mu.Unlock()
		raw.SetDeadline(time.Now().Add(heldMax))
		_, _, err = conn.exchange(heldRequest)
	}
	if err == nil {
		w.answered.Add(1)
		return
	}
	w.mu.Lock()
	w.sample = err
	w.mu.Unlock()
	w.failed.Add(1)
}

// isWhole says whether all of them are still open.
func (w *crowd) isWhole() bool {
	return w.app.now().requests == heldCount && w.answered.Load()+w.failed.Load() == 0
}

// letGo opens the door and waits for all the answers.
func (w *crowd) letGo() {
	w.app.open()
	w.running.Wait()
}

// close cuts those that are still open.
func (w *crowd) close() {
	w.mu.Lock()
	for _, conn := range w.conns {
		conn.Close()
	}
	w.mu.Unlock()
	w.running.Wait()
}
