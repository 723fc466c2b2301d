package main

import (
	"fmt"
	"os"
	"regexp"
	"sort"
	"strings"
	"time"
)

const (
	calmMax     = 10 * time.Second // until idle connections have timed out
	threadsMax  = 15 * time.Second // until threads end that the runtime keeps for ten seconds
	calmSamples = 60               // a probe's connection comes and goes: the fewest open files of so many looks count
	calmGap     = 5 * time.Millisecond
)

// A picture is what must be the same at the start and at the end, with no load and nothing kept.
type picture struct {
	backends       string // id, intent, health, counts of each generation that the proxy knows
	busy           int    // requests and tunnels
	clients, idle  int    // connections: of clients, and to backends for no exchange
	series         string // names and labels of the metrics, whatever the generation
	files, threads int
	stateBytes     int64
}

var generationLabel = regexp.MustCompile(`generation="[0-9]+"`)

// isCalm says whether nothing is left of the load; a probe may be under way at any moment.
func (p picture) isCalm() bool { return p.busy+p.clients+p.idle == 0 }

// picture waits until the proxy is calm; with an `expected` one, until they agree or the time is over.
func (p *proxy) picture(expected *picture) (found picture, err error) {
	for deadline := time.Now().Add(calmMax); ; time.Sleep(100 * time.Millisecond) {
		if found, err = p.look(); err != nil {
			return found, err
		}
		if found.isCalm() && expected != nil && found.threads > expected.threads {
			// Looking needs threads itself: none of them ends while that goes on.
			soon(threadsMax, func() bool { found.threads, err = p.threads(); return err != nil || found.threads <= expected.threads })
		}
		isOver := time.Now().After(deadline)
		switch {
		case err != nil:
			return found, err
		case expected == nil && found.isCalm(), expected != nil && len(found.differs(*expected)) == 0:
			return found, nil
		case expected == nil && isOver:
			return found, fmt.Errorf("the proxy is not calm after %v: %s", calmMax, strings.Join(found.differs(found), "; "))
		case isOver:
			return found, nil
		}
	}
}

func (p *proxy) look() (found picture, err error) {
	pool, err := p.pool("web")
	if err != nil {
		return found, err
	}
	// The order is that of adding.
	sort.Slice(pool.Backends, func(i, j int) bool { return pool.Backends[i].ID < pool.Backends[j].ID })
	for _, m := range pool.Backends {
		found.backends += fmt.Sprintf("%s %s %s %d requests %d tunnels; ", m.ID, m.Intent, m.Health, m.Requests, m.Tunnels)
		found.busy += m.Requests + m.Tunnels
	}
	metrics, err := p.scrape()
	if err != nil {
		return found, err
	}
	var names []string
	for name, value := range metrics {
		names = append(names, generationLabel.ReplaceAllString(name, `generation="N"`))
		switch {
		case name == "tidegate_client_connections":
			found.clients = int(value)
		case strings.HasPrefix(name, "tidegate_backend_connections") && strings.Contains(name, `state="idle"`):
			found.idle += int(value)
		}
	}
	sort.Strings(names)
	found.series = strings.Join(names, "\n")
	if found.threads, err = p.threads(); err != nil {
		return found, err
	}
	state, err := os.Stat(p.folder + "/state.json")
	if err != nil {
		return found, err
	}
	found.stateBytes = state.Size()
	for i := 0; i < calmSamples; i++ {
		time.Sleep(calmGap)
		files, err := p.files()
		if err != nil {
			return found, err
		}
		if i == 0 || files < found.files {
			found.files = files
		}
	}
	return found, nil
}

func (p picture) seriesCount() int { return strings.Count(p.series, "\n") + 1 }

// stateSlack is what longer numbers of generations and times add to the state file.
const stateSlack = 64

// differs says in what it is not as it was.
func (p picture) differs(was picture) (problems []string) {
	note := func(what string, found, expected any) {
		problems = append(problems, fmt.Sprintf("%s: found %v, expected %v", what, found, expected))
	}
	if p.backends != was.backends {
		note("backends", p.backends, was.backends)
	}
	if !p.isCalm() {
		note("requests, connections of clients, idle ones to backends", []int{p.busy, p.clients, p.idle}, "none")
	}
	if p.series != was.series {
		note("series of the metrics", p.seriesCount(), was.seriesCount())
	}
	if p.files != was.files {
		note("open files", p.files, was.files)
	}
	// The runtime ends threads that it does not need: there may have been one of those at the start.
	if p.threads > was.threads {
		note("threads", p.threads, was.threads)
	}
	if p.stateBytes > was.stateBytes+stateSlack {
		note("bytes of the state file", p.stateBytes, was.stateBytes)
	}
	return problems
}
