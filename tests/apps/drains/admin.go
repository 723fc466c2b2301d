package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// callMax is for a call that does not wait for anything; drainMax for one that waits for the end of a drain.
const (
	callMax  = 10 * time.Second
	drainMax = 30 * time.Second
)

// An admin is the proxy's admin API. Each call has a connection of its own, as from a script.
type admin struct{ client *http.Client }

func newAdmin(socket string) *admin {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &admin{&http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// An answer about one backend.
type answer struct {
	status     int
	Outcome    string
	Message    string
	Generation uint64
	Backend    *member
	Serving    []struct{ ID string }
	SafeToKill bool `json:"safe_to_kill"`
}

type member struct {
	ID, Intent, Health string
	Generation         uint64
	Eligible, Drained  bool
	Requests, Tunnels  int
	Connections        int
}

type pool struct {
	Eligible, Held int
	Backends       []member
}

type status struct {
	Listeners []struct{ Address string }
	Metrics   struct{ Address string }
	Pools     []pool
}

func (a *admin) status() (s status, err error) {
	_, err = a.call(http.MethodGet, "/v1/status", "", callMax, &s)
	return s, err
}

func (a *admin) pool(name string) (pool, error) {
	var p struct{ Pool pool }
	_, err := a.call(http.MethodGet, "/v1/pools/"+name, "", callMax, &p)
	return p.Pool, err
}

func (a *admin) backend(id string) (answer, error) {
	return a.about(http.MethodGet, "/backends/"+id, "", callMax)
}

func (a *admin) add(id, address string) (answer, error) {
	return a.about(http.MethodPost, "/backends", fmt.Sprintf(`{"id": %q, "address": %q}`, id, address), callMax)
}

// drain waits for its end; `clocks` are further query parameters.
func (a *admin) drain(id, clocks string) (answer, error) {
	path := fmt.Sprintf("/backends/%s/drain?wait=%ds%s", id, int(drainMax.Seconds()), clocks)
	return a.about(http.MethodPost, path, "", drainMax+callMax)
}

func (a *admin) ready(id string) (answer, error) {
	return a.about(http.MethodPost, "/backends/"+id+"/ready?wait=8s", "", callMax)
}

// about is a call about a backend of the pool "web". Whatever its outcome it answers with a document.
func (a *admin) about(method, path, body string, atMost time.Duration) (said answer, err error) {
	said.status, err = a.call(method, "/v1/pools/web"+path, body, atMost, &said)
	if err == nil && said.Outcome == "" {
		err = fmt.Errorf("%s %s: status %d without an outcome", method, path, said.status)
	}
	return said, err
}

func (a *admin) call(method, path, body string, atMost time.Duration, into any) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), atMost)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://tidegate"+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := a.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return 0, fmt.Errorf("%s %s: status %d, %q: %w", method, path, response.StatusCode, text, err)
	}
	return response.StatusCode, nil
}

// is says what is wrong with an answer, if something is.
func (a answer) is(outcome string, status int) error {
	if a.Outcome != outcome || a.status != status {
		return fmt.Errorf("found %s with status %d (%s), expected %s with %d", a.Outcome, a.status, a.Message, outcome, status)
	}
	if a.Backend == nil {
		return fmt.Errorf("%s without a backend", a.Outcome)
	}
	return nil
}

// facts are what an answer says, in words.
func (a answer) facts() string {
	return fmt.Sprintf("%s, generation %d, safe to kill %t, %d serve, backend %+v", a.Outcome, a.Generation, a.SafeToKill, len(a.Serving), *a.Backend)
}

// A waiting drain; `ended` is closed when it was answered.
type waiting struct {
	ended chan struct{}
	said  answer
	err   error
	at    time.Time
}

// drainAside begins a drain and comes back while it waits: once the proxy says that the backend is draining.
func (a *admin) drainAside(id, clocks string) (*waiting, error) {
	w := &waiting{ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		w.said, w.err = a.drain(id, clocks)
		w.at = time.Now()
	}()
	for deadline := time.Now().Add(callMax); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		now, err := a.backend(id)
		if err != nil {
			return w, err
		}
		if now.Backend != nil && now.Backend.Intent == "draining" {
			return w, nil
		}
		if w.isOver() {
			return w, fmt.Errorf("the drain of %s does not begin: %s %v", id, w.said.Message, w.err)
		}
	}
	return w, fmt.Errorf("%s is not draining", id)
}

func (w *waiting) isOver() bool {
	select {
	case <-w.ended:
		return true
	default:
		return false
	}
}

// answer waits for it; a call of the admin API is bounded, and so is this.
func (w *waiting) answer() (answer, error) {
	<-w.ended
	return w.said, w.err
}
