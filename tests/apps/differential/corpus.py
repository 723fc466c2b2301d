"""What is sent: requests by a client, answers by a backend, each with what the proxy must do with it.

A request is wanted ACCEPTed, REFUSEd, or EITHER: then only the other proxies and the strict reader judge. An answer is
GOOD (must arrive whole), BAD (must be told as an error or look cut), or EITHER. EXPLAINED names the cases in which the
proxy knowingly does not refuse what nginx or HAProxy refuses.
"""

from dataclasses import dataclass

ACCEPT, REFUSE, GOOD, BAD, EITHER = "accept", "refuse", "good", "bad", "either"


@dataclass(frozen=True)
class Request:
    name: str
    want: str
    raw: bytes
    count: int = 1  # requests in it, if it is accepted
    absent: tuple = ()  # fields that must not reach the backend


@dataclass(frozen=True)
class Answer:
    name: str
    want: str
    raw: bytes
    then: str = "keep"  # the connection: keep, close, reset
    method: str = "GET"
    body: bytes = b"hello"  # what the client must get of a good one
    absent: tuple = ()


REQUESTS = []
ANSWERS = []
HOST = "Host: app"
EVIL = "GET /smuggled HTTP/1.1\r\nHost: app\r\n\r\n"


def case(name, want, text, **more):
    raw = text if isinstance(text, bytes) else text.encode("latin-1")
    REQUESTS.append(Request(name, want, raw, **more))


def head(*lines):
    return "\r\n".join([*lines, "", ""])


def get(*fields, target="/", body=""):
    return head(f"GET {target} HTTP/1.1", HOST, *fields) + body


def post(*fields, body="hello"):
    return head("POST / HTTP/1.1", HOST, *fields) + body


def chunked(body):
    return post("Transfer-Encoding: chunked", body=body)


# --- requests: plain ones, so that refusing everything does not pass ---------------------------------------------

case("plain get", ACCEPT, get())
case("plain post", ACCEPT, post("Content-Length: 5"))
case("empty post", ACCEPT, post("Content-Length: 0", body=""))
case("post without a length", ACCEPT, post(body=""))
case("get with a body", ACCEPT, get("Content-Length: 5", body="hello"))
case("body that looks like a request", ACCEPT, post(f"Content-Length: {len(EVIL)}", body=EVIL))
case("delete in chunks", ACCEPT, head("DELETE / HTTP/1.1", HOST, "Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n")
case("own method", ACCEPT, head("PURGE / HTTP/1.1", HOST))
case("head", ACCEPT, head("HEAD / HTTP/1.1", HOST))
case("two in a row", ACCEPT, get() + get(), count=2)
case("post and get in a row", ACCEPT, post("Content-Length: 5") + get(), count=2)
case("chunks and get in a row", ACCEPT, chunked("5\r\nhello\r\n0\r\n\r\n") + get(), count=2)
case("expect 100-continue", ACCEPT, post("Content-Length: 5", "Expect: 100-continue"))
case("expect something else", EITHER, post("Content-Length: 5", "Expect: a-miracle"))
case("query", ACCEPT, get(target="/a/b?c=d&e=%20f"))
case("host with a port", ACCEPT, head("GET / HTTP/1.1", "Host: app:8080"))
case("host is IPv6", ACCEPT, head("GET / HTTP/1.1", "Host: [::1]:8080"))
case("HTTP/1.0", ACCEPT, head("GET / HTTP/1.0", HOST))
case("HTTP/1.0 without a host", EITHER, head("GET / HTTP/1.0"))
case("HTTP/1.0 with keep-alive", ACCEPT, head("GET / HTTP/1.0", HOST, "Connection: keep-alive"))
case("value with a tab", ACCEPT, get("X-A: a\tb"))
case("value with bytes over 127", ACCEPT, get("X-A: caf\xe9"))
case("empty value", ACCEPT, get("X-A:"))
case("no space behind the colon", ACCEPT, get("X-A:b"))
case("spaces around a value", ACCEPT, get("X-A:  b  "))
case("field of 6,000 bytes", ACCEPT, get("X-A: " + "a" * 6000))
case("empty line in front", EITHER, "\r\n" + get())
case("three empty lines in front", EITHER, "\r\n\r\n\r\n" + get())

# --- requests: line ends and control bytes -----------------------------------------------------------------------

case("only LF", REFUSE, get().replace("\r\n", "\n"))
case("LF behind the request line", REFUSE, "GET / HTTP/1.1\nHost: app\r\n\r\n")
case("LF behind a field", REFUSE, "GET / HTTP/1.1\r\nHost: app\nX-A: b\r\n\r\n")
case("LF as the empty line", REFUSE, "GET / HTTP/1.1\r\nHost: app\r\n\n")
case("CR in a value", REFUSE, get("X-A: b\rX-C: d"))
case("CR in front of CRLF", REFUSE, get("X-A: b\r"))
case("CR in a name", REFUSE, get("X\r-A: b"))
case("CR in the request line", REFUSE, get(target="/\r"))
case("CR at the start of a field", REFUSE, get("\rX-A: b"))
case("NUL in a value", REFUSE, get("X-A: b\0c"))
case("NUL in a name", REFUSE, get("X\0A: b"))
case("NUL in the target", REFUSE, get(target="/a\0b"))
case("NUL in the method", REFUSE, head("GE\0T / HTTP/1.1", HOST))
case("0x01 in a value", EITHER, get("X-A: b\x01c"))
case("0x0b in a value", EITHER, get("X-A: b\x0bc"))
case("DEL in a value", EITHER, get("X-A: b\x7fc"))
case("fold", REFUSE, get("X-A: b", " c"))
case("fold with a tab", REFUSE, get("X-A: b", "\tc"))
case("fold behind the request line", REFUSE, head("GET / HTTP/1.1", " X-A: b", HOST))
case("fold of only spaces", REFUSE, get("X-A: b", "  "))
case("fold in the coding", REFUSE, post("Transfer-Encoding:", " chunked", body="0\r\n\r\n"))
case("fold in the length", REFUSE, post("Content-Length:", " 5"))

# --- requests: names ---------------------------------------------------------------------------------------------

case("space in front of the colon", REFUSE, get("X-A : b"))
case("tab in front of the colon", REFUSE, get("X-A\t: b"))
case("space in front of the host's colon", REFUSE, head("GET / HTTP/1.1", "Host : app"))
case("space in a name", REFUSE, get("X A: b"))
case("no colon", REFUSE, get("X-A"))
case("empty name", REFUSE, get(": b"))
case("parenthesis in a name", REFUSE, get("X(A: b"))
case("at sign in a name", REFUSE, get("X@A: b"))
case("quote in a name", REFUSE, get('X"A: b'))
case("slash in a name", REFUSE, get("X/A: b"))
case("bracket in a name", REFUSE, get("X[A: b"))
case("name with bytes over 127", REFUSE, get("X-\xe9: b"))
case("name with 0x01", REFUSE, get("X\x01A: b"))
case("name with DEL", REFUSE, get("X\x7fA: b"))
case("underscore in a name", ACCEPT, get("X_Forwarded_For: 1.2.3.4"), absent=("x_forwarded_for",))
case("length with an underscore", ACCEPT, post("Content_Length: 9", "Content-Length: 5"), absent=("content_length",))
case("coding with an underscore", ACCEPT, post("Transfer_Encoding: chunked", "Content-Length: 5"), absent=("transfer_encoding",))
case("101 fields", REFUSE, get(*[f"X-{n}: 1" for n in range(100)]))
case("head of 40 KiB", REFUSE, get(*[f"X-{n}: " + "a" * 4000 for n in range(10)]))

# --- requests: lengths -------------------------------------------------------------------------------------------

for name, value in {
    "plus": "+5", "minus": "-5", "hexadecimal": "0x5", "two numbers": "5 5", "list": "5, 5", "list of two": "5, 6",
    "comma behind": "5,", "comma in front": ",5", "semicolon": "5;", "empty": "", "letters": "five", "fraction": "5.0",
    "exponent": "5e0", "quoted": '"5"', "underscore": "5_0", "over 2^64": "18446744073709551621",
    "30 digits": "1" * 30, "vertical tab": "\x0b5", "bytes over 127": "\xb2", "NUL behind": "5\0",
}.items():
    case(f"length: {name}", REFUSE, post(f"Content-Length: {value}"))
case("length: over 2^63", REFUSE, post("Content-Length: 9223372036854775813"))
case("length: leading zeros", EITHER, post("Content-Length: 0005"))
case("length: tab around", ACCEPT, post("Content-Length:\t5\t"))
case("length: twice the same", REFUSE, post("Content-Length: 5", "Content-Length: 5"))
case("length: twice", REFUSE, post("Content-Length: 5", "Content-Length: 6"))
case("length: zero, then five", REFUSE, post("Content-Length: 0", "Content-Length: 5"))
case("length: other case, twice", REFUSE, post("content-length: 5", "CONTENT-LENGTH: 0"))
case("length: bad, on a get", REFUSE, get("Content-Length: x"))
case("length: space in front of the colon", REFUSE, post("Content-Length : 5"))
case("length and coding", REFUSE, post("Content-Length: 5", "Transfer-Encoding: chunked", body="0\r\n\r\n" + EVIL))
case("coding and length", REFUSE, post("Transfer-Encoding: chunked", "Content-Length: 5", body="0\r\n\r\n" + EVIL))
case("length 0 and coding", REFUSE, post("Content-Length: 0", "Transfer-Encoding: chunked", body="0\r\n\r\n"))
case("length and identity", REFUSE, post("Content-Length: 5", "Transfer-Encoding: identity"))

# --- requests: codings -------------------------------------------------------------------------------------------

case("coding: capital", ACCEPT, post("Transfer-Encoding: Chunked", body="5\r\nhello\r\n0\r\n\r\n"))
case("coding: tabs around", ACCEPT, post("Transfer-Encoding:\tchunked\t", body="5\r\nhello\r\n0\r\n\r\n"))
for name, value in {
    "twice in a list": "chunked, chunked", "gzip in front": "gzip, chunked", "gzip behind": "chunked, gzip",
    "gzip": "gzip", "identity": "identity", "identity in front": "identity, chunked", "prefix": "xchunked",
    "suffix": "chunkedx", "parameter": "chunked;q=1", "quoted": '"chunked"', "vertical tab": "\x0bchunked",
    "NUL behind": "chunked\0", "empty": "", "comma in front": ", chunked", "comma behind": "chunked,",
    "space inside": "chun ked", "bytes over 127": "chunked\xa0", "semicolon": "chunked;",
}.items():
    case(f"coding: {name}", REFUSE, post(f"Transfer-Encoding: {value}", body="0\r\n\r\n"))
case("coding: twice", REFUSE, post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body="0\r\n\r\n"))
case("coding: chunked, then identity", REFUSE, post("Transfer-Encoding: chunked", "Transfer-Encoding: identity", body="0\r\n\r\n"))
case("coding: space in front of the colon", REFUSE, post("Transfer-Encoding : chunked", body="0\r\n\r\n"))
case("coding: bare CR in front", REFUSE, post("Transfer-Encoding: \rchunked", body="0\r\n\r\n"))
case("coding: hidden behind LF", REFUSE, post("X-A: b\nTransfer-Encoding: chunked", "Content-Length: 5"))
case("coding: HTTP/1.0", REFUSE, head("POST / HTTP/1.0", HOST, "Transfer-Encoding: chunked") + "0\r\n\r\n")
case("coding: HTTP/1.0 with keep-alive", REFUSE,
     head("POST / HTTP/1.0", HOST, "Connection: keep-alive", "Transfer-Encoding: chunked") + "0\r\n\r\n")
case("coding: on a get", ACCEPT, get("Transfer-Encoding: chunked", body="5\r\nhello\r\n0\r\n\r\n"))

# --- requests: chunks --------------------------------------------------------------------------------------------

case("chunks", ACCEPT, chunked("5\r\nhello\r\nA\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"))
case("chunks: extension", ACCEPT, chunked("5;a=b\r\nhello\r\n0\r\n\r\n"))
case("chunks: quoted extension", EITHER, chunked('5;a="b;c"\r\nhello\r\n0\r\n\r\n'))
case("chunks: trailer", ACCEPT, chunked("5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"))
case("chunks: leading zeros", EITHER, chunked("0005\r\nhello\r\n0\r\n\r\n"))
case("chunks: 40 leading zeros", EITHER, chunked("0" * 40 + "5\r\nhello\r\n0\r\n\r\n"))
for name, size in {
    "hexadecimal prefix": "0x5", "plus": "+5", "minus": "-5", "space in front": " 5", "empty": "", "letters": "zz",
    "over 2^64": "10000000000000005", "underscore": "5_", "NUL": "5\0", "vertical tab": "5\x0b", "comma": "5,5",
}.items():
    case(f"chunks: size with {name}", REFUSE, chunked(f"{size}\r\nhello\r\n0\r\n\r\n"))
case("chunks: space behind the size", EITHER, chunked("5 \r\nhello\r\n0\r\n\r\n"))
case("chunks: LF behind the size", REFUSE, chunked("5\nhello\r\n0\r\n\r\n"))
case("chunks: CR behind the size", REFUSE, chunked("5\rhello\r\n0\r\n\r\n"))
case("chunks: LF in an extension", REFUSE, chunked("5;a\nb\r\nhello\r\n0\r\n\r\n"))
case("chunks: CR in an extension", REFUSE, chunked("5;a\rb\r\nhello\r\n0\r\n\r\n"))
case("chunks: NUL in an extension", EITHER, chunked("5;a\0b\r\nhello\r\n0\r\n\r\n"))
case("chunks: LF behind the data", REFUSE, chunked("5\r\nhello\n0\r\n\r\n"))
case("chunks: nothing behind the data", REFUSE, chunked("5\r\nhello0\r\n\r\n"))
case("chunks: longer than said", REFUSE, chunked("4\r\nhello\r\n0\r\n\r\n"))
case("chunks: LF behind the last", REFUSE, chunked("5\r\nhello\r\n0\n\n"))
case("chunks: LF as the empty line", REFUSE, chunked("5\r\nhello\r\n0\r\n\n"))
case("chunks: trailer without a colon", REFUSE, chunked("5\r\nhello\r\n0\r\nX\r\n\r\n"))
case("chunks: trailer with LF", REFUSE, chunked("5\r\nhello\r\n0\r\nX: 1\n\r\n"))
case("chunks: trailer with a fold", EITHER, chunked("5\r\nhello\r\n0\r\nX: 1\r\n 2\r\n\r\n"))
case("chunks: length as a trailer", EITHER, chunked("5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n"))
case("chunks: coding as a trailer", EITHER, chunked("5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"))
case("chunks: host as a trailer", EITHER, chunked("5\r\nhello\r\n0\r\nHost: other\r\n\r\n"))
case("chunks: request line as a trailer", REFUSE, chunked("5\r\nhello\r\n0\r\n" + EVIL))
case("chunks: trailers of 100 KiB", EITHER, chunked("5\r\nhello\r\n0\r\n" + "X: " + "a" * 102_400 + "\r\n\r\n"))
case("chunks: extension of 100 KiB", EITHER, chunked("5;" + "a" * 102_400 + "\r\nhello\r\n0\r\n\r\n"))

# --- requests: the request line ----------------------------------------------------------------------------------

for name, line in {
    "HTTP/0.9": "GET /", "no target": "GET HTTP/1.1", "empty target": "GET  HTTP/1.1", "two spaces": "GET  / HTTP/1.1",
    "space in the target": "GET /a b HTTP/1.1", "tab as a space": "GET\t/\tHTTP/1.1", "tab in the target": "GET /\ta HTTP/1.1",
    "space in front": " GET / HTTP/1.1", "space behind": "GET / HTTP/1.1 ", "no method": "/ HTTP/1.1",
    "method with a parenthesis": "G(T / HTTP/1.1", "method with a colon": "GET: / HTTP/1.1",
    "method with bytes over 127": "G\xc9T / HTTP/1.1", "version in small letters": "GET / http/1.1",
    "version with a letter": "GET / HTTP/1.1x", "version HTTP/11": "GET / HTTP/11", "version with a space": "GET / HTTP/ 1.1",
    "version HTTP/1.10": "GET / HTTP/1.10", "version HTTP/1.": "GET / HTTP/1.", "version HTTP/0.9": "GET / HTTP/0.9",
    "version HTTP/2.0": "GET / HTTP/2.0", "version HTTP/3.1": "GET / HTTP/3.1", "other protocol": "GET / ICY/1.1",
    "no slash": "GET app HTTP/1.1", "target is a dot": "GET . HTTP/1.1", "DEL in the target": "GET /\x7f HTTP/1.1",
    "0x01 in the target": "GET /\x01 HTTP/1.1", "target of 9,000 bytes": f"GET /{'a' * 9000} HTTP/1.1",
    "star with get": "GET * HTTP/1.1", "connect": "CONNECT app:443 HTTP/1.1", "connect to a path": "CONNECT / HTTP/1.1",
    "absolute form, other host": "GET http://other/ HTTP/1.1", "absolute form, no host": "GET http:/// HTTP/1.1",
    "absolute form, no slashes": "GET http:app HTTP/1.1", "only a query": "GET ?a HTTP/1.1",
    "fragment": "GET /a#b HTTP/1.1", "fragment in the query": "GET /?a#b HTTP/1.1",
}.items():
    case(f"line: {name}", REFUSE, head(line, HOST))
for name, line in {
    "version HTTP/1.2": "GET / HTTP/1.2", "method in small letters": "get / HTTP/1.1", "bytes over 127": "GET /\xe9 HTTP/1.1",
    "quote": 'GET /"a" HTTP/1.1',
    "backslash": "GET /a\\b HTTP/1.1", "braces": "GET /{a}|^` HTTP/1.1", "two slashes": "GET //a HTTP/1.1",
    "dots": "GET /../../a HTTP/1.1", "encoded dots": "GET /%2e%2e/a HTTP/1.1", "encoded NUL": "GET /%00 HTTP/1.1",
    "bad escape": "GET /%zz HTTP/1.1", "trace": "TRACE / HTTP/1.1",
    "absolute form with a user": "GET http://u@app/ HTTP/1.1", "absolute form, other scheme": "GET ftp://app/ HTTP/1.1",
    "absolute form with a port": "GET http://app:80/ HTTP/1.1", "absolute form in capitals": "GET HTTP://APP/ HTTP/1.1",
    "absolute form without a path": "GET http://app HTTP/1.1", "long method": f"{'M' * 200} / HTTP/1.1",
}.items():
    case(f"line: {name}", EITHER, head(line, HOST))
case("line: absolute form", ACCEPT, head("GET http://app/a HTTP/1.1", HOST))
case("line: options star", EITHER, head("OPTIONS * HTTP/1.1", HOST))
case("line: preface of HTTP/2", REFUSE, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\0\0\0\4\0\0\0\0\0")
case("line: a TLS hello", REFUSE, "\x16\x03\x01\x00\x05hello\r\n\r\n")
case("line: noise", REFUSE, "\xff\xfe\xfd\r\n\r\n")

# --- requests: hosts ---------------------------------------------------------------------------------------------

case("host: missing", REFUSE, head("GET / HTTP/1.1", "X-A: b"))
case("host: twice", REFUSE, get("Host: other"))
case("host: twice the same", REFUSE, get(HOST))
case("host: empty", EITHER, head("GET / HTTP/1.1", "Host:"))
for name, value in {
    "space": "a b", "list": "app, other", "path": "app/x", "user": "u@app", "scheme": "http://app", "NUL": "a\0b",
    "tab": "a\tb", "port of letters": "app:x", "two ports": "app:1:2", "open bracket": "[::1", "bracket behind": "[::1]x",
    "quote": 'a"b', "backslash": "a\\b", "query": "app?x", "fragment": "app#x", "0x01": "a\x01b", "bytes over 127": "\xe9pp",
    "angle bracket": "<app>", "IPv6 without brackets": "::1", "only a port": ":80",
}.items():
    case(f"host: {name}", REFUSE, head("GET / HTTP/1.1", f"Host: {value}"))
for name, value in {
    "port over 65535": "app:99999", "empty port": "app:", "percent": "a%20b", "two dots": "a..b", "dot in front": ".app",
    "underscore": "a_b",
}.items():
    case(f"host: {name}", EITHER, head("GET / HTTP/1.1", f"Host: {value}"))

# --- requests: fields for one hop, fields of ours ----------------------------------------------------------------

case("hop: named in connection", ACCEPT, get("Connection: X-Drop", "X-Drop: 1"), absent=("x-drop",))
case("hop: named among others", ACCEPT, get("Connection: close, x-drop , keep-alive", "X-Drop: 1"), absent=("x-drop",))
case("hop: named in a second connection", ACCEPT, get("Connection: keep-alive", "Connection: X-Drop", "X-Drop: 1"), absent=("x-drop",))
case("hop: length named", EITHER, post("Connection: Content-Length", "Content-Length: 5"))
case("hop: coding named", EITHER, post("Connection: Transfer-Encoding", "Transfer-Encoding: chunked", body="5\r\nhello\r\n0\r\n\r\n"))
case("hop: host named", EITHER, get("Connection: Host"))
case("hop: keep-alive and proxy-connection", ACCEPT, get("Keep-Alive: timeout=5", "Proxy-Connection: keep-alive"),
     absent=("keep-alive", "proxy-connection"))
case("hop: te", ACCEPT, get("TE: gzip", "Connection: TE"))
case("hop: h2c", ACCEPT, get("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
     absent=("upgrade", "http2-settings"))
case("hop: upgrade that is not taken, then a request", EITHER,
     get("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==") + get(), count=2)
case("ours: proxy", ACCEPT, get("Proxy: evil:80"), absent=("proxy",))
case("ours: x-tidegate", ACCEPT, get("X-Tidegate-Error: no_backend"), absent=("x-tidegate-error",))

# --- requests: not whole -----------------------------------------------------------------------------------------

case("not whole: head", EITHER, "GET / HTTP/1.1\r\nHost: app\r\n", count=0)
case("not whole: body", EITHER, post("Content-Length: 9"), count=0)
case("not whole: chunk", EITHER, chunked("9\r\nhello"), count=0)
case("not whole: last chunk", EITHER, chunked("5\r\nhello\r\n0\r\n"), count=0)


# --- answers -----------------------------------------------------------------------------------------------------

HELLO = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def answer(name, want, text, **more):
    raw = text if isinstance(text, bytes) else text.encode("latin-1")
    ANSWERS.append(Answer(name, want, raw, **more))


def ok(*fields, body="hello", line="HTTP/1.1 200 OK"):
    return head(line, *fields) + body


def in_chunks(body):
    return ok("Transfer-Encoding: chunked", body=body)


answer("length", GOOD, HELLO)
answer("chunks", GOOD, in_chunks("5\r\nhello\r\n0\r\n\r\n"))
answer("chunks with an extension", GOOD, in_chunks("5;a=b\r\nhello\r\n0\r\n\r\n"))
answer("chunks with a trailer", GOOD, in_chunks("5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"))
answer("until the end", GOOD, ok(), then="close")
answer("HTTP/1.0 until the end", GOOD, ok(line="HTTP/1.0 200 OK"), then="close")
answer("HTTP/1.0 with a length", GOOD, ok("Content-Length: 5", line="HTTP/1.0 200 OK"), then="close")
answer("no reason", GOOD, ok("Content-Length: 5", line="HTTP/1.1 200 "))
answer("no reason, no space", EITHER, ok("Content-Length: 5", line="HTTP/1.1 200"))
answer("reason with bytes over 127", GOOD, ok("Content-Length: 5", line="HTTP/1.1 200 caf\xe9"))
answer("value with bytes over 127", GOOD, ok("Content-Length: 5", "X-A: caf\xe9"))
answer("empty value", GOOD, ok("Content-Length: 5", "X-A:"))
answer("head", GOOD, ok("Content-Length: 5", body=""), method="HEAD", body=b"")
answer("head in chunks", GOOD, ok("Transfer-Encoding: chunked", body=""), method="HEAD", body=b"")
answer("204", GOOD, ok(body="", line="HTTP/1.1 204 No Content"), body=b"")
answer("304 with a length", GOOD, ok("Content-Length: 5", body="", line="HTTP/1.1 304 Not Modified"), body=b"")
answer("100 in front", GOOD, head("HTTP/1.1 100 Continue") + HELLO)
answer("103 in front", GOOD, head("HTTP/1.1 103 Early Hints", "Link: </a>") + HELLO)
answer("30 of 103 in front", EITHER, head("HTTP/1.1 103 Early Hints", "Link: </a>") * 30 + HELLO)
answer("field named in connection", GOOD, ok("Connection: X-Drop", "X-Drop: 1", "Content-Length: 5"), absent=("x-drop",))
answer("keep-alive", GOOD, ok("Keep-Alive: timeout=5", "Content-Length: 5"), absent=("keep-alive",))

# What comes behind a whole answer must reach nobody: the next request would take it for its own.
FAKE = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
answer("bytes behind it", GOOD, HELLO + "evil")
answer("an answer behind it", GOOD, HELLO + FAKE)
answer("an answer behind chunks", GOOD, in_chunks("5\r\nhello\r\n0\r\n\r\n") + FAKE)
answer("an answer behind 204", GOOD, ok(body="", line="HTTP/1.1 204 No Content") + FAKE, body=b"")
answer("an answer behind 304", GOOD, ok(body="", line="HTTP/1.1 304 Not Modified") + FAKE, body=b"")
answer("an answer behind that of head", GOOD, ok("Content-Length: 5", body="") + FAKE, method="HEAD", body=b"")
answer("a body behind that of head", GOOD, HELLO, method="HEAD", body=b"")
answer("204 with a length", EITHER, ok("Content-Length: 5", line="HTTP/1.1 204 No Content"), body=b"")
answer("204 in chunks", EITHER, ok("Transfer-Encoding: chunked", line="HTTP/1.1 204 No Content", body="0\r\n\r\n"), body=b"")

# Cut.
answer("nothing", BAD, "", then="close")
answer("nothing, reset", BAD, "", then="reset")
answer("half a status line", BAD, "HTTP/1.1 2", then="close")
answer("half a head", BAD, "HTTP/1.1 200 OK\r\nContent-Le", then="close")
answer("head without its empty line", BAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", then="close")
answer("short of its length", BAD, ok("Content-Length: 9"), then="close")
answer("short of its length, reset", BAD, ok("Content-Length: 9"), then="reset")
answer("no last chunk", BAD, in_chunks("5\r\nhello\r\n"), then="close")
answer("no last chunk, reset", BAD, in_chunks("5\r\nhello\r\n"), then="reset")
answer("short chunk", BAD, in_chunks("9\r\nhello"), then="close")
answer("last chunk without its empty line", BAD, in_chunks("5\r\nhello\r\n0\r\n"), then="close")
answer("100 and no more", BAD, head("HTTP/1.1 100 Continue"), then="close")

# Lengths and codings.
answer("length and coding", BAD, ok("Content-Length: 5", "Transfer-Encoding: chunked", body="5\r\nhello\r\n0\r\n\r\n"))
answer("two lengths", BAD, ok("Content-Length: 5", "Content-Length: 6"), then="close")
answer("twice the same length", EITHER, ok("Content-Length: 5", "Content-Length: 5"))
answer("list of the same length", EITHER, ok("Content-Length: 5, 5"))
for name, value in {
    "plus": "+5", "minus": "-5", "hexadecimal": "0x5", "letters": "five", "empty": "", "two numbers": "5 5", "list": "5, 6",
    "over 2^64": "18446744073709551621", "semicolon": "5;",
}.items():
    answer(f"length: {name}", BAD, ok(f"Content-Length: {value}"), then="close")
for name, value in {
    "prefix": "xchunked", "gzip": "gzip", "identity": "identity", "gzip behind": "chunked, gzip", "twice": "chunked, chunked",
    "gzip in front": "gzip, chunked", "vertical tab": "\x0bchunked",
}.items():
    answer(f"coding: {name}", BAD, ok(f"Transfer-Encoding: {value}", body="5\r\nhello\r\n0\r\n\r\n"), then="close")
answer("coding: HTTP/1.0", EITHER, ok("Transfer-Encoding: chunked", line="HTTP/1.0 200 OK", body="5\r\nhello\r\n0\r\n\r\n"), then="close")
for name, size in {
    "hexadecimal prefix": "0x5", "plus": "+5", "minus": "-5", "letters": "zz", "over 2^64": "10000000000000005", "empty": "",
}.items():
    answer(f"chunks: size with {name}", BAD, in_chunks(f"{size}\r\nhello\r\n0\r\n\r\n"), then="close")
answer("chunks: nothing behind the data", BAD, in_chunks("5\r\nhello0\r\n\r\n"), then="close")
answer("chunks: longer than said", BAD, in_chunks("4\r\nhello\r\n0\r\n\r\n"), then="close")
answer("chunks: LF behind the size", EITHER, in_chunks("5\nhello\r\n0\r\n\r\n"), then="close")

# Heads.
for name, line in {
    "noise": "hello", "HTTP/2 frame": "\0\0\0\4\0\0\0\0\0", "status of two digits": "HTTP/1.1 20 OK",
    "status of four digits": "HTTP/1.1 2000 OK", "status of letters": "HTTP/1.1 abc OK", "status 099": "HTTP/1.1 099 OK",
    "no status": "HTTP/1.1", "no space": "HTTP/1.1200 OK", "version HTTP/2.0": "HTTP/2.0 200 OK", "version HTTP/9.9": "HTTP/9.9 200 OK",
    "small letters": "http/1.1 200 OK", "other protocol": "ICY 200 OK", "NUL in the reason": "HTTP/1.1 200 O\0K",
    "CR in the reason": "HTTP/1.1 200 O\rK", "space in front": " HTTP/1.1 200 OK",
}.items():
    answer(f"line: {name}", BAD, ok("Content-Length: 5", line=line), then="close")
answer("101 that nobody asked for", BAD, ok("Upgrade: websocket", "Connection: Upgrade", line="HTTP/1.1 101 Switching Protocols", body=""), then="close")
answer("status 600", EITHER, ok("Content-Length: 5", line="HTTP/1.1 600 OK"))
for name, field in {
    "space in front of the colon": "X-A : b", "space in a name": "X A: b", "no colon": "X-A", "empty name": ": b",
    "name with bytes over 127": "X-\xe9: b", "NUL in a value": "X-A: b\0c", "CR in a value": "X-A: b\rX-C: d",
    "NUL in a name": "X\0A: b", "length with a space in front of the colon": "Content-Length : 2",
}.items():
    answer(f"field: {name}", BAD, ok("Content-Length: 5", field), then="close")
answer("field: fold", EITHER, ok("Content-Length: 5", "X-A: b", " c"))
answer("field: 0x01 in a value", EITHER, ok("Content-Length: 5", "X-A: b\x01c"))
answer("only LF", EITHER, HELLO.replace("\r\n", "\n"))
answer("head of 300 KiB", BAD, ok("Content-Length: 5", *[f"X-{n}: " + "a" * 3000 for n in range(100)]), then="close")
answer("2,000 fields", EITHER, ok("Content-Length: 5", *[f"X-{n}: 1" for n in range(2000)]), then="close")

# --- where we knowingly differ -----------------------------------------------------------------------------------

PATHS = "nginx decodes paths to find files; here they are the app's, passed on as they came"
# Name of a case: why the proxy may let through what nginx or HAProxy refuses.
EXPLAINED = {
    "length: tab around": "a tab is as good as a space there (RFC 9110, 5.5)",
    "coding: tabs around": "a tab is as good as a space there (RFC 9110, 5.5)",
    "line: method in small letters": "any token is a method (RFC 9110, 9.1)",
    "line: trace": "nginx has it switched off; here the app decides",
    "line: options star": "it is a good request (RFC 9112, 3.2.4)",
    "line: dots": PATHS,
    "line: encoded dots": PATHS,
    "line: encoded NUL": PATHS,
    "line: bad escape": PATHS,
    "host: empty": "what a client sends whose target has no host (RFC 9112, 3.2)",
    "host: two dots": "a name that cannot be resolved, but of good form (RFC 3986, 3.2.2)",
    "field: fold": "a proxy may put spaces in its place (RFC 9112, 5.2)",
}
