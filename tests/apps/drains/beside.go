package main

import (
	"context"
	"fmt"
	"math/rand"
	"net/http"
	"sync"
	"time"
)

const (
	window      = 1500 * time.Millisecond
	settle      = 200 * time.Millisecond // between two windows
	readyLead   = 100 * time.Millisecond // the backend is taken back within the window
	lookGap     = 250 * time.Millisecond // between two looks at what blocks the drain; the command line takes a second
	warmUp      = 2 * time.Second
	perSecond   = 400                                                           // well under what the proxy can do
	windowLeast = int(0.9 * perSecond * float64(window) / float64(time.Second)) // requests in each, or the client did not keep up
)

// The clocks of the drain are all on, and the tunnels' one looks at every open exchange four times a second from the
// begin; none of them comes to cut anything.
const besideClocks = "&timeout=1h&on_timeout=close&idle_timeout=1h&close_after=0s&spread=0s"

// The other backend is added once the requests are open, so that all of these are at the first. From then on the one
// with fewer requests takes the rest.
const besideConfiguration = `
admin: {socket: "%%[1]s/admin.sock"}
metrics: {address: "127.0.0.1:0"}
state: {file: "%%[1]s/state.json"}
client: {keep_alive: 1h}
listeners: [{address: "127.0.0.1:0"}]
pools:
  web:
    backends: [{id: held, address: "%s"}]
    health: {http: /up, interval: 500ms, timeout: 500ms, fall: 500}
    timeouts: {response_head: 1h}
routes: [{pool: web}]
`

// measured is the traffic to the other backend: small, on kept connections.
func measured(other *app) []kind {
	return []kind{{"other", perSecond, func(c *client, random *rand.Rand) func() error {
		r := request{method: http.MethodGet, path: "/body", seed: random.Intn(noiseBytes), length: 200}
		return func() error {
			app, err := c.exchange(r)
			if err == nil && app != other.id {
				err = fmt.Errorf("answered by %s, expected %s", app, other.id)
			}
			return err
		}
	}}}
}

// beside compares the latency at one backend in pairs of windows: while another with a thousand open requests is
// drained, and while it is not.
func beside(ctx context.Context, c *checks, binary string, pairs int, ratioMax float64, byInterval bool) error {
	held, err := startApp("held", nil)
	if err != nil {
		return err
	}
	defer held.end()
	other, err := startApp("other", nil)
	if err != nil {
		return err
	}
	defer other.end()
	p, err := startProxy(ctx, binary, fmt.Sprintf(besideConfiguration, held.address), 1)
	if err != nil {
		return err
	}
	defer p.end()
	crowd, err := gather(p.address, held)
	defer crowd.close()
	if err != nil {
		return err
	}
	said, err := p.add(other.id, other.address)
	if err == nil {
		err = said.is("done", http.StatusOK)
	}
	if err != nil {
		return fmt.Errorf("add of %s: %w", other.id, err)
	}

	l := startLoad(ctx, p.address, measured(other))
	var endOnce sync.Once
	endLoad := func() { endOnce.Do(l.end) }
	defer endLoad()
	if err := sleep(ctx, warmUp); err != nil {
		return err
	}
	m := &measuring{proxy: p, crowd: crowd}
	if err := m.pairs(ctx, pairs); err != nil {
		return err
	}
	endLoad()
	c.that(l.failed == 0, "nothing is lost beside it", "%d requests, %d failed%s", l.sent.Load(), l.failed, list(l.samples))
	if err := m.judge(c, l.arrivals["other"], ratioMax, byInterval); err != nil {
		return err
	}
	if err := released(c, p, crowd); err != nil {
		return err
	}
	return p.endsWell(c)
}

// measuring collects the windows, in pairs.
type measuring struct {
	*proxy
	crowd         *crowd
	with, without []span
	looks         int
}

type span struct{ from, to time.Time }

// pairs measures, with the drain first or last by chance: the machine may get slower or faster all along.
func (m *measuring) pairs(ctx context.Context, count int) error {
	random := rand.New(rand.NewSource(1))
	for i := 0; i < count; i++ {
		order := []func(context.Context) error{m.windowWith, m.windowWithout}
		if random.Intn(2) == 0 {
			order[0], order[1] = order[1], order[0]
		}
		for _, one := range order {
			if err := one(ctx); err != nil {
				return fmt.Errorf("pair %d: %w", i+1, err)
			}
			if !m.crowd.isWhole() {
				return fmt.Errorf("pair %d: %d requests are open, expected %d; the last that ended: %v",
					i+1, m.crowd.app.now().requests, heldCount, m.crowd.sample)
			}
			if err := sleep(ctx, settle); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *measuring) windowWithout(ctx context.Context) error {
	from := time.Now()
	err := sleep(ctx, window)
	m.without = append(m.without, span{from, from.Add(window)})
	return err
}

func (m *measuring) windowWith(ctx context.Context) error {
	from := time.Now()
	m.with = append(m.with, span{from, from.Add(window)})
	w, err := m.drainAside("held", besideClocks)
	if err != nil {
		return err
	}
	for time.Since(from) < window-readyLead-lookGap {
		if err := sleep(ctx, lookGap); err != nil {
			return err
		}
		said, err := m.backend("held")
		if err != nil || said.Backend == nil || said.Backend.Requests != heldCount || said.Backend.Intent != "draining" {
			return fmt.Errorf("it is not draining with %d requests: %s, %v", heldCount, said.Message, err)
		}
		m.looks++
	}
	if err := sleep(ctx, window-readyLead-time.Since(from)); err != nil {
		return err
	}
	again, err := m.ready("held")
	if err == nil {
		err = again.is("done", http.StatusOK)
	}
	if err != nil {
		return fmt.Errorf("ready: %w", err)
	}
	said, err := w.answer()
	if err == nil {
		err = said.is("restored", http.StatusConflict)
	}
	if err != nil {
		return fmt.Errorf("the drain, taken back: %w", err)
	}
	return sleep(ctx, window-time.Since(from))
}

// judge compares the windows.
func (m *measuring) judge(c *checks, all []arrival, ratioMax float64, byInterval bool) error {
	fmt.Printf("%4s %14s %17s %8s\n", "pair", "p99 with, ms", "p99 without, ms", "ratio")
	var with, without, ratios, halfWith, halfWithout []float64
	for i := range m.with {
		a, b := within(all, m.with[i]), within(all, m.without[i])
		if len(a) < windowLeast || len(b) < windowLeast {
			return fmt.Errorf("pair %d: %d and %d requests, expected at least %d: the client does not keep up", i+1, len(a), len(b), windowLeast)
		}
		with, halfWith = append(with, quantile(a, 0.99)), append(halfWith, median(a))
		without, halfWithout = append(without, quantile(b, 0.99)), append(halfWithout, median(b))
		ratios = append(ratios, with[i]/without[i])
		fmt.Printf("%4d %14.2f %17.2f %8.3f\n", i+1, with[i], without[i], ratios[i])
	}
	ratio := median(with) / median(without)
	from, to := medianInterval(ratios)
	fmt.Printf("p99 ms: median of %d windows with a drain %.2f, without %.2f\n", len(with), median(with), median(without))
	fmt.Printf("p50 ms: median of them %.2f and %.2f; %d looks at what blocks the drains\n", median(halfWith), median(halfWithout), m.looks)
	fmt.Printf("ratio of the p99: of the medians %.3f; median of the pairs %.3f, its 95 %% interval %.3f to %.3f\n",
		ratio, median(ratios), from, to)
	ok, also := ratio <= ratioMax, ""
	if byInterval {
		ok, also = ok || from <= 1, ", or an interval that begins at 1 or below"
	}
	c.that(ok, "a drain does not slow others", "p99 is %.3f of that without, allowed %.1f%s", ratio, ratioMax, also)
	return nil
}

// within are the latencies of what was due in a window.
func within(all []arrival, w span) (took []float64) {
	for _, one := range all {
		if !one.due.Before(w.from) && one.due.Before(w.to) {
			took = append(took, one.took)
		}
	}
	return took
}

// released lets the open requests go while a drain waits for them.
func released(c *checks, p *proxy, crowd *crowd) error {
	w, err := p.drainAside("held", besideClocks)
	if err != nil {
		return err
	}
	if w.isOver() || !crowd.isWhole() {
		return fmt.Errorf("the drain ended with %d requests open: %s", crowd.app.now().requests, w.said.Message)
	}
	began := time.Now()
	crowd.letGo()
	said, err := w.answer()
	held := crowd.app.now()
	if err == nil {
		err = said.is("clean", http.StatusOK)
	}
	if err != nil {
		return fmt.Errorf("the drain of those let go: %w", err)
	}
	answered := int(crowd.answered.Load())
	if answered != heldCount {
		return fmt.Errorf("%d of %d that were let go are answered: %w", answered, heldCount, crowd.sample)
	}
	c.that(said.SafeToKill && held.requests == 0 && !w.at.Before(held.left), "those let go are all answered, and then it is drained",
		"%d, the last left the app after %.1f ms, the drain was answered %.2f ms later", answered, ms(held.left.Sub(began)), ms(w.at.Sub(held.left)))
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
