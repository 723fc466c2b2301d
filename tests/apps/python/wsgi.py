"""The app of ../go, as far as the load generator needs it, for a WSGI server (gunicorn). It has no WebSockets."""

import hashlib
import json
import time

import common

PART_BYTES = 64 << 10


def app(environ, start_response):
    """A generator, so that the request is open until its last byte was handed to the kernel."""
    with common.open_requests:
        answer = ANSWERS.get((environ["REQUEST_METHOD"], environ["PATH_INFO"]), not_found)
        yield from answer(common.numbers(environ["QUERY_STRING"]), environ["wsgi.input"], start_response)


def begin(start_response, content_type, *fields, status="200 OK"):
    start_response(status, [("X-App-Version", common.VERSION), ("Content-Type", content_type), *fields])


def whole(start_response, content_type, body, status="200 OK"):
    begin(start_response, content_type, ("Content-Length", str(len(body))), status=status)
    yield body


def up(_query, _body, start_response):
    return whole(start_response, "text/plain", b"ok")


def not_found(_query, _body, start_response):
    return whole(start_response, "text/plain", b"not found\n", status="404 Not Found")


def fast(query, _body, start_response):
    return whole(start_response, "text/plain", common.pattern(query.get("seed", 0), query.get("n", 128)))


def slow(query, body, start_response):
    time.sleep(query.get("ms", 2000) / 1000)
    return fast(query, body, start_response)


def stream(query, _body, start_response):
    begin(start_response, "text/event-stream")
    for i in range(1, query["events"] + 1):
        data = common.pattern(query["seed"] + i, 24)
        yield b"id: %d\ndata: %s\n\n" % (i, data)
        time.sleep(query["gap_ms"] / 1000)
    yield b"data: end\n\n"


def upload(_query, body, start_response):
    total, count = hashlib.sha256(), 0
    while part := body.read(PART_BYTES):
        total.update(part)
        count += len(part)
    answer = json.dumps({"bytes": count, "sha256": total.hexdigest()})
    return whole(start_response, "application/json", answer.encode())


def echo(_query, body, start_response):
    return whole(start_response, "application/octet-stream", body.read())


ANSWERS = {
    ("GET", "/up"): up,
    ("GET", "/fast"): fast,
    ("GET", "/slow"): slow,
    ("GET", "/stream"): stream,
    ("POST", "/upload"): upload,
    ("POST", "/echo"): echo,
}

common.report_at_sigterm()
print("ready", flush=True)
