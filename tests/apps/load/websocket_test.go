package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// The WebSocket server greets, and then does with each frame what the test says.
func serveWebSocket(t *testing.T, each func(n int, frame []byte, conn *net.TCPConn) (goOn bool)) *scripted {
	return serve(t, func(head string, _ int, conn *net.TCPConn, r *bufio.Reader) bool {
		_, key, _ := strings.Cut(head, "Sec-WebSocket-Key: ")
		key, _, _ = strings.Cut(key, "\r\n")
		sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"+
			"Sec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
		for n := 1; ; n++ {
			head := make([]byte, 2)
			if _, err := io.ReadFull(r, head); err != nil {
				return false
			}
			size := int(head[1] & 0x7F)
			var extended []byte
			if size == 126 {
				extended = make([]byte, 2)
				io.ReadFull(r, extended)
				size = int(binary.BigEndian.Uint16(extended))
			}
			mask, payload := make([]byte, 4), make([]byte, size)
			io.ReadFull(r, mask)
			io.ReadFull(r, payload)
			for i := range payload {
				payload[i] ^= mask[i%4]
			}
			opcode := head[0]
			if opcode == 0x89 {
				opcode = 0x8A
			}
			frame := append(append([]byte{opcode, head[1] & 0x7F}, extended...), payload...)
			if !each(n, frame, conn) {
				return false
			}
		}
	})
}

func TestEachEndOfAWebSocketIsJudged(t *testing.T) {
	const at = 3 // the frame at which something happens
	for _, c := range []struct {
		name  string
		frame string // what is sent then, in place of the echo
		goOn  bool
		want  string
	}{
		{"1001 and end", "\x88\x02\x03\xe9", ends, "ok"},
		{"1001, stays open", "\x88\x02\x03\xe9", open, "ok"},
		{"end without a close frame", "", ends, "ws_no_close"},
		{"end within a frame", "\x82\x05hel", ends, "ws_no_close"},
		{"end within a close frame", "\x88\x02\x03", ends, "ws_no_close"},
		{"1012", "\x88\x02\x03\xf4", ends, "ws_close_1012"},
		{"1000 that was not asked for", "\x88\x02\x03\xe8", ends, "ws_close_1000"},
		{"close without a code", "\x88\x00", ends, "ws_close_1005"},
		{"wrong echo", "\x81\x01x", open, "ws_altered"},
		{"masked by the server", "\x81\x81\x00\x00\x00\x00x", open, "ws_altered"},
		{"silence", "", open, "timeout"},
	} {
		c := c
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := serveWebSocket(t, func(n int, frame []byte, conn *net.TCPConn) bool {
				if n == at {
					conn.Write([]byte(c.frame))
					return c.goOn
				}
				if n < at {
					conn.Write(frame)
				}
				return true
			})
			if got := judged(t, "ws", server.addr); got != c.want {
				t.Errorf("got %q, expected %q", got, c.want)
			}
		})
	}
	t.Run("whole session", func(t *testing.T) {
		server := serveWebSocket(t, func(_ int, frame []byte, conn *net.TCPConn) bool {
			conn.Write(frame)
			return true
		})
		if got := judged(t, "ws", server.addr); got != "ok" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("no answer to the last close", func(t *testing.T) {
		server := serveWebSocket(t, func(_ int, frame []byte, conn *net.TCPConn) bool {
			if frame[0] == 0x88 {
				return false
			}
			conn.Write(frame)
			return true
		})
		if got := judged(t, "ws", server.addr); got != "ws_no_close" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("1001 between messages", func(t *testing.T) {
		server := serveWebSocket(t, func(_ int, frame []byte, conn *net.TCPConn) bool {
			conn.Write(frame)
			time.Sleep(3 * time.Millisecond) // the client is quiet now
			conn.Write([]byte("\x88\x02\x03\xe9"))
			return false
		})
		if got := judged(t, "ws", server.addr); got != "ok" {
			t.Errorf("got %q", got)
		}
	})
}
