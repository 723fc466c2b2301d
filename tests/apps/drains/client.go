package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// The client: HTTP/1.1 on bare sockets. It never sends a request twice; whatever is not the answer it wants, whole and in
// time, is an error.

// requestMax is how long an exchange may take beyond what it asks the app for. Requests that the proxy holds for longer
// count as lost.
const requestMax = 5 * time.Second

// keptMax connections are kept. Each costs the proxy memory, and one moment in which the machine does something else
// must not leave hundreds for the rest of a run.
const keptMax = 32

type client struct {
	target string
	mu     sync.Mutex
	kept   []*connection // the newest is last
}

type connection struct {
	net.Conn
	reader *bufio.Reader
}

// A request with its body, and the answer that it must get.
type request struct {
	method, path string
	seed, length int  // of the answer's body; POST sends the same
	isAlone      bool // on a connection of its own, which is closed by the proxy afterwards
	takes        time.Duration
}

func newClient(target string) *client { return &client{target: target} }

func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.kept {
		conn.Close()
	}
	c.kept = nil
}

func (c *client) connect(isAlone bool, deadline time.Time) (*connection, error) {
	if !isAlone {
		c.mu.Lock()
		if last := len(c.kept) - 1; last >= 0 {
			conn := c.kept[last]
			c.kept = c.kept[:last]
			c.mu.Unlock()
			return conn, conn.SetDeadline(deadline)
		}
		c.mu.Unlock()
	}
	raw, err := net.DialTimeout("tcp", c.target, time.Until(deadline))
	if err != nil {
		return nil, err
	}
	return newConnection(raw), raw.SetDeadline(deadline)
}

func newConnection(raw net.Conn) *connection {
	return &connection{raw, bufio.NewReaderSize(raw, 4<<10)}
}

func (c *client) keep(conn *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.kept) == keptMax {
		conn.Close()
		return
	}
	c.kept = append(c.kept, conn)
}

// exchange makes a request and says which app answered.
func (c *client) exchange(r request) (app string, err error) {
	conn, err := c.connect(r.isAlone, time.Now().Add(r.takes+requestMax))
	if err != nil {
		return "", err
	}
	app, isKept, err := conn.exchange(r)
	if err != nil || !isKept {
		conn.Close()
	} else {
		c.keep(conn)
	}
	return app, err
}

func (conn *connection) exchange(r request) (app string, isKept bool, err error) {
	if err := conn.send(r); err != nil {
		return "", false, err
	}
	return conn.receive(r)
}

func (conn *connection) send(r request) error {
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: app.test\r\n", r.method, r.target())
	if r.isAlone {
		head.WriteString("Connection: close\r\n")
	}
	if r.method == http.MethodPost {
		fmt.Fprintf(&head, "Content-Length: %d\r\n\r\n", r.length)
		head.Write(bodyOf(r.seed, r.length))
	} else {
		head.WriteString("\r\n")
	}
	_, err := conn.Write(head.Bytes())
	return err
}

func (r request) target() string {
	return fmt.Sprintf("%s?n=%d&seed=%d&ms=%d", r.path, r.length, r.seed, r.takes.Milliseconds())
}

func (conn *connection) receive(r request) (app string, isKept bool, err error) {
	response, err := http.ReadResponse(conn.reader, &http.Request{Method: r.method})
	if err != nil {
		return "", false, err
	}
	body, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return "", false, fmt.Errorf("after %d of %d bytes: %w", len(body), r.length, err)
	case response.StatusCode != http.StatusOK:
		return "", false, fmt.Errorf("status %d, x-tidegate-error %q", response.StatusCode, response.Header.Get("X-Tidegate-Error"))
	case !bytes.Equal(body, bodyOf(r.seed, r.length)):
		return "", false, fmt.Errorf("%d bytes of %d, not as they were sent", len(body), r.length)
	case conn.reader.Buffered() > 0:
		return "", false, fmt.Errorf("%d bytes behind the answer", conn.reader.Buffered())
	}
	return response.Header.Get("X-App"), !response.Close && !r.isAlone, nil
}

// tunnel upgrades, sends its bytes in so many pieces over the time, and must get them back and then an end.
func (c *client) tunnel(r request, pieces int) error {
	conn, err := c.connect(true, time.Now().Add(r.takes+requestMax))
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", r.target()); err != nil {
		return err
	}
	response, err := http.ReadResponse(conn.reader, nil)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("status %d, x-tidegate-error %q", response.StatusCode, response.Header.Get("X-Tidegate-Error"))
	}
	back := make([]byte, r.length/pieces)
	for sent := 0; sent < pieces; sent++ {
		time.Sleep(r.takes / time.Duration(pieces))
		piece := bodyOf(r.seed+sent, len(back))
		if _, err := conn.Write(piece); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn.reader, back); err != nil {
			return fmt.Errorf("piece %d of %d: %w", sent+1, pieces, err)
		}
		if !bytes.Equal(back, piece) {
			return fmt.Errorf("piece %d of %d is not as it was sent", sent+1, pieces)
		}
	}
	if more, err := conn.reader.ReadByte(); err != io.EOF {
		return fmt.Errorf("found byte %d and %v, expected the end of the tunnel", more, err)
	}
	return nil
}
