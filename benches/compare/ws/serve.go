package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
)

const smallBody = "Hello, world!"

func serve(address string) error {
	var accepted int64
	mux := http.NewServeMux()
	mux.HandleFunc("/small", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, smallBody) })
	mux.HandleFunc("/counts", func(w http.ResponseWriter, _ *http.Request) {
		n := atomic.LoadInt64(&accepted)
		fmt.Fprintf(w, "server accepts handled requests\n %d %d 0\n", n, n)
	})
	mux.HandleFunc("/ws", echo)
	server := &http.Server{
		Addr:    address,
		Handler: mux,
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				atomic.AddInt64(&accepted, 1)
			}
		},
	}
	return server.ListenAndServe()
}

func echo(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Sec-WebSocket-Key")
	if key == "" {
		http.Error(w, "expected a WebSocket handshake", http.StatusUpgradeRequired)
		return
	}
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"+
		"Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", acceptOf(key))
	if err == nil {
		echoFrames(conn, buffered.Reader)
	}
}

// echoFrames ends after it has answered a close frame, or when the connection broke.
func echoFrames(conn net.Conn, reader *bufio.Reader) {
	payload := make([]byte, payloadBytesMax)
	out := make([]byte, 0, headBytesMax+payloadBytesMax)
	for {
		opcode, size, err := readFrame(reader, payload)
		if err != nil {
			return
		}
		if opcode == opPing {
			opcode = opPong
		}
		if _, err = conn.Write(appendFrame(out, opcode, payload[:size], nil)); err != nil || opcode == opClose {
			return
		}
	}
}
