package main

import (
	"context"
	"fmt"
	"math/rand"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	samplesMax  = 10   // failures told in full; all are counted
	inFlightMax = 1000 // an arrival over it has failed
)

// A kind of traffic: so many a second, evenly spaced, whatever the latency.
type kind struct {
	name      string
	perSecond float64
	run       func(*client, *rand.Rand) func() error
}

// mixed is the load of the soak test: kept connections and new ones for each request, slow answers, uploads, tunnels.
var mixed = []kind{
	{"kept", 250, get(false)},
	{"churn", 120, get(true)},
	{"slow", 40, func(c *client, random *rand.Rand) func() error {
		r := aRequest(http.MethodGet, "/slow", random)
		r.takes = time.Duration(50+random.Intn(150)) * time.Millisecond
		return func() error { return errorOf(c.exchange(r)) }
	}},
	{"upload", 40, func(c *client, random *rand.Rand) func() error {
		r := aRequest(http.MethodPost, "/echo", random)
		return func() error { return errorOf(c.exchange(r)) }
	}},
	{"tunnel", 15, func(c *client, random *rand.Rand) func() error {
		const pieces = 3
		r := request{path: "/tunnel", seed: random.Intn(noiseBytes / 2), length: pieces * (1 + random.Intn(4000))}
		r.takes = time.Duration(10+random.Intn(70)) * time.Millisecond
		return func() error { return c.tunnel(r, pieces) }
	}},
}

func get(isAlone bool) func(*client, *rand.Rand) func() error {
	return func(c *client, random *rand.Rand) func() error {
		r := aRequest(http.MethodGet, "/body", random)
		r.isAlone = isAlone
		return func() error { return errorOf(c.exchange(r)) }
	}
}

func aRequest(method, path string, random *rand.Rand) request {
	return request{method: method, path: path, seed: random.Intn(noiseBytes), length: random.Intn(16 << 10)}
}

func errorOf(_ string, err error) error { return err }

// A load runs from startLoad to end.
type load struct {
	client  *client
	stop    context.CancelFunc
	running sync.WaitGroup
	sent    atomic.Int64

	mu       sync.Mutex
	failed   int
	samples  []string
	arrivals map[string][]arrival // by kind
}

// An arrival took so many milliseconds from its scheduled time to its end.
type arrival struct {
	due  time.Time
	took float64
}

func tookOf(arrivals []arrival) (all []float64) {
	for _, one := range arrivals {
		all = append(all, one.took)
	}
	return all
}

func startLoad(ctx context.Context, target string, kinds []kind) *load {
	ctx, stop := context.WithCancel(ctx)
	l := &load{client: newClient(target), stop: stop, arrivals: map[string][]arrival{}}
	slots := make(chan struct{}, inFlightMax)
	begin := time.Now()
	for i, k := range kinds {
		k, random := k, rand.New(rand.NewSource(int64(i+1)))
		l.running.Add(1)
		go func() {
			defer l.running.Done()
			eachArrival(ctx, begin, k.perSecond, func(due time.Time) {
				exchange := k.run(l.client, random)
				l.sent.Add(1)
				select {
				case slots <- struct{}{}:
				default:
					l.done(k.name, due, fmt.Errorf("%d requests are open already", inFlightMax))
					return
				}
				l.running.Add(1)
				go func() {
					defer l.running.Done()
					err := exchange()
					<-slots
					l.done(k.name, due, err)
				}()
			})
		}()
	}
	return l
}

// end sends no more, waits for what is open (each exchange has a deadline) and closes what was kept.
func (l *load) end() {
	l.stop()
	l.running.Wait()
	l.client.close()
}

func (l *load) done(name string, due time.Time, err error) {
	took := time.Since(due)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrivals[name] = append(l.arrivals[name], arrival{due, ms(took)})
	if err == nil {
		return
	}
	l.failed++
	if len(l.samples) < samplesMax {
		l.samples = append(l.samples, fmt.Sprintf("%s %s after %v: %v", due.Format("15:04:05.000"), name, took.Round(time.Millisecond), err))
	}
}

// eachArrival calls begin for each arrival at its time. One that is late is made up for, not skipped.
func eachArrival(ctx context.Context, start time.Time, perSecond float64, begin func(due time.Time)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for n := 0; ; n++ {
		due := start.Add(time.Duration((float64(n) + 0.5) / perSecond * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
		} else if ctx.Err() != nil {
			return
		}
		begin(due)
	}
}
