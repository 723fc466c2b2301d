// Open-loop load for deploy tests, by a client that never retries.
//
// Each kind of request has its own rate. Arrivals are scheduled ahead and start on time whatever the earlier ones
// do; latency counts from the scheduled time, so that a proxy that makes everybody wait is seen waiting. Every
// answer is checked to the last byte. The client (client.go) is written by hand on bare sockets because Go's own
// repeats idempotent requests when a kept connection dies, which would hide the very losses looked for.
//
// A request fails when its answer is not complete and right within the time that it needs by itself plus -cap.
// Exit code: 0 nothing failed, 1 something did (or nothing was sent), 2 usage.
//
// kinds.go says what each kind sends and expects, record.go what is counted and printed.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/signal"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type options struct {
	target, host        string // address to dial, Host field to send
	rates               map[string]float64
	duration, cap       time.Duration
	inFlightMax         int
	windowsFile, result string
	seed                int64
	seeds               int // of the bodies; 0: any
	shape               shape
}

func main() {
	o, err := parseOptions(os.Args[1:])
	if err == flag.ErrHelp {
		os.Exit(0)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}

	record := run(ctx, o)

	windows, err := readWindows(o.windowsFile, time.Now())
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
	result := record.result(windows)
	result.Target = o.target
	result.print(os.Stdout)
	if err := result.write(o.result); err != nil {
		fmt.Fprintf(os.Stderr, "error: cannot write the result: %v\n", err)
		os.Exit(1)
	}
	if result.Failed > 0 || result.Sent == 0 {
		os.Exit(1)
	}
}

func parseOptions(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	target := flags.String("target", "", "`URL` to send to: http://host:port")
	host := flags.String("host", "", "Host `field` to send (default: that of -target)")
	rate := flags.String("rate", "fast=200,slow=20,stream=10,post=40,upload=5,ws=3", "requests per second of each `kind`")
	flags.DurationVar(&o.duration, "duration", 30*time.Second, "how long new requests start; 0: until SIGINT or SIGTERM")
	flags.DurationVar(&o.cap, "cap", 8*time.Second, "latency allowed beyond what the request itself needs")
	flags.IntVar(&o.inFlightMax, "in-flight-max", 1000, "requests open at once; an arrival over it fails as \"overload\"")
	flags.StringVar(&o.windowsFile, "windows", "", "`file` of lines `begin UNIX_MS` and `end UNIX_MS`, read at the end")
	flags.StringVar(&o.result, "json", "", "`file` to write the result to")
	flags.Int64Var(&o.seed, "seed", 1, "of the random choices")
	flags.IntVar(&o.seeds, "seeds", 0, "ask for bodies of only so `many` seeds, for a server that has them as files (0: any)")
	flags.DurationVar(&o.shape.slow, "slow", 2*time.Second, "what a slow request asks for")
	flags.IntVar(&o.shape.events, "events", 20, "events of a stream")
	flags.DurationVar(&o.shape.gap, "gap", 100*time.Millisecond, "time between events of a stream")
	flags.DurationVar(&o.shape.upload, "upload", time.Second, "how long an upload is being sent")
	flags.DurationVar(&o.shape.ws, "ws", 1500*time.Millisecond, "how long a WebSocket session lasts")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	u, err := url.Parse(*target)
	if err != nil || u.Scheme != "http" || u.Port() == "" || strings.Trim(u.Path, "/") != "" {
		return o, fmt.Errorf("-target: found %q, expected http://host:port", *target)
	}
	o.target = net.JoinHostPort(u.Hostname(), u.Port())
	o.host = u.Host
	if *host != "" {
		o.host = *host
	}
	if o.inFlightMax < 1 {
		return o, fmt.Errorf("-in-flight-max: expected at least 1")
	}
	if o.seeds < 0 || o.seeds > seedsMax {
		return o, fmt.Errorf("-seeds: expected 0 to %d", seedsMax)
	}
	o.rates, err = parseRates(*rate)
	return o, err
}

func parseRates(text string) (map[string]float64, error) {
	rates := map[string]float64{}
	for _, part := range strings.Split(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		perSecond, err := strconv.ParseFloat(value, 64)
		if _, isKnown := kinds[name]; !isKnown || err != nil || perSecond < 0 || perSecond > 100_000 {
			known := strings.Join(sortedKeys(kinds), ", ")
			return nil, fmt.Errorf("-rate: found %q, expected KIND=NUMBER with a kind of %s", part, known)
		}
		if perSecond > 0 {
			rates[name] = perSecond
		}
	}
	return rates, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
