package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const startMax = 15 * time.Second

const configuration = `
admin: {socket: "%[1]s/admin.sock"}
state: {file: "%[1]s/state.json"}
listeners: [{address: "127.0.0.1:0"}]
pools:
  app:
    backends: [{id: a, address: "%[2]s"}]
    health: {tcp: true}
routes: [{pool: app}]
`

// A proxy is a tidegate that this program started, in a folder of its own.
type proxy struct {
	address string
	folder  string
	command *exec.Cmd
}

func startProxy(binary, backend string) (*proxy, error) {
	folder, err := os.MkdirTemp("", "tidegate-bulk.")
	if err != nil {
		return nil, err
	}
	p := &proxy{folder: folder}
	file := filepath.Join(folder, "tidegate.yaml")
	if err := os.WriteFile(file, []byte(fmt.Sprintf(configuration, folder, backend)), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(folder, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.command = exec.Command(binary, "run", "-c", file)
	p.command.Stdout, p.command.Stderr = log, log
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(startMax); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if p.address = p.listens(binary); p.address != "" && p.answers() {
			return p, nil
		}
	}
	said, _ := os.ReadFile(log.Name())
	p.end()
	return nil, fmt.Errorf("the proxy does not answer:\n%s", said)
}

func (p *proxy) listens(binary string) string {
	var status struct{ Listeners []struct{ Address string } }
	said, err := exec.Command(binary, "--admin", "unix:"+p.folder+"/admin.sock", "status", "--json").Output()
	if err != nil || json.Unmarshal(said, &status) != nil || len(status.Listeners) == 0 {
		return ""
	}
	return status.Listeners[0].Address
}

// answers lets some small bodies through, so that what is made once is not taken for growth.
func (p *proxy) answers() bool {
	for _, t := range eight() {
		if all(p.address, []transfer{t}, 2*blockBytes) != nil {
			return false
		}
	}
	return true
}

func (p *proxy) end() {
	p.command.Process.Signal(syscall.SIGINT)
	kill := time.AfterFunc(5*time.Second, func() { p.command.Process.Kill() })
	p.command.Wait()
	kill.Stop()
	os.RemoveAll(p.folder)
}

// Resident memory in MiB, now and at its peak since the last resetPeak; see proc(5).
func (p *proxy) resident() (float64, error) { return p.status("VmRSS:") }
func (p *proxy) peak() (float64, error)     { return p.status("VmHWM:") }

func (p *proxy) resetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.command.Process.Pid), []byte("5"), 0)
}

func (p *proxy) status(name string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(text), "\n") {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == name {
			kib, err := strconv.ParseFloat(fields[1], 64)
			return kib / 1024, err
		}
	}
	return 0, errors.New("the proxy is gone")
}
