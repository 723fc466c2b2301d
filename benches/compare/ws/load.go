package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sort"
	"sync"
	"time"
)

// load lets each session send one message, wait for its echo, and send the next, until the time is over.
// Sessions are all open before the first message is sent.

const (
	key           = "dGhlIHNhbXBsZSBub25jZQ=="
	closeNormal   = 1000
	answerSeconds = 5 // a message that is not echoed for so long is an error
)

type session struct {
	conn      net.Conn
	reader    *bufio.Reader
	mask      [4]byte
	latencies []uint32 // microseconds
	err       error
}

func load(address string, connections int, duration time.Duration, size int) error {
	if size > payloadBytesMax {
		return fmt.Errorf("found messages of %d bytes, expected at most %d", size, payloadBytesMax)
	}
	sessions := make([]*session, connections)
	for i := range sessions {
		s, err := open(address, byte(i))
		if err != nil {
			return fmt.Errorf("session %d: %w", i+1, err)
		}
		defer s.conn.Close()
		sessions[i] = s
	}
	began := time.Now()
	var running sync.WaitGroup
	for _, s := range sessions {
		running.Add(1)
		go func(s *session) {
			defer running.Done()
			s.err = s.converse(began.Add(duration), size)
		}(s)
	}
	running.Wait()
	report(sessions, time.Since(began))
	return nil
}

func open(address string, number byte) (*session, error) {
	conn, err := net.DialTimeout("tcp", address, answerSeconds*time.Second)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(answerSeconds * time.Second))
	_, err = fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", address, key)
	reader := bufio.NewReader(conn)
	if err == nil {
		err = readHandshake(reader)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &session{conn: conn, reader: reader, mask: [4]byte{0x5A, number, 0xC3, 0x7F}}, nil
}

func readHandshake(reader *bufio.Reader) error {
	answer, err := http.ReadResponse(reader, nil)
	if err != nil {
		return err
	}
	accepted := answer.Header.Get("Sec-WebSocket-Accept") == acceptOf(key)
	if answer.StatusCode != http.StatusSwitchingProtocols || !accepted {
		return fmt.Errorf("found %s with %v, expected a WebSocket handshake", answer.Status, answer.Header)
	}
	return nil
}

func (s *session) converse(until time.Time, size int) error {
	payload := bytes.Repeat([]byte("x"), size)
	message := appendFrame(nil, opText, payload, &s.mask)
	answer := make([]byte, payloadBytesMax)
	s.conn.SetDeadline(until.Add(answerSeconds * time.Second))
	sent := time.Now()
	for sent.Before(until) {
		if _, err := s.conn.Write(message); err != nil {
			return err
		}
		opcode, n, err := readFrame(s.reader, answer)
		if err != nil {
			return err
		}
		if opcode != opText || !bytes.Equal(answer[:n], payload) {
			return fmt.Errorf("found opcode %d and %.20q, expected the echo", opcode, answer[:n])
		}
		now := time.Now()
		s.latencies = append(s.latencies, uint32(now.Sub(sent).Microseconds()))
		sent = now
	}
	return s.sayGoodbye(answer)
}

func (s *session) sayGoodbye(answer []byte) error {
	goodbye := appendFrame(nil, opClose, binary.BigEndian.AppendUint16(nil, closeNormal), &s.mask)
	if _, err := s.conn.Write(goodbye); err != nil {
		return err
	}
	opcode, _, err := readFrame(s.reader, answer)
	if err == nil && opcode != opClose {
		err = errors.New("found a frame after the last echo, expected the answer to a close frame")
	}
	return err
}

func report(sessions []*session, took time.Duration) {
	var all []uint32
	failed := 0
	for _, s := range sessions {
		all = append(all, s.latencies...)
		if s.err != nil {
			failed++
			fmt.Fprintln(os.Stderr, "error:", s.err)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	fmt.Printf(`COUNTED {"requests": %d, "microseconds": %d, "errors": %d, `+
		`"p50": %d, "p99": %d, "p999": %d}`+"\n",
		len(all), took.Microseconds(), failed, rank(all, 0.5), rank(all, 0.99), rank(all, 0.999))
}

// rank is the nearest-rank percentile of sorted values; 0 if there are none.
func rank(sorted []uint32, share float64) uint32 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(share*float64(len(sorted)-1)+0.5)]
}
