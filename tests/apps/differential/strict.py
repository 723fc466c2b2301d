"""HTTP/1.1 read with no tolerance: what passes here means the same to everyone who reads it."""

import re
from dataclasses import dataclass

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([01])")
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")
FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+;=-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(;[\t\x20-\x7e\x80-\xff]*)?")
NOT_IN_TRAILERS = {b"content-length", b"transfer-encoding", b"host", b"connection"}


class Malformed(Exception):
    """Its text says what is wrong."""


class Incomplete(Exception):
    """More bytes are needed."""


@dataclass
class Message:
    start: tuple
    fields: list
    body: bytes

    def names(self):
        return {name for name, _ in self.fields}


def read_request(data):
    """(message, rest)."""
    first, fields, rest = read_head(data)
    found = REQUEST_LINE.fullmatch(first)
    if not found:
        raise Malformed(f"request line {first[:60]!r}")
    method, target, minor = found.groups()
    if not (target.startswith(b"/") or (target == b"*" and method == b"OPTIONS")):
        raise Malformed(f"target {target[:60]!r}")
    hosts = values(fields, b"host")
    is_without = minor == b"0" and not hosts
    if not is_without and (len(hosts) != 1 or not HOST.fullmatch(hosts[0])):
        raise Malformed(f"hosts {hosts}")
    length, is_chunked = framing(fields)
    body, rest = read_body(rest, length or 0, is_chunked)
    return Message((method, target), fields, body), rest


def read_response(data, method, is_over):
    """(message, rest) of the first answer that is not 1xx; `is_over`: nothing more will come."""
    while True:
        first, fields, rest = read_head(data)
        found = STATUS_LINE.fullmatch(first)
        if not found:
            raise Malformed(f"status line {first[:60]!r}")
        status = int(found.group(1))
        if status >= 200 or status == 101:
            break
        data = rest
    length, is_chunked = framing(fields)
    if method == "HEAD" or status in (101, 204, 304):
        return Message((status,), fields, b""), rest
    if length is None and not is_chunked:
        if not is_over:
            raise Incomplete
        return Message((status,), fields, rest), b""
    body, rest = read_body(rest, length, is_chunked)
    return Message((status,), fields, body), rest


def read_head(data):
    end = data.find(b"\r\n\r\n")
    head = data if end < 0 else data[:end]
    if re.search(rb"\r(?!\n|$)|(?<!\r)\n|\x00", head):
        raise Malformed("bare CR, bare LF or NUL in a head")
    if end < 0:
        raise Incomplete
    first, *lines = head.split(b"\r\n")
    return first, read_fields(lines), data[end + 4 :]


def read_fields(lines):
    fields = []
    for line in lines:
        found = FIELD.fullmatch(line)
        if not found:
            raise Malformed(f"field {line[:60]!r}")
        fields.append((found.group(1).lower(), found.group(2)))
    return fields


def values(fields, name):
    return [value for other, value in fields if other == name]


def framing(fields):
    """(length or None, is it chunked)."""
    lengths, codings = values(fields, b"content-length"), values(fields, b"transfer-encoding")
    if codings and lengths:
        raise Malformed("both lengths")
    if codings and [coding.lower() for coding in codings] != [b"chunked"]:
        raise Malformed(f"transfer codings {codings}")
    if lengths and (len(lengths) > 1 or not re.fullmatch(rb"[0-9]{1,18}", lengths[0])):
        raise Malformed(f"lengths {lengths}")
    return (int(lengths[0]) if lengths else None), bool(codings)


def read_body(data, length, is_chunked):
    if not is_chunked:
        if len(data) < length:
            raise Incomplete
        return data[:length], data[length:]
    body = b""
    while True:
        line, data = read_line(data)
        found = CHUNK_LINE.fullmatch(line)
        if not found:
            raise Malformed(f"chunk size {line[:60]!r}")
        size = int(found.group(1), 16)
        if size == 0:
            break
        if len(data) < size + 2:
            raise Incomplete
        if data[size : size + 2] != b"\r\n":
            raise Malformed("no CRLF behind a chunk")
        body += data[:size]
        data = data[size + 2 :]
    trailers = []
    while True:
        line, data = read_line(data)
        if not line:
            break
        trailers.append(line)
    forbidden = {name for name, _ in read_fields(trailers)} & NOT_IN_TRAILERS
    if forbidden:
        raise Malformed(f"trailers {forbidden}")
    return body, data


def read_line(data):
    end = data.find(b"\n")
    if end < 0:
        raise Incomplete
    if end == 0 or data[end - 1 : end] != b"\r":
        raise Malformed("bare LF in a body")
    return data[: end - 1], data[end + 1 :]
