"""The app of ../go, as far as the load generator needs it, for an ASGI server (uvicorn)."""

import asyncio
import hashlib
import json

import common


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        with common.open_tunnels:
            await web_socket(receive, send)
    else:
        with common.open_requests:
            answer = ANSWERS.get((scope["method"], scope["path"]), not_found)
            await answer(common.numbers(scope["query_string"].decode()), receive, send)


async def lifespan(receive, send):
    while True:
        event = await receive()
        if event["type"] == "lifespan.startup":
            common.report_at_sigterm()
        await send({"type": event["type"] + ".complete"})
        if event["type"] == "lifespan.shutdown":
            return


async def begin(send, content_type, *fields, status=200):
    headers = [(b"x-app-version", common.VERSION.encode()), (b"content-type", content_type), *fields]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def write(send, body, more=False):
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def answer_with(send, content_type, body, status=200):
    await begin(send, content_type, (b"content-length", b"%d" % len(body)), status=status)
    await write(send, body)


async def parts(receive):
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ConnectionError("the client left in the middle of its body")
        yield event.get("body", b"")
        if not event.get("more_body"):
            return


async def up(_query, _receive, send):
    await answer_with(send, b"text/plain", b"ok")


async def not_found(_query, _receive, send):
    await answer_with(send, b"text/plain", b"not found\n", status=404)


async def fast(query, _receive, send):
    await answer_with(send, b"text/plain", common.pattern(query.get("seed", 0), query.get("n", 128)))


async def slow(query, receive, send):
    await asyncio.sleep(query.get("ms", 2000) / 1000)
    await fast(query, receive, send)


async def stream(query, _receive, send):
    await begin(send, b"text/event-stream")
    for i in range(1, query["events"] + 1):
        data = common.pattern(query["seed"] + i, 24)
        await write(send, b"id: %d\ndata: %s\n\n" % (i, data), more=True)
        await asyncio.sleep(query["gap_ms"] / 1000)
    await write(send, b"data: end\n\n")


async def upload(_query, receive, send):
    total, count = hashlib.sha256(), 0
    async for part in parts(receive):
        total.update(part)
        count += len(part)
    await answer_with(send, b"application/json", json.dumps({"bytes": count, "sha256": total.hexdigest()}).encode())


async def echo(_query, receive, send):
    await answer_with(send, b"application/octet-stream", b"".join([part async for part in parts(receive)]))


async def web_socket(receive, send):
    await receive()
    await send({"type": "websocket.accept", "headers": [(b"x-app-version", common.VERSION.encode())]})
    while (event := await receive())["type"] == "websocket.receive":
        message = {key: event[key] for key in ["text", "bytes"] if event.get(key) is not None}
        await send({"type": "websocket.send", **message})


ANSWERS = {
    ("GET", "/up"): up,
    ("GET", "/fast"): fast,
    ("GET", "/slow"): slow,
    ("GET", "/stream"): stream,
    ("POST", "/upload"): upload,
    ("POST", "/echo"): echo,
}
