// The app server that deploy tests put behind the proxy.
//
// It is an ordinary net/http server with one unusual duty: when SIGTERM comes it writes down what it still held at
// that moment. A proxy that said "drained" before must have left it with nothing.
//
// Its life: listen, say `listening ADDR`, serve; on SIGTERM (or SIGINT) look at what is held, send every WebSocket a
// close frame 1001, `Shutdown` with a deadline, write the report, exit 0. A second signal ends it at once.
//
// ledger.go knows the connections, handlers.go the answers, websocket.go the tunnels.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// How long an open WebSocket may take to answer our close frame. A client that is there answers in milliseconds.
const goodbyeMax = 2 * time.Second

type options struct {
	listen, version, report, pidFile, addrFile string
	exitAtOnce, unhealthy                      bool
	shutdownTimeout, slow                      time.Duration
}

func parseOptions() options {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "`host:port` (port 0 picks one) or unix:/path")
	flag.StringVar(&o.version, "version", "dev", "`name` sent in X-App-Version on every answer")
	flag.StringVar(&o.report, "report", "", "JSON `file` written at exit")
	flag.StringVar(&o.pidFile, "pid-file", "", "`file` to write the process id to once it listens")
	flag.StringVar(&o.addrFile, "addr-file", "", "`file` to write the address to once it listens")
	flag.BoolVar(&o.exitAtOnce, "exit-at-once", false, "on SIGTERM exit without finishing anything")
	flag.BoolVar(&o.unhealthy, "unhealthy", false, "answer /up with 503")
	flag.DurationVar(&o.shutdownTimeout, "shutdown-timeout", 15*time.Second, "what is open so long after SIGTERM is cut")
	flag.DurationVar(&o.slow, "slow", 2*time.Second, "how long /slow takes when the request does not say")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "error: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	return o
}

func main() {
	log.SetFlags(0)
	o := parseOptions()

	// Before the address is told: who reads it may send the signal at once.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)

	listener, err := listen(o.listen)
	if err != nil {
		log.Fatalf("error: cannot listen on %q: %v", o.listen, err)
	}
	addr := addressOf(listener)

	app := newApp(o.version, o.slow, o.unhealthy)
	server := &http.Server{
		Handler:           app.handler(),
		ConnState:         app.ledger.connState,
		ConnContext:       rememberConn,
		ReadHeaderTimeout: 30 * time.Second,
	}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Fatalf("error: %v", err)
		}
	}()
	announce(o, addr)

	<-signals
	report := stop(server, app, o, signals)
	if o.report != "" {
		body, err := json.Marshal(report)
		if err == nil {
			err = writeAtomically(o.report, append(body, '\n'))
		}
		if err != nil {
			log.Fatalf("error: cannot write the report: %v", err)
		}
	}
	os.Exit(0)
}

// report is what -report holds. `held` leaves out connections whose peer has closed already, `raw` counts them too.
type report struct {
	Version   string         `json:"version"`
	Pid       int            `json:"pid"`
	Held      holdings       `json:"held"`
	Raw       holdings       `json:"raw"`
	Abandoned abandoned      `json:"abandoned"`
	StopMs    int64          `json:"stop_ms"`
	Served    map[string]int `json:"served"`
	Left      int            `json:"left"` // requests whose client went away before the answer
	// LastEnded tells how long after its last request the app was told to end.
	LastEnded int64 `json:"last_ended_unix_ms"`
}

type abandoned struct {
	Requests int `json:"requests"`
	Tunnels  int `json:"tunnels"`
}

// stop looks first and only then begins to end things; signals is read for the second, impatient one.
func stop(server *http.Server, app *app, o options, signals <-chan os.Signal) report {
	asked := time.Now()
	raw, held := app.ledger.holdings()
	r := report{Version: o.version, Pid: os.Getpid(), Raw: raw, Held: held, LastEnded: app.ledger.lastEnded()}

	if o.exitAtOnce {
		r.Abandoned = abandoned{Requests: held.Requests, Tunnels: held.Tunnels}
	} else {
		ctx, cancel := context.WithTimeout(context.Background(), o.shutdownTimeout)
		defer cancel()
		go func() {
			<-signals
			cancel()
		}()
		close(app.stopping) // every tunnel says goodbye, all at the same time
		err := server.Shutdown(ctx)
		app.tunnels.wait(ctx)
		if err != nil {
			_, left := app.ledger.holdings()
			r.Abandoned.Requests = left.Requests
			server.Close()
		}
		_, left := app.ledger.holdings()
		r.Abandoned.Tunnels = left.Tunnels + int(app.tunnels.unclean.Load())
	}
	r.StopMs = time.Since(asked).Milliseconds()
	r.Served, r.Left = app.ledger.totals()
	return r
}

func listen(address string) (net.Listener, error) {
	if !strings.HasPrefix(address, "unix:") {
		return net.Listen("tcp", address)
	}
	path := strings.TrimPrefix(address, "unix:")
	// A socket file that nobody answers on was left by a process that was killed.
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, syscall.EADDRINUSE
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		os.Remove(path)
	}
	return net.Listen("unix", path)
}

func addressOf(listener net.Listener) string {
	if listener.Addr().Network() == "unix" {
		return "unix:" + listener.Addr().String()
	}
	return listener.Addr().String()
}

func announce(o options, addr string) {
	for path, text := range map[string]string{o.pidFile: fmt.Sprint(os.Getpid()), o.addrFile: addr} {
		if path == "" {
			continue
		}
		if err := writeAtomically(path, []byte(text+"\n")); err != nil {
			log.Fatalf("error: %v", err)
		}
	}
	fmt.Printf("listening %s\n", addr)
}

// writeAtomically: a reader sees the whole file or none.
func writeAtomically(path string, content []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // fails once it is renamed, as it should
	if _, err := temp.Write(content); err != nil {
		return err
	}
	if err := temp.Chmod(0o644); err != nil {
		return err
	}
	if err := temp.Close(); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}
