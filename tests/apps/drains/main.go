// Drains under measurement, with a real proxy, apps in this process and load by clients that never retry.
//
//	drains soak    many drains and restores in a row under load: nothing is lost, and nothing is left behind
//	drains beside  a drain of a thousand open exchanges: is the traffic to another backend slower meanwhile?
//
// proxy.go starts the proxy and reads what the system knows of it, admin.go speaks to it, app.go is a backend, client.go
// and load.go are the clients. soak.go, rounds.go and picture.go are the first test, beside.go and held.go the second;
// stats.go judges.
//
// The last line is `N passed, N failed`; the exit code is 1 if something failed, 2 for wrong usage.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

// A thousand clients and as many connections to the app, both ends of each in one of two processes, and some to spare.
const filesMin = 4500

// Of fewer rounds the memory has no slope, of fewer pairs the ratio no interval. All pairs have to be over before the
// requests that are open at the app time out.
var (
	countMin = map[string]int{"soak": 16, "beside": 6}
	countMax = map[string]int{"soak": 100_000, "beside": int(heldMax / 2 / (2 * (window + settle)))}
)

// The kernel ends the proxy when the thread that started it ends: that has to be one that stays.
func init() { runtime.LockOSThread() }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	test, wrong := parse(os.Args[1:])
	if wrong != nil {
		fmt.Fprintln(os.Stderr, "error:", wrong)
		os.Exit(2)
	}
	if err := raiseFiles(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	smallPages()
	ctx, cancel := context.WithTimeout(ctx, test.atMost)
	defer cancel()
	c := &checks{}
	if err := test.run(ctx, c); err != nil {
		switch ctx.Err() {
		case context.DeadlineExceeded:
			err = fmt.Errorf("not done within %v: %w", test.atMost, err)
		case context.Canceled:
			err = fmt.Errorf("interrupted: %w", err)
		}
		c.that(false, "the test runs to its end", "%v", err)
	}
	fmt.Printf("%d passed, %d failed\n", c.passed, c.failed)
	if c.failed > 0 {
		os.Exit(1)
	}
}

// A test and how long all of it may take.
type test struct {
	run    func(context.Context, *checks) error
	atMost time.Duration
}

func parse(arguments []string) (test, error) {
	if len(arguments) == 0 {
		return test{}, fmt.Errorf("usage: drains soak|beside -tidegate BINARY [OPTION]...")
	}
	name := arguments[0]
	flags := flag.NewFlagSet(name, flag.ExitOnError)
	binary := flags.String("tidegate", "", "the proxy's `binary`")
	var result test
	var count *int
	switch name {
	case "soak":
		count = flags.Int("rounds", 1000, "drains and restores")
		result.run = func(ctx context.Context, c *checks) error { return soak(ctx, c, *binary, *count) }
	case "beside":
		count = flags.Int("pairs", 30, "pairs of windows, one with a drain and one without")
		ratioMax := flags.Float64("ratio-max", 1.1, "p99 with a drain, as a multiple of that without")
		byInterval := flags.Bool("or-interval", false, "enough, too: the 95 % interval of the pairs' ratios begins at 1 or below")
		result.run = func(ctx context.Context, c *checks) error {
			return beside(ctx, c, *binary, *count, *ratioMax, *byInterval)
		}
	default:
		return test{}, fmt.Errorf("found %q, expected soak or beside", name)
	}
	flags.Parse(arguments[1:])
	switch {
	case flags.NArg() > 0:
		return test{}, fmt.Errorf("found %q, expected nothing", flags.Arg(0))
	case *binary == "":
		return test{}, fmt.Errorf("-tidegate: expected a built binary")
	case *count < countMin[name] || *count > countMax[name]:
		return test{}, fmt.Errorf("found %d, expected %d to %d rounds or pairs", *count, countMin[name], countMax[name])
	}
	each := 2 * time.Second
	if name == "beside" {
		each = 3 * (window + settle)
	}
	result.atMost = 2*time.Minute + time.Duration(*count)*each
	return result, nil
}

// checks prints what was looked at, one line each, and counts.
type checks struct{ passed, failed int }

func (c *checks) that(ok bool, what, format string, args ...any) {
	word := "ok  "
	if ok {
		c.passed++
	} else {
		c.failed++
		word = "FAIL"
	}
	fmt.Printf("%s  %s: %s\n", word, what, fmt.Sprintf(format, args...))
}

// smallPages tells the kernel to give no huge pages to this process, and by inheritance to the proxy: memory would
// seem to rise by 2 MiB at once when it puts small pages together, which is more than a leak is allowed. A kernel
// without huge pages refuses, and nothing is to be done then.
func smallPages() {
	const setThpDisable = 41 // prctl(2): PR_SET_THP_DISABLE
	syscall.RawSyscall6(syscall.SYS_PRCTL, setThpDisable, 1, 0, 0, 0, 0)
}

// raiseFiles raises the soft limit on open files to the hard one; the proxy inherits it.
func raiseFiles() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("the limit on open files cannot be read: %w", err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("the limit on open files cannot be raised: %w", err)
	}
	if limit.Max < filesMin {
		return fmt.Errorf("%d open files are needed, this user may have %d (raise the hard limit: ulimit -Hn)", filesMin, limit.Max)
	}
	return nil
}
