package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	startMax = 15 * time.Second
	endMax   = 10 * time.Second // from SIGTERM, with nothing in flight
)

// A proxy is a tidegate that this program started, in a folder of its own.
type proxy struct {
	*admin
	address, metrics string
	folder           string
	command          *exec.Cmd
}

// startProxy starts the proxy with a configuration in which %[1]s is its folder, and waits until so many backends are
// eligible.
func startProxy(ctx context.Context, binary, configuration string, eligible int) (*proxy, error) {
	folder, err := os.MkdirTemp("", "tidegate-drains.")
	if err != nil {
		return nil, err
	}
	p := &proxy{folder: folder, admin: newAdmin(folder + "/admin.sock")}
	if err := p.start(binary, fmt.Sprintf(configuration, folder)); err != nil {
		os.RemoveAll(folder)
		return nil, err
	}
	for deadline := time.Now().Add(startMax); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		if status, err := p.status(); err == nil && len(status.Listeners) == 1 && status.Pools[0].Eligible == eligible {
			p.address, p.metrics = status.Listeners[0].Address, status.Metrics.Address
			return p, nil
		}
	}
	said := p.log()
	p.end()
	return nil, fmt.Errorf("the proxy does not serve:\n%s", said)
}

func (p *proxy) start(binary, configuration string) error {
	file := filepath.Join(p.folder, "tidegate.yaml")
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(p.folder, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	p.command = exec.Command(binary, "run", "-c", file)
	p.command.Stdout, p.command.Stderr = log, log
	// In a group of its own: an interrupt from the terminal is for this program, which ends the proxy itself.
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return p.command.Start()
}

// end ends it, removes its folder and says what was wrong with its end.
func (p *proxy) end() error {
	if p.command.ProcessState != nil {
		return nil
	}
	defer os.RemoveAll(p.folder)
	p.command.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(endMax, func() { p.command.Process.Kill() })
	defer kill.Stop()
	return p.command.Wait()
}

// log is the last of what it said.
func (p *proxy) log() string {
	const last = 2000
	text, _ := os.ReadFile(p.folder + "/log")
	if len(text) > last {
		text = text[len(text)-last:]
	}
	return string(text)
}

// endsWell ends it and looks at what it said meanwhile.
func (p *proxy) endsWell(c *checks) error {
	troubles, err := p.troubles()
	if err != nil {
		return err
	}
	c.that(len(troubles) == 0, "no error in its log", "%d lines%s", len(troubles), list(troubles))
	if err := p.end(); err != nil {
		return fmt.Errorf("the proxy was told to end: %w", err)
	}
	return nil
}

// troubles are the lines of its log that no drain should cause.
func (p *proxy) troubles() (lines []string, err error) {
	text, err := os.ReadFile(p.folder + "/log")
	for _, line := range strings.Split(string(text), "\n") {
		if strings.Contains(line, "panicked") || strings.Contains(line, " ERROR ") {
			lines = append(lines, line)
		}
	}
	return lines, err
}

// What the system knows of it; see proc(5).

func (p *proxy) files() (int, error) {
	entries, err := os.ReadDir(p.proc("fd"))
	return len(entries), err
}

func (p *proxy) threads() (int, error) {
	number, err := p.procStatus("Threads:")
	return int(number), err
}

// memory is what it has for itself, in KiB: pages of its binary come and go with what else the machine does.
func (p *proxy) memory() (float64, error) { return p.procStatus("RssAnon:") }

func (p *proxy) proc(name string) string {
	return fmt.Sprintf("/proc/%d/%s", p.command.Process.Pid, name)
}

func (p *proxy) procStatus(name string) (float64, error) {
	text, err := os.ReadFile(p.proc("status"))
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(text), "\n") {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == name {
			return strconv.ParseFloat(fields[1], 64)
		}
	}
	return 0, fmt.Errorf("no %s: the proxy is gone:\n%s", name, p.log())
}

// scrape reads its metrics: a value for each series.
func (p *proxy) scrape() (map[string]float64, error) {
	client := &http.Client{Timeout: callMax, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + p.metrics + "/metrics")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics: status %d, %v", response.StatusCode, err)
	}
	return parseSeries(string(text))
}

func parseSeries(text string) (map[string]float64, error) {
	series := map[string]float64{}
	for _, line := range strings.Split(text, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		space := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(line[space+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("metrics: %q: %w", line, err)
		}
		series[line[:space]] = value
	}
	return series, nil
}
