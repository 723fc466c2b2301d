package main

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A WebSocket server by hand (RFC 6455), for tests that want to see every frame: it echoes text, binary and their
// fragments frame by frame, answers a ping with a pong and a close with a close.

const (
	opContinuation, opText, opBinary = 0x0, 0x1, 0x2
	opClose, opPing, opPong          = 0x8, 0x9, 0xA

	closeGoingAway, closeProtocolError, closeTooBig = 1001, 1002, 1009

	framePayloadMax = 64 << 20
)

// tunnels counts the sessions, so that the end of the app can wait for them.
type tunnels struct {
	open    sync.WaitGroup
	unclean atomic.Int64 // ended after SIGTERM without a close frame from the client
}

// wait returns when all sessions are over, at most until goodbyeMax or the end of ctx.
func (t *tunnels) wait(ctx context.Context) {
	done := make(chan struct{})
	go func() { t.open.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	case <-time.After(goodbyeMax + time.Second):
	}
}

func (a *app) webSocket(w http.ResponseWriter, r *http.Request) bool {
	key := r.Header.Get("Sec-WebSocket-Key")
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || key == "" || r.Header.Get("Sec-WebSocket-Version") != "13" {
		w.Header().Set("Sec-WebSocket-Version", "13")
		http.Error(w, "expected a WebSocket handshake", http.StatusUpgradeRequired)
		return true
	}
	a.tunnels.open.Add(1)
	defer a.tunnels.open.Done()
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return false
	}
	defer a.ledger.tunnelEnded(connOf(r))
	defer conn.Close()
	conn.SetDeadline(time.Time{})
	_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: "+acceptOf(key)+"\r\nX-App-Version: "+a.version+"\r\n\r\n")
	if err != nil {
		return false
	}

	s := &session{conn: conn, reader: buffered.Reader}
	over := make(chan struct{})
	goodbyeSaid := make(chan struct{})
	go func() {
		defer close(goodbyeSaid)
		select {
		case <-a.stopping:
			conn.SetDeadline(time.Now().Add(goodbyeMax))
			s.sendClose(closeGoingAway)
		case <-over:
		}
	}()
	clean := s.echo()
	close(over)
	<-goodbyeSaid
	select {
	case <-a.stopping:
		if !clean {
			a.tunnels.unclean.Add(1)
		}
	default:
	}
	return clean
}

func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

type session struct {
	conn      net.Conn
	reader    *bufio.Reader
	writing   sync.Mutex // the echo and the goodbye write to the same connection
	closeSent atomic.Bool
}

type frame struct {
	isFinal bool
	opcode  byte
	payload []byte
}

var (
	errProtocol = errors.New("not a masked frame with a known opcode")
	errTooBig   = errors.New("frame too big")
)

// echo runs until a close frame was received (true) or the connection broke (false).
func (s *session) echo() (clean bool) {
	for {
		f, err := s.read()
		switch {
		case errors.Is(err, errProtocol):
			s.sendClose(closeProtocolError)
			return false
		case errors.Is(err, errTooBig):
			s.sendClose(closeTooBig)
			return false
		case err != nil:
			return false
		}
		switch f.opcode {
		case opClose:
			s.answerClose(f.payload)
			return true
		case opPing:
			err = s.write(frame{isFinal: true, opcode: opPong, payload: f.payload})
		case opPong:
		default:
			// After our close frame nothing more may be sent; what still comes is read and dropped.
			if !s.closeSent.Load() {
				err = s.write(f)
			}
		}
		if err != nil {
			return false
		}
	}
}

func (s *session) sendClose(code uint16) {
	s.answerClose(binary.BigEndian.AppendUint16(nil, code))
}

// answerClose sends one close frame, never a second one.
func (s *session) answerClose(payload []byte) {
	if s.closeSent.CompareAndSwap(false, true) {
		s.write(frame{isFinal: true, opcode: opClose, payload: payload})
	}
}

func (s *session) read() (frame, error) {
	var head [2]byte
	if _, err := io.ReadFull(s.reader, head[:]); err != nil {
		return frame{}, err
	}
	f := frame{isFinal: head[0]&0x80 != 0, opcode: head[0] & 0x0F}
	isMasked := head[1]&0x80 != 0
	size := uint64(head[1] & 0x7F)
	isControl := f.opcode >= opClose
	if !isMasked || head[0]&0x70 != 0 || isControl && (size > 125 || !f.isFinal) || !isKnown(f.opcode) {
		return frame{}, errProtocol
	}
	if size >= 126 {
		extended := make([]byte, 8)
		width := 2
		if size == 127 {
			width = 8
		}
		if _, err := io.ReadFull(s.reader, extended[8-width:]); err != nil {
			return frame{}, err
		}
		size = binary.BigEndian.Uint64(extended)
	}
	if size > framePayloadMax {
		return frame{}, errTooBig
	}
	var mask [4]byte
	if _, err := io.ReadFull(s.reader, mask[:]); err != nil {
		return frame{}, err
	}
	f.payload = make([]byte, size)
	if _, err := io.ReadFull(s.reader, f.payload); err != nil {
		return frame{}, err
	}
	for i := range f.payload {
		f.payload[i] ^= mask[i%4]
	}
	return f, nil
}

func isKnown(opcode byte) bool {
	return opcode <= opBinary || opcode >= opClose && opcode <= opPong
}

func (s *session) write(f frame) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	first := f.opcode
	if f.isFinal {
		first |= 0x80
	}
	out := []byte{first}
	switch n := len(f.payload); {
	case n < 126:
		out = append(out, byte(n))
	case n < 1<<16:
		out = binary.BigEndian.AppendUint16(append(out, 126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, 127), uint64(n))
	}
	_, err := s.conn.Write(append(out, f.payload...))
	return err
}
