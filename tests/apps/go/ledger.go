package main

import (
	"context"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// ledger knows every connection of the server, from accept to close.
//
// net/http tells the states New, Active (a request is in it), Idle and Closed. It forgets a connection when it is
// hijacked; the ledger keeps it, as a tunnel, until `tunnelEnded`. With HTTP/1.1 a connection carries one request
// at a time, so the active connections are the requests in flight, also those that no handler has seen yet.
type ledger struct {
	mu     sync.Mutex
	conns  map[net.Conn]*entry
	served map[string]int
	left   int
	ended  time.Time // when the last request that was no probe came to its end
}

type entry struct {
	state http.ConnState
	kind  string // of the request in it; empty until its handler runs
}

// holdings counts at one moment. Connections = New + Active + Idle + tunnels.
type holdings struct {
	Requests    int            `json:"requests"`
	Tunnels     int            `json:"tunnels"`
	Connections int            `json:"connections"`
	Idle        int            `json:"idle"`
	New         int            `json:"new"`
	ByKind      map[string]int `json:"by_kind"`
}

func newLedger() *ledger {
	return &ledger{conns: map[net.Conn]*entry{}, served: map[string]int{}}
}

// connState is the server's ConnState hook.
func (l *ledger) connState(conn net.Conn, state http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch state {
	case http.StateNew:
		l.conns[conn] = &entry{state: state}
	case http.StateClosed:
		delete(l.conns, conn)
	default:
		if e := l.conns[conn]; e != nil {
			e.state = state
			if state == http.StateIdle {
				e.kind = ""
			}
		}
	}
}

// requestBegan says what kind of request the connection carries.
func (l *ledger) requestBegan(conn net.Conn, kind string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.conns[conn]; e != nil {
		e.kind = kind
	}
}

func (l *ledger) requestEnded(kind string, answered bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if kind != "up" {
		l.ended = time.Now()
	}
	if answered {
		l.served[kind]++
	} else {
		l.left++
	}
}

func (l *ledger) tunnelEnded(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
}

// holdings: raw counts every connection that is not closed on this side, held those whose peer is still there.
func (l *ledger) holdings() (raw, held holdings) {
	l.mu.Lock()
	defer l.mu.Unlock()
	raw.ByKind, held.ByKind = map[string]int{}, map[string]int{}
	for conn, e := range l.conns {
		raw.count(e)
		if !peerHasLeft(conn) {
			held.count(e)
		}
	}
	return raw, held
}

func (h *holdings) count(e *entry) {
	h.Connections++
	switch e.state {
	case http.StateNew:
		h.New++
	case http.StateIdle:
		h.Idle++
	case http.StateHijacked:
		h.Tunnels++
		h.ByKind[e.kind]++
	case http.StateActive:
		h.Requests++
		kind := e.kind
		if kind == "" {
			kind = "unread"
		}
		h.ByKind[kind]++
	}
}

func (l *ledger) totals() (served map[string]int, left int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	served = map[string]int{}
	for kind, n := range l.served {
		served[kind] = n
	}
	return served, l.left
}

// lastEnded is in ms since 1970; 0 if there was no request but probes.
func (l *ledger) lastEnded() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended.IsZero() {
		return 0
	}
	return l.ended.UnixMilli()
}

// From linux/tcp.h and net/tcp_states.h: the first byte of struct tcp_info is the state.
const tcpEstablished = 1

// peerHasLeft: the kernel has the peer's FIN (CLOSE_WAIT) or its reset, although net/http may not have noticed yet.
// The socket itself is asked, which is exact; /proc/net/tcp can miss an entry while the table changes.
func peerHasLeft(conn net.Conn) bool {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return true
	}
	left := false
	err = raw.Control(func(fd uintptr) {
		if _, isUnix := conn.(*net.UnixConn); isUnix {
			n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			left = n == 0 && err == nil
			return
		}
		var info [8]byte
		size := uint32(len(info))
		_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
			uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&size)), 0)
		left = errno == 0 && info[0] != tcpEstablished
	})
	return left || err != nil // an error: closed on our side
}

type connKey struct{}

// rememberConn is the server's ConnContext hook, so that a handler knows its connection.
func rememberConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

func connOf(r *http.Request) net.Conn {
	return r.Context().Value(connKey{}).(net.Conn)
}
