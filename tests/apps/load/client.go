package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The client: HTTP/1.1 on bare sockets. It keeps connections and reuses them, reads strictly, and never sends a
// request twice.
//
// A kept connection that the server closed while it was idle is noticed before a byte is sent, and another one is
// taken, as every client does. One that dies after that fails the request, with the reason "closed_reused": the
// server took a connection away that it had promised to keep.

const (
	idleMax       = 64              // kept connections; the oldest goes first
	idleFor       = 5 * time.Second // well under any server's keep-alive, so that the server never closes first
	freshShare    = 0.2             // of requests take a new connection although one is kept
	closeShare    = 0.5             // of those say `Connection: close`
	headBytesMax  = 64 << 10
	interimMax    = 8
	chunkBytesMax = 1 << 30
)

// failure is why an exchange did not count as ok. The reason is a word out of a small set; the detail is for people.
type failure struct{ reason, detail string }

func (f *failure) Error() string { return f.reason + ": " + f.detail }

func fail(reason, format string, args ...any) *failure {
	return &failure{reason, fmt.Sprintf(format, args...)}
}

// failOf finds the word for an error of the socket; `closed` is the word for an end where none was expected.
func failOf(err error, closed string) *failure {
	var f *failure
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fail("timeout", "%v", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fail("refused", "%v", err)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fail("reset", "%v", err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fail(closed, "the connection ended")
	}
	return fail("socket", "%v", err)
}

type client struct {
	target, host string
	counts       connectionCounts
	mu           sync.Mutex
	idle         []*connection // the newest is last
}

type connection struct {
	net.Conn
	reader    *bufio.Reader
	isReused  bool
	idleSince time.Time
}

// connectionCounts is told to the record at the end of each use.
type connectionCounts interface {
	connectionOpened()
	connectionReused()
	connectionClosedIdle()
}

func newClient(target, host string, counts connectionCounts) *client {
	return &client{target: target, host: host, counts: counts}
}

func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.idle {
		conn.Close()
	}
	c.idle = nil
}

// connect takes a kept connection, or opens one when none is usable or when a fresh one is wanted.
func (c *client) connect(wantFresh bool, deadline time.Time) (*connection, error) {
	for !wantFresh {
		conn := c.takeIdle()
		if conn == nil {
			break
		}
		switch pending, err := peek(conn.Conn); {
		case pending > 0:
			conn.Close()
			return nil, fail("late_bytes", "bytes came on an idle connection")
		case err != nil:
			conn.Close()
			c.counts.connectionClosedIdle()
		default:
			conn.isReused = true
			c.counts.connectionReused()
			return conn, conn.SetDeadline(deadline)
		}
	}
	raw, err := net.DialTimeout("tcp", c.target, time.Until(deadline))
	if err != nil {
		return nil, err
	}
	c.counts.connectionOpened()
	return &connection{Conn: raw, reader: bufio.NewReaderSize(raw, 8<<10)}, raw.SetDeadline(deadline)
}

func (c *client) takeIdle() *connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.idle) > 0 {
		conn := c.idle[len(c.idle)-1]
		c.idle = c.idle[:len(c.idle)-1]
		if time.Since(conn.idleSince) < idleFor {
			return conn
		}
		conn.Close()
	}
	return nil
}

func (c *client) keep(conn *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn.idleSince = time.Now()
	c.idle = append(c.idle, conn)
	for len(c.idle) > idleMax || time.Since(c.idle[0].idleSince) >= idleFor {
		c.idle[0].Close()
		c.idle = c.idle[1:]
	}
}

// peek looks at an idle connection without waiting: bytes that are there, or io.EOF once the server has closed it.
func peek(conn net.Conn) (pending int, err error) {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var n int
	var received error
	if err := raw.Control(func(fd uintptr) {
		n, _, received = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}); err != nil {
		return 0, err
	}
	if received == syscall.EAGAIN {
		return 0, nil
	}
	if received == nil && n == 0 {
		return 0, io.EOF
	}
	return n, received
}

// field is one line of a head.
type field struct{ name, value string }

// answer is a response whose head has been read. Its body must be read to its io.EOF.
type answer struct {
	status     int
	fields     []field
	body       io.Reader
	mayBeReuse bool
}

func (a *answer) values(name string) (values []string) {
	for _, f := range a.fields {
		if strings.EqualFold(f.name, name) {
			values = append(values, f.value)
		}
	}
	return values
}

func (a *answer) value(name string) string {
	return strings.Join(a.values(name), ", ")
}

func (a *answer) hasToken(name, token string) bool {
	for _, part := range strings.Split(a.value(name), ",") {
		if strings.EqualFold(strings.TrimSpace(part), token) {
			return true
		}
	}
	return false
}

// readAnswer reads heads until the final one; interim answers (1xx but 101) are passed over.
func readAnswer(conn *connection) (*answer, error) {
	closed := "closed"
	if conn.isReused {
		closed = "closed_reused"
	}
	if _, err := conn.reader.Peek(1); err != nil {
		return nil, failOf(err, closed)
	}
	for i := 0; i < interimMax; i++ {
		a, err := readHead(conn.reader)
		if err != nil {
			return nil, failOf(err, "short_head")
		}
		if a.status >= 200 || a.status == 101 {
			return a, a.setBody(conn.reader)
		}
	}
	return nil, fail("bad_head", "more than %d interim answers", interimMax)
}

func readHead(r *bufio.Reader) (*answer, error) {
	line, err := readLine(r, headBytesMax)
	if err != nil {
		return nil, err
	}
	version, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	status, err := strconv.Atoi(code)
	if (version != "HTTP/1.1" && version != "HTTP/1.0") || len(code) != 3 || err != nil || status < 100 {
		return nil, fail("bad_head", "status line %q", line)
	}
	a := &answer{status: status, mayBeReuse: version == "HTTP/1.1"}
	for left := headBytesMax - len(line); ; {
		line, err := readLine(r, left)
		if err != nil {
			return nil, err
		}
		if line == "" {
			return a, nil
		}
		left -= len(line)
		name, value, found := strings.Cut(line, ":")
		if !found || !isToken(name) {
			return nil, fail("bad_head", "field line %q", line)
		}
		a.fields = append(a.fields, field{name, strings.Trim(value, " \t")})
	}
}

// setBody decides how the body is framed, and refuses what two readers could read differently.
func (a *answer) setBody(r *bufio.Reader) error {
	if a.hasToken("Connection", "close") {
		a.mayBeReuse = false
	}
	lengths, codings := a.values("Content-Length"), a.values("Transfer-Encoding")
	switch {
	case a.status == 204 || a.status == 304 || a.status < 200:
		a.body = strings.NewReader("")
	case len(lengths) > 1 || len(codings) > 1 || len(lengths)+len(codings) > 1:
		return fail("bad_framing", "lengths %q, codings %q", lengths, codings)
	case len(codings) == 1:
		if !strings.EqualFold(codings[0], "chunked") {
			return fail("bad_framing", "coding %q", codings[0])
		}
		a.body = &chunkedBody{r: r}
	case len(lengths) == 1:
		n, err := parseDigits(lengths[0], 10)
		if err != nil {
			return fail("bad_framing", "length %q", lengths[0])
		}
		a.body = &lengthBody{r: r, left: n}
	default:
		a.mayBeReuse = false
		a.body = r
	}
	return nil
}

// lengthBody ends with io.EOF only when all its bytes were read.
type lengthBody struct {
	r    *bufio.Reader
	left int64
}

func (b *lengthBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	if err != nil {
		f := failOf(err, "short_body")
		f.detail += fmt.Sprintf(" %d bytes early", b.left)
		return n, f
	}
	return n, nil
}

// chunkedBody ends with io.EOF only after the last chunk, the trailers and the empty line.
type chunkedBody struct {
	r    *bufio.Reader
	left int64 // of the chunk being read
	done bool
}

func (b *chunkedBody) Read(p []byte) (int, error) {
	if b.done {
		return 0, io.EOF
	}
	if b.left == 0 {
		if err := b.nextChunk(); err != nil {
			return 0, failOf(err, "short_body")
		}
		if b.done {
			return 0, io.EOF
		}
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	if err == nil && b.left == 0 {
		var line string
		if line, err = readLine(b.r, 2); err == nil && line != "" {
			err = fail("bad_framing", "%q after a chunk", line)
		}
	}
	if err != nil {
		return n, failOf(err, "short_body")
	}
	return n, nil
}

func (b *chunkedBody) nextChunk() error {
	line, err := readLine(b.r, 256)
	if err != nil {
		return err
	}
	digits, _, _ := strings.Cut(line, ";")
	size, err := parseDigits(strings.TrimRight(digits, " \t"), 16)
	if err != nil || size > chunkBytesMax {
		return fail("bad_framing", "chunk size %q", line)
	}
	if b.left = size; size > 0 {
		return nil
	}
	for left := headBytesMax; ; {
		trailer, err := readLine(b.r, left)
		if err != nil {
			return err
		}
		if trailer == "" {
			b.done = true
			return nil
		}
		left -= len(trailer)
		if name, _, found := strings.Cut(trailer, ":"); !found || !isToken(name) {
			return fail("bad_framing", "trailer %q", trailer)
		}
	}
}

// readLine returns a line without its CRLF; a bare CR or LF is refused.
func readLine(r *bufio.Reader, bytesMax int) (string, error) {
	var line []byte
	for {
		b, err := r.ReadByte()
		if err != nil {
			return "", err
		}
		if b == '\n' {
			break
		}
		if line = append(line, b); len(line) > bytesMax {
			return "", fail("bad_framing", "a line of more than %d bytes: %.40q", bytesMax, line)
		}
	}
	text := strings.TrimSuffix(string(line), "\r")
	if len(text) == len(line) || strings.ContainsAny(text, "\r\x00") {
		return "", fail("bad_framing", "a line that does not end in one CRLF: %.40q", line)
	}
	return text, nil
}

// parseDigits takes digits only: no sign, no space, no underscore, no prefix.
func parseDigits(text string, base int) (int64, error) {
	if strings.ContainsAny(text, "+-_xX") {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseInt(text, base, 63)
}

func isToken(name string) bool {
	for i := 0; i < len(name); i++ {
		c := name[i]
		isAlphanumeric := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !isAlphanumeric && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return name != ""
}
