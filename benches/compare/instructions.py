"""User-space instructions per request, counted by valgrind (cachegrind without a cache).

A fresh process serves many rounds of a workload, another one few; the difference, divided by the requests
of the rounds between, leaves out start, end and what fills pools and caches.
"""

import re
import socket

from parties import HOST

# The first rounds fill pools and caches; what the others need on top is counted.
COUNTED_ROUNDS_FEW = 5
COUNTED_ROUNDS_MANY = 25
# Valgrind counts `rep movsb`, with which the C library copies long pieces, once for each byte.
REP_MOVSB_OFF = "GLIBC_TUNABLES=glibc.cpu.hwcaps=-ERMS,-FSRM"


def instructions_once(valgrind, party, load, folder):
    """User-space instructions per request: what a long run needs more than a short one."""
    few, many = (
        instructions_of(valgrind, party, load, rounds, folder)
        for rounds in (COUNTED_ROUNDS_FEW, COUNTED_ROUNDS_MANY)
    )
    requests = (COUNTED_ROUNDS_MANY - COUNTED_ROUNDS_FEW) * load.connections
    return {
        "proxy": party.name,
        "workload": load.name,
        "requests": requests,
        "instructions_per_request": (many - few) / requests,
    }


def instructions_of(valgrind, party, load, rounds, folder):
    """Of a fresh process, from its start to its end."""
    counts = folder / f"{party.name}.instructions"
    counts.unlink(missing_ok=True)
    party.start([
        "env", REP_MOVSB_OFF, str(valgrind), "--quiet", "--tool=cachegrind", "--cache-sim=no",
        f"--cachegrind-out-file={counts}",
    ])
    try:
        lockstep(party, load, rounds)
    finally:
        party.end()
    found = re.search(r"^summary: (\d+)", counts.read_text(), re.MULTILINE)
    return int(found.group(1))


def lockstep(party, load, rounds):
    """In each round a request on every connection, all sent before the first answer is read."""
    method = "POST" if load.post_bytes else "GET"
    fields = load.headers(party.port)
    lines = [f"{method} {load.path} HTTP/1.1", f"Host: {HOST}:{party.port}", *fields]
    if load.post_bytes:
        lines.append(f"Content-Length: {load.post_bytes}")
    request = "\r\n".join([*lines, "", "x" * load.post_bytes]).encode()
    is_closed = "Connection: close" in fields
    clients = []
    try:
        for _ in range(rounds):
            if not clients:
                clients = [
                    socket.create_connection((HOST, party.port), timeout=60)
                    for _ in range(load.connections)
                ]
            for client in clients:
                client.sendall(request)
            for client in clients:
                read_answer(client, party, load)
            if is_closed:
                while clients:
                    clients.pop().close()
    finally:
        for client in clients:
            client.close()


def read_answer(client, party, load):
    answer = client.makefile("rb", buffering=262_144)
    head = answer.readline()
    while (line := answer.readline()) not in (b"\r\n", b""):
        head += line
    body = answer.read(load.body_bytes)
    if not head.startswith(b"HTTP/1.1 200 ") or len(body) != load.body_bytes:
        raise SystemExit(f"error: {party.name}, {load.name}: {head[:80]!r}, {len(body)} bytes")
