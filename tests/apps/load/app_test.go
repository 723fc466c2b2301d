package main

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The load against the real app, without a proxy: what must be seen is seen, and nothing else.

var shortShape = shape{slow: 600 * time.Millisecond, events: 6, gap: 100 * time.Millisecond, upload: 400 * time.Millisecond, ws: 600 * time.Millisecond}

func everyKind() map[string]float64 {
	return map[string]float64{"fast": 200, "slow": 20, "stream": 10, "post": 40, "upload": 5, "ws": 6}
}

func buildApp(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", path, ".")
	build.Dir = "../go"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

func startApp(t *testing.T, path string, args ...string) (cmd *exec.Cmd, addr string) {
	t.Helper()
	cmd = exec.Command(path, append([]string{"-listen", "127.0.0.1:0", "-version", "v1"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd, strings.TrimPrefix(strings.TrimSpace(line), "listening ")
}

func load(t *testing.T, addr string, duration time.Duration) *result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), duration)
	defer cancel()
	rec := run(ctx, options{target: addr, host: "test", rates: everyKind(), cap: 5 * time.Second, inFlightMax: 500, shape: shortShape})
	res := rec.result(nil)
	res.print(testWriter{t})
	return res
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

func TestAnAppThatIsLeftAloneFailsNothing(t *testing.T) {
	_, addr := startApp(t, buildApp(t))
	res := load(t, addr, 2*time.Second)
	if res.Failed != 0 || res.Versions["v1"] != res.Sent || len(res.Kinds) != 6 {
		t.Errorf("failed %d, versions %v: %v", res.Failed, res.Versions, res.Samples)
	}
}

func TestEveryWayToLoseAnAppIsSeen(t *testing.T) {
	path := buildApp(t)
	for _, c := range []struct {
		name   string
		args   []string
		signal syscall.Signal
		kinds  []string // that must have failures other than "refused"
	}{
		{"kill -9", nil, syscall.SIGKILL, []string{"slow", "stream", "upload", "ws"}},
		{"exit at once", []string{"-exit-at-once"}, syscall.SIGTERM, []string{"slow", "stream", "upload", "ws"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd, addr := startApp(t, path, c.args...)
			time.AfterFunc(1200*time.Millisecond, func() { cmd.Process.Signal(c.signal) })
			res := load(t, addr, 2*time.Second)
			for _, name := range c.kinds {
				k := res.Kinds[name]
				if k.Failed <= k.Failures["refused"] {
					t.Errorf("%s: what was open when the app died did not fail: %v", name, k.Failures)
				}
			}
			for name, k := range res.Kinds {
				if k.Failures["refused"] == 0 {
					t.Errorf("%s: no connection was refused: %v", name, k.Failures)
				}
			}
		})
	}
}

// A good Shutdown finishes what is open: only new connections fail, and kept ones that the app closes under a request.
func TestAShutdownLosesNothingThatIsOpen(t *testing.T) {
	cmd, addr := startApp(t, buildApp(t))
	time.AfterFunc(1200*time.Millisecond, func() { cmd.Process.Signal(syscall.SIGTERM) })
	res := load(t, addr, 2*time.Second)
	allowed := map[string]bool{"refused": true, "closed": true, "closed_reused": true, "reset": true}
	for name, k := range res.Kinds {
		for reason := range k.Failures {
			if !allowed[reason] {
				t.Errorf("%s: %v", name, k.Failures)
			}
		}
	}
	if res.WsClosed == 0 || res.Failed == 0 {
		t.Errorf("%d sessions were closed with 1001, %d requests failed", res.WsClosed, res.Failed)
	}
}

// The command as deploy scripts call it: a signal ends the arrivals, the table comes, the exit code tells.
func TestTheCommandEndsOnASignal(t *testing.T) {
	app, addr := startApp(t, buildApp(t))
	dir := t.TempDir()
	binary, json := filepath.Join(dir, "load"), filepath.Join(dir, "result.json")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	call := func() (string, int) {
		cmd := exec.Command(binary, "-target", "http://"+addr, "-rate", "fast=50,slow=10", "-slow", "500ms", "-duration", "0", "-json", json)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, func() { cmd.Process.Signal(syscall.SIGTERM) })
		cmd.Wait()
		return out.String(), cmd.ProcessState.ExitCode()
	}
	out, code := call()
	if code != 0 || !strings.HasPrefix(out, "kind ") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if body, err := os.ReadFile(json); err != nil || !strings.Contains(string(body), `"failed": 0`) {
		t.Errorf("%v: %s", err, body)
	}
	app.Process.Kill()
	app.Wait()
	if out, code := call(); code != 1 || !strings.Contains(out, "refused") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}
