package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	warmUpRounds = 12
	problemsMax  = 5 // rounds that go wrong before it is given up
)

// Probes are as frequent as they can be, so that many drains meet one that is under way. A probe that comes late on a
// busy machine must not take a backend out: `fall` is high.
const soakConfiguration = `
admin: {socket: "%%[1]s/admin.sock"}
metrics: {address: "127.0.0.1:0"}
state: {file: "%%[1]s/state.json"}
client: {keep_alive: 10m}
listeners: [{address: "127.0.0.1:0"}]
pools:
  web:
    backends: [{id: a, address: "%s"}, {id: b, address: "%s"}, {id: c, address: "%s"}]
    health: {http: /up, interval: 20ms, timeout: 20ms, rise: 1, fall: 500}
    drain: {tunnels: {close_after: never}}
    timeouts: {upstream_idle: 500ms}
routes: [{pool: web}]
`

// A soaking is one run of the test.
type soaking struct {
	*proxy
	apps    map[string]*app
	entered chan *app
	result  soakResult
}

type soakResult struct {
	clean, restored int
	drains, closing []float64 // milliseconds: call to answer of a clean drain; answer to the app's last connection closed
	memory          []float64 // KiB after each round
	problems        []string
}

// soak drains and restores the three backends of a pool in turn while clients use it.
func soak(ctx context.Context, c *checks, binary string, rounds int) error {
	s := &soaking{apps: map[string]*app{}, entered: make(chan *app, 1)}
	var addresses []any
	for _, id := range []string{"a", "b", "c"} {
		app, err := startApp(id, s.entered)
		if err != nil {
			return err
		}
		defer app.end()
		s.apps[id] = app
		addresses = append(addresses, app.address)
	}
	var err error
	if s.proxy, err = startProxy(ctx, binary, fmt.Sprintf(soakConfiguration, addresses...), len(addresses)); err != nil {
		return err
	}
	defer s.end()

	warm, doors, err := s.run(ctx, warmUpRounds)
	if err != nil {
		return fmt.Errorf("warming up: %w", err)
	}
	if warm.failed > 0 || len(s.result.problems) > 0 {
		return errors.New("warming up: " + strings.Join(append(s.result.problems, warm.samples...), "; "))
	}
	begun := s.begun()
	sent := int(warm.sent.Load()) + doors
	warmResult := s.result
	start, err := s.picture(nil)
	if err != nil {
		return err
	}

	s.result = soakResult{}
	began := time.Now()
	l, doors, err := s.run(ctx, rounds)
	if err != nil {
		return err
	}
	took := time.Since(began)
	sent += int(l.sent.Load()) + doors
	end, err := s.picture(&start)
	if err != nil {
		return err
	}
	metrics, err := s.scrape()
	if err != nil {
		return err
	}

	s.print(l, start, end, took)
	r := s.result
	c.that(r.clean+r.restored == rounds && len(r.problems) == 0, "every round",
		"%d drained clean, %d restored while draining, of %d%s", r.clean, r.restored, rounds, list(r.problems))
	c.that(l.failed == 0 && l.sent.Load() > 0, "nothing is lost", "%d requests, %d failed%s", l.sent.Load(), l.failed, list(l.samples))
	c.that(s.begun() == sent, "each request reaches an app once", "%d sent, %d came, %d of them before the warm-up ended",
		sent, s.begun(), begun)
	problems := end.differs(start)
	c.that(len(problems) == 0, "everything at the end as at the start", "%d differences%s", len(problems), list(problems))
	c.that(isLevel(r.memory), "memory of the second half is level", "%s", memoryOf(r.memory))
	told := map[string]float64{}
	for _, outcome := range []string{"clean", "forced", "restored"} {
		told[outcome] = metrics[fmt.Sprintf(`tidegate_drains_total{pool="web",outcome="%s"}`, outcome)]
	}
	clean, restored := r.clean+warmResult.clean, r.restored+warmResult.restored
	c.that(told["clean"] == float64(clean) && told["restored"] == float64(restored) && told["forced"] == 0,
		"the metrics tell the same", "found %v, expected %d clean and %d restored", told, clean, restored)
	return s.endsWell(c)
}

// run makes so many rounds under load. Says how many requests it made at the doors.
func (s *soaking) run(ctx context.Context, rounds int) (l *load, doors int, err error) {
	l = startLoad(ctx, s.address, mixed)
	defer l.end()
	for n := 0; n < rounds; n++ {
		if err := ctx.Err(); err != nil {
			return l, doors, err
		}
		behindDoor, err := s.round(n)
		if err != nil {
			s.result.problems = append(s.result.problems, fmt.Sprintf("round %d: %v", n+1, err))
			if len(s.result.problems) == problemsMax {
				return l, doors, fmt.Errorf("too many rounds go wrong%s", list(append(s.result.problems, l.samples...)))
			}
		}
		if behindDoor {
			doors++
		}
		memory, err := s.memory()
		if err != nil {
			return l, doors, err
		}
		s.result.memory = append(s.result.memory, memory)
	}
	return l, doors, nil
}

// begun is how many requests and tunnels came to the apps.
func (s *soaking) begun() (all int) {
	for _, app := range s.apps {
		all += app.now().begun
	}
	return all
}

func (s *soaking) print(l *load, start, end picture, took time.Duration) {
	r := s.result
	fmt.Printf("%d rounds in %.0f s; drain ms median %.1f, p99 %.1f; its last connection closed at the app after ms median %.2f, p99 %.2f\n",
		r.clean+r.restored, took.Seconds(), median(r.drains), quantile(r.drains, 0.99), median(r.closing), quantile(r.closing, 0.99))
	fmt.Printf("%-10s %9s %9s %9s %9s\n", "", "requests", "p50, ms", "p99, ms", "max, ms")
	for _, k := range mixed {
		took := tookOf(l.arrivals[k.name])
		fmt.Printf("%-10s %9d %9.1f %9.1f %9.1f\n", k.name, len(took), quantile(took, 0.5), quantile(took, 0.99), quantile(took, 1))
	}
	fmt.Printf("%-10s %12s %8s %8s %12s\n", "", "open files", "threads", "series", "state bytes")
	for _, row := range []struct {
		name string
		picture
	}{{"start", start}, {"end", end}} {
		fmt.Printf("%-10s %12d %8d %8d %12d\n", row.name, row.files, row.threads, row.seriesCount(), row.stateBytes)
	}
}

func memoryOf(samples []float64) string {
	q := quarters(samples)
	return fmt.Sprintf("KiB by quarter %.0f %.0f %.0f %.0f; the second half rises by %.0f", q[0], q[1], q[2], q[3], rise(samples))
}

func list(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return "\n        " + strings.Join(lines, "\n        ")
}
