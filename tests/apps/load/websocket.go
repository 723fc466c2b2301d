package main

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	opText, opBinary        = 0x1, 0x2
	opClose, opPing, opPong = 0x8, 0x9, 0xA

	closeNormal, closeGoingAway = 1000, 1001

	messages        = 5
	framePayloadMax = 1 << 20
)

type frame struct {
	opcode  byte
	payload []byte
	err     error
}

// errGoingAway: the server ended the session properly, with close code 1001.
var errGoingAway = errors.New("going away")

// webSocket opens a session, has a few messages and a ping echoed over the time of the shape, and closes it. If the
// server closes it first, with 1001, that is a clean end; any other end is a failure.
func webSocket(e *exchange) error {
	conn, err := e.client.connect(true, e.due.Add(e.shape.ws+e.cap))
	if err != nil {
		return failOf(err, "closed")
	}
	defer conn.Close()
	if err := e.handshake(conn); err != nil {
		return err
	}
	frames := make(chan frame, 1)
	over := make(chan struct{})
	defer close(over)
	go readFrames(conn.reader, frames, over)

	err = e.converse(conn, frames)
	if errors.Is(err, errGoingAway) {
		// Answering is the polite end. Whether the server still reads it is its own affair.
		writeFrame(conn, opClose, binary.BigEndian.AppendUint16(nil, closeGoingAway))
		e.client.counts.(*record).closedByServer()
		return nil
	}
	return err
}

func (e *exchange) handshake(conn *connection) error {
	key := base64.StdEncoding.EncodeToString(pattern(uint32(e.seed), 16))
	_, err := fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", e.client.host, key)
	if err != nil {
		return failOf(err, "closed")
	}
	a, err := readAnswer(conn)
	if err != nil {
		return err
	}
	e.version = a.value("X-App-Version")
	if a.status != 101 {
		return statusFailure(a)
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if !a.hasToken("Upgrade", "websocket") || !a.hasToken("Connection", "upgrade") ||
		a.value("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]) {
		return fail("ws_bad_handshake", "%v", a.fields)
	}
	return nil
}

func (e *exchange) converse(conn net.Conn, frames <-chan frame) error {
	for i := 0; i < messages; i++ {
		opcode, size := byte(opText), 20
		if i%2 == 1 {
			opcode, size = opBinary, 4000
		}
		if i == messages-1 {
			opcode, size = opPing, 10
		}
		payload := pattern(uint32(e.seed)+uint32(i), size)
		if err := writeFrame(conn, opcode, payload); err != nil {
			return endOf(frames, err)
		}
		if err := expectFrame(frames, opcode, payload); err != nil {
			return err
		}
		if err := quiet(frames, e.shape.ws/messages); err != nil {
			return err
		}
	}
	if err := writeFrame(conn, opClose, binary.BigEndian.AppendUint16(nil, closeNormal)); err != nil {
		return endOf(frames, err)
	}
	return expectFrame(frames, opClose, binary.BigEndian.AppendUint16(nil, closeNormal))
}

// expectFrame takes the next frame and compares it; an answer to a ping is a pong.
func expectFrame(frames <-chan frame, opcode byte, payload []byte) error {
	if opcode == opPing {
		opcode = opPong
	}
	f := <-frames
	if err := f.end(opcode == opClose); err != nil {
		return err
	}
	if f.opcode != opcode || !bytes.Equal(f.payload, payload) {
		return fail("ws_altered", "opcode %d, %d bytes: %.40q", f.opcode, len(f.payload), f.payload)
	}
	return nil
}

// end returns the end of the session that this frame means, if it means one.
func (f frame) end(weClosed bool) error {
	if f.err != nil {
		return failOf(f.err, "ws_no_close")
	}
	if f.opcode != opClose {
		return nil
	}
	code := uint16(1005) // "no code", RFC 6455 7.1.5
	if len(f.payload) >= 2 {
		code = binary.BigEndian.Uint16(f.payload)
	}
	switch {
	case code == closeGoingAway:
		return errGoingAway
	case code == closeNormal && weClosed:
		return nil
	}
	return fail(fmt.Sprintf("ws_close_%d", code), "the server ended the session, %q", f.payload)
}

// quiet waits; the only thing that may come meanwhile is the end.
func quiet(frames <-chan frame, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case f := <-frames:
		if err := f.end(false); err != nil {
			return err
		}
		return fail("ws_altered", "a frame that nobody asked for, opcode %d", f.opcode)
	}
}

// endOf: a write failed, so the session is over; the server may have said goodbye before.
func endOf(frames <-chan frame, wrote error) error {
	f := <-frames
	if err := f.end(false); err != nil {
		return err
	}
	return failOf(wrote, "ws_no_close")
}

func readFrames(r *bufio.Reader, frames chan<- frame, over <-chan struct{}) {
	for {
		f := readFrame(r)
		select {
		case frames <- f:
		case <-over:
			return
		}
		if f.err != nil {
			return
		}
	}
}

func readFrame(r *bufio.Reader) frame {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{err: err}
	}
	size := int64(head[1])
	switch {
	case head[0]&0xF0 != 0x80 || size > 127:
		return frame{err: fail("ws_altered", "frame head %x", head)}
	case size == 126:
		var extended [2]byte
		if _, err := io.ReadFull(r, extended[:]); err != nil {
			return frame{err: err}
		}
		size = int64(binary.BigEndian.Uint16(extended[:]))
	case size == 127:
		return frame{err: fail("ws_altered", "a frame longer than any sent")}
	}
	f := frame{opcode: head[0] & 0x0F, payload: make([]byte, size)}
	_, f.err = io.ReadFull(r, f.payload)
	return f
}

func writeFrame(w io.Writer, opcode byte, payload []byte) error {
	out := []byte{0x80 | opcode}
	if n := len(payload); n < 126 {
		out = append(out, 0x80|byte(n))
	} else {
		out = binary.BigEndian.AppendUint16(append(out, 0x80|126), uint16(n))
	}
	mask := [4]byte{0x5A, 0x01, 0xC3, 0x7F}
	out = append(out, mask[:]...)
	for i, b := range payload {
		out = append(out, b^mask[i%4])
	}
	_, err := w.Write(out)
	return err
}
