package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

const samplesMax = 100 // failures told in full; all are counted

// record collects what happened while the load runs; result makes the totals of it at the end.
type record struct {
	begun       time.Time
	mu          sync.Mutex
	ended       []ended
	samples     []sample
	versions    map[string]int
	connections connectionTotals
	closed1001  int
	lateMax     time.Duration
	inFlightMax int
}

// ended is one exchange; times since the record began. A long run keeps one for each request.
type ended struct {
	kind       string
	reason     string // empty: ok
	begin, end time.Duration
}

type sample struct {
	UnixMs int64  `json:"unix_ms"`
	Kind   string `json:"kind"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
	AfterS string `json:"after_s"`
}

type connectionTotals struct {
	Opened     int `json:"opened"`
	Reused     int `json:"reused"`
	ClosedIdle int `json:"closed_idle"`
}

func newRecord(inFlightMax int) *record {
	return &record{begun: time.Now(), versions: map[string]int{}, samples: []sample{}, inFlightMax: inFlightMax}
}

func (r *record) locked(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

func (r *record) connectionOpened()     { r.locked(func() { r.connections.Opened++ }) }
func (r *record) connectionReused()     { r.locked(func() { r.connections.Reused++ }) }
func (r *record) connectionClosedIdle() { r.locked(func() { r.connections.ClosedIdle++ }) }
func (r *record) closedByServer()       { r.locked(func() { r.closed1001++ }) }

// started notes how late the generator itself was: on a machine that is too busy its own numbers mean little.
func (r *record) started(late time.Duration) {
	r.locked(func() {
		if late > r.lateMax {
			r.lateMax = late
		}
	})
}

func (r *record) finished(e *exchange, err error) {
	now := time.Now()
	one := ended{kind: e.kind, begin: e.due.Sub(r.begun), end: now.Sub(r.begun)}
	detail := ""
	if err != nil {
		f := failOf(err, "closed")
		one.reason, detail = f.reason, f.detail
	}
	r.locked(func() {
		r.ended = append(r.ended, one)
		if e.version != "" {
			r.versions[e.version]++
		}
		if err != nil && len(r.samples) < samplesMax {
			after := fmt.Sprintf("%.3f", now.Sub(e.due).Seconds())
			r.samples = append(r.samples, sample{now.UnixMilli(), e.kind, one.reason, detail, after})
		}
	})
}

// result is the JSON document, and the table.
type result struct {
	Target      string           `json:"target"`
	BeganUnixMs int64            `json:"began_unix_ms"`
	DurationMs  int64            `json:"duration_ms"`
	totals                       // of all kinds
	Kinds       map[string]*kind `json:"kinds"`
	Versions    map[string]int   `json:"versions"`
	Windows     []window         `json:"windows"`
	Connections connectionTotals `json:"connections"`
	WsClosed    int              `json:"ws_closed_1001"`
	LateMaxMs   float64          `json:"late_max_ms"`
	InFlightMax int              `json:"in_flight_max"`
	Samples     []sample         `json:"samples"`
}

type totals struct {
	Sent     int `json:"sent"`
	Ok       int `json:"ok"`
	Failed   int `json:"failed"`
	InWindow int `json:"in_windows"`
	// FailedInWindow tells losses of a cut-over from others.
	FailedInWindow int `json:"failed_in_windows"`
}

type kind struct {
	totals
	P50Ms    float64        `json:"p50_ms"` // of those that were ok
	P99Ms    float64        `json:"p99_ms"`
	MaxMs    float64        `json:"max_ms"`
	Failures map[string]int `json:"failures"`
	ms       []float64
}

func (r *record) result(windows []window) *result {
	r.mu.Lock()
	defer r.mu.Unlock()
	res := &result{
		BeganUnixMs: r.begun.UnixMilli(), DurationMs: time.Since(r.begun).Milliseconds(),
		Kinds: map[string]*kind{}, Versions: r.versions, Windows: windows, Connections: r.connections,
		WsClosed: r.closed1001, LateMaxMs: toMs(r.lateMax), InFlightMax: r.inFlightMax, Samples: r.samples,
	}
	for _, one := range r.ended {
		k := res.Kinds[one.kind]
		if k == nil {
			k = &kind{Failures: map[string]int{}}
			res.Kinds[one.kind] = k
		}
		isIn := overlaps(windows, r.begun.Add(one.begin).UnixMilli(), r.begun.Add(one.end).UnixMilli())
		res.totals.count(one.reason == "", isIn)
		k.totals.count(one.reason == "", isIn)
		if one.reason == "" {
			k.ms = append(k.ms, toMs(one.end-one.begin))
		} else {
			k.Failures[one.reason]++
		}
	}
	for _, k := range res.Kinds {
		sort.Float64s(k.ms)
		k.P50Ms, k.P99Ms, k.MaxMs = quantile(k.ms, 0.5), quantile(k.ms, 0.99), quantile(k.ms, 1)
	}
	return res
}

func (t *totals) count(isOk, isInWindow bool) {
	t.Sent++
	if isOk {
		t.Ok++
	} else {
		t.Failed++
	}
	if isInWindow {
		t.InWindow++
		if !isOk {
			t.FailedInWindow++
		}
	}
}

func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))]
}

func toMs(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}

func (res *result) print(w io.Writer) {
	row := func(cells ...any) {
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%-8s %8v %8v %8v %11v %9s %9s %9s  %s", cells...), " "))
	}
	ms := func(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }
	row("kind", "sent", "ok", "failed", "in windows", "p50 ms", "p99 ms", "max ms", "failures")
	for _, name := range sortedKeys(res.Kinds) {
		k := res.Kinds[name]
		row(name, k.Sent, k.Ok, k.Failed, k.InWindow, ms(k.P50Ms), ms(k.P99Ms), ms(k.MaxMs), reasons(k.Failures))
	}
	row("all", res.Sent, res.Ok, res.Failed, res.InWindow, "", "", "", "")
}

func reasons(failures map[string]int) string {
	if len(failures) == 0 {
		return "-"
	}
	var parts []string
	for reason, n := range failures {
		parts = append(parts, fmt.Sprintf("%s %d", reason, n))
	}
	sort.Strings(parts)
	return strings.Join(parts, ", ")
}

// write puts the whole document there at once; without a path it does nothing.
func (res *result) write(path string) error {
	if path == "" {
		return nil
	}
	body, err := json.MarshalIndent(res, "", "  ")
	if err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	if err := os.WriteFile(temp, append(body, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// window is a time in which a deploy moved traffic.
type window struct {
	Begin int64 `json:"begin"`
	End   int64 `json:"end"`
}

// readWindows reads the lines that deploys appended. Deploys may overlap: a window lasts while any of them does, and
// one that never ended lasts until now. No file means no deploy.
func readWindows(path string, now time.Time) ([]window, error) {
	windows := []window{}
	if path == "" {
		return windows, nil
	}
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return windows, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	open, begin := 0, int64(0)
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		word, text, _ := strings.Cut(lines.Text(), " ")
		ms, err := strconv.ParseInt(text, 10, 64)
		switch {
		case err == nil && word == "begin":
			if open++; open == 1 {
				begin = ms
			}
		case err == nil && word == "end" && open > 0:
			if open--; open == 0 {
				windows = append(windows, window{begin, ms})
			}
		default:
			return nil, fmt.Errorf("%s, line %d: found %q, expected `begin UNIX_MS` or a matching `end UNIX_MS`", path, n, lines.Text())
		}
	}
	if open > 0 {
		windows = append(windows, window{begin, now.UnixMilli()})
	}
	return windows, lines.Err()
}

func overlaps(windows []window, begin, end int64) bool {
	for _, w := range windows {
		if begin <= w.End && end >= w.Begin {
			return true
		}
	}
	return false
}
