package main

import (
	"fmt"
	"net/http"
	"time"
)

const (
	closingMax = 2 * time.Second       // until the app notices that its last connection was closed
	doorPause  = 10 * time.Millisecond // how long a drain is watched while a request blocks it
	enteredMax = 5 * time.Second
)

// round drains one backend and brings it back, in one of three ways. Says whether a request waited at a door.
func (s *soaking) round(n int) (behindDoor bool, err error) {
	switch n % 3 {
	case 0:
		return false, s.drained([]string{"a", "b", "c"}[n/3%3])
	case 1:
		return true, s.drainedBehindDoor()
	default:
		return true, s.restored()
	}
}

// drained drains a backend under load.
func (s *soaking) drained(id string) error {
	began := time.Now()
	said, err := s.drain(id, "")
	return s.afterDrain(s.apps[id], began, time.Now(), said, err)
}

// drainedBehindDoor does the same while a request is open: the drain must wait for that one.
func (s *soaking) drainedBehindDoor() error {
	d, err := s.atDoor()
	if err != nil {
		return err
	}
	defer d.close()
	began := time.Now()
	w, err := s.drainAside(d.app.id, "")
	if err != nil {
		return err
	}
	time.Sleep(doorPause)
	if w.isOver() {
		return fmt.Errorf("%s was said to be %s while a request was open", d.app.id, w.said.Outcome)
	}
	if err := d.leave(); err != nil {
		return err
	}
	said, err := w.answer()
	return s.afterDrain(d.app, began, w.at, said, err)
}

// afterDrain looks at a drain's answer and at what the app holds at that moment, and starts a new generation.
func (s *soaking) afterDrain(app *app, began, ended time.Time, said answer, err error) error {
	held := app.now()
	if err == nil {
		err = said.is("clean", http.StatusOK)
	}
	if err != nil {
		return fmt.Errorf("drain of %s: %w", app.id, err)
	}
	if held.requests+held.tunnels > 0 {
		return fmt.Errorf("%s held %d requests and %d tunnels when it was said to be drained", app.id, held.requests, held.tunnels)
	}
	b := said.Backend
	if !said.SafeToKill || !b.Drained || b.Requests+b.Tunnels+b.Connections > 0 || len(said.Serving) != len(s.apps)-1 {
		return fmt.Errorf("%s is drained, but the answer says: %s", app.id, said.facts())
	}
	if err := soon(closingMax, func() bool { return app.now().connections == 0 }); err != nil {
		return fmt.Errorf("%s has %d connections after its drain, %w", app.id, app.now().connections, err)
	}
	s.result.closing = append(s.result.closing, ms(time.Since(ended)))
	s.result.drains = append(s.result.drains, ms(ended.Sub(began)))
	if came := app.now().begun - held.begun; came > 0 {
		return fmt.Errorf("%d requests came to %s after its drain", came, app.id)
	}
	again, err := s.ready(app.id)
	if err == nil {
		err = again.is("done", http.StatusOK)
	}
	if err != nil {
		return fmt.Errorf("ready of %s: %w", app.id, err)
	}
	if again.Generation <= said.Generation || !again.Backend.Eligible {
		return fmt.Errorf("%s was generation %d, and after ready the answer says: %s", app.id, said.Generation, again.facts())
	}
	s.result.clean++
	return s.allLive()
}

// restored takes a backend back while a request still blocks its drain.
func (s *soaking) restored() error {
	d, err := s.atDoor()
	if err != nil {
		return err
	}
	defer d.close()
	w, err := s.drainAside(d.app.id, "")
	if err != nil {
		return err
	}
	if w.isOver() {
		return fmt.Errorf("%s was said to be %s while a request was open", d.app.id, w.said.Outcome)
	}
	again, err := s.ready(d.app.id)
	if err == nil {
		err = again.is("done", http.StatusOK)
	}
	if err != nil {
		return fmt.Errorf("ready of %s: %w", d.app.id, err)
	}
	said, err := w.answer()
	if err == nil {
		err = said.is("restored", http.StatusConflict)
	}
	if err != nil {
		return fmt.Errorf("drain of %s, taken back: %w", d.app.id, err)
	}
	if said.SafeToKill || again.Generation != said.Generation || !again.Backend.Eligible {
		return fmt.Errorf("%s was taken back, but the answers say: %s; %s", d.app.id, said.facts(), again.facts())
	}
	s.result.restored++
	if err := d.leave(); err != nil {
		return err
	}
	return s.allLive()
}

// allLive says what is left of a round in the pool.
func (s *soaking) allLive() error {
	pool, err := s.pool("web")
	if err != nil {
		return err
	}
	if pool.Eligible != len(s.apps) || len(pool.Backends) != len(s.apps) {
		return fmt.Errorf("the pool is not as it was: %+v", pool)
	}
	return nil
}

// A door is a request that is open at an app until it may leave.
type door struct {
	app    *app
	client *client
	ended  chan error
}

func (s *soaking) atDoor() (*door, error) {
	d := &door{client: newClient(s.address), ended: make(chan error, 1)}
	go func() {
		_, err := d.client.exchange(request{method: http.MethodGet, path: "/door", seed: 1, length: 100, takes: drainMax})
		d.ended <- err
	}()
	select {
	case d.app = <-s.entered:
		return d, nil
	case err := <-d.ended:
		return nil, fmt.Errorf("a request that was to wait at the app ended: %v", err)
	case <-time.After(enteredMax):
		return nil, fmt.Errorf("a request did not reach an app within %v", enteredMax)
	}
}

// leave lets the request go, and says whether it was answered well.
func (d *door) leave() error {
	d.app.open()
	if err := <-d.ended; err != nil {
		return fmt.Errorf("the request that was open: %w", err)
	}
	return nil
}

func (d *door) close() {
	d.app.open()
	d.client.close()
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }
