package main

import (
	"context"
	"math/rand"
	"sync"
	"time"
)

// run sends until ctx ends, then waits for what is open. Each exchange has a deadline, so the wait is bounded by
// the longest one plus -cap.
func run(ctx context.Context, o options) *record {
	rec := newRecord(o.inFlightMax)
	client := newClient(o.target, o.host, rec)
	defer client.close()
	slots := make(chan struct{}, o.inFlightMax)
	var schedulers, exchanges sync.WaitGroup

	begin := time.Now()
	for i, name := range sortedKeys(o.rates) {
		name, random := name, rand.New(rand.NewSource(o.seed+int64(i)))
		schedulers.Add(1)
		go func() {
			defer schedulers.Done()
			eachArrival(ctx, begin, o.rates[name], func(n int, due time.Time) {
				rec.started(time.Since(due))
				e := &exchange{
					client: client, shape: o.shape, cap: o.cap, kind: name, due: due, n: n,
					seed: drawSeed(random, o.seeds), dice: random.Float64(),
				}
				select {
				case slots <- struct{}{}:
				default:
					rec.finished(e, fail("overload", "%d requests are open already", o.inFlightMax))
					return
				}
				exchanges.Add(1)
				go func() {
					defer exchanges.Done()
					err := kinds[name](e)
					<-slots
					rec.finished(e, err)
				}()
			})
		}()
	}
	schedulers.Wait()
	exchanges.Wait()
	return rec
}

// With -seeds, the n-th seed is n times seedStep: far enough apart that the sizes of /fast are spread as well.
const (
	seedStep = 125
	seedsMax = 1 << 20
)

func drawSeed(random *rand.Rand, seeds int) int32 {
	if seeds == 0 {
		return random.Int31()
	}
	return random.Int31n(int32(seeds)) * seedStep
}

// eachArrival calls begin for each arrival at its time, evenly spaced. One that is late is made up for, not skipped.
func eachArrival(ctx context.Context, start time.Time, perSecond float64, begin func(n int, due time.Time)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; n++ {
		due := start.Add(time.Duration((float64(n) + 0.5) / perSecond * float64(time.Second)))
		if deadline, ok := ctx.Deadline(); ok && due.After(deadline) {
			<-ctx.Done()
			return
		}
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
		begin(n, due)
	}
}
