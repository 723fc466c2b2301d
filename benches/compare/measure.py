"""What is measured: CPU time and errors of a short load; instructions; memory of idle clients."""

import json
import os
import re
import resource
import select
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from parties import FILES, HOST, SMALL_BODY, fetch

WRK_GRACE_SECONDS = 15
SETTLE_SECONDS = 0.05
POST_BYTES = 16 * 1024
# The first rounds fill pools and caches; what the others need on top is counted.
COUNTED_ROUNDS_FEW = 5
COUNTED_ROUNDS_MANY = 25
# Valgrind counts `rep movsb`, with which the C library copies long pieces, once for each byte.
REP_MOVSB_OFF = "GLIBC_TUNABLES=glibc.cpu.hwcaps=-ERMS,-FSRM"

# Fourteen fields, with wrk's own Host fifteen; with the request line 900 bytes in all.
BROWSER_FIELDS = [
    'sec-ch-ua: "Chromium";v="126", "Google Chrome";v="126", "Not-A.Brand";v="8"',
    "sec-ch-ua-mobile: ?0",
    'sec-ch-ua-platform: "Linux"',
    "Upgrade-Insecure-Requests: 1",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Dest: document",
    "Referer: https://app.example.com/account/orders?page=2",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
    "Cache-Control: max-age=0",
]
BROWSER_BYTES = 900


def browser_fields(port):
    """The fields above and a cookie that brings the whole request to its size."""
    lines = ["GET /small HTTP/1.1", f"Host: {HOST}:{port}", *BROWSER_FIELDS, "Cookie: session="]
    rest = BROWSER_BYTES - sum(len(line) + 2 for line in lines) - 2
    return [*BROWSER_FIELDS, "Cookie: session=" + "c" * rest]


@dataclass(frozen=True)
class Workload:
    """One kind of load. `body_bytes` is what each answer must carry."""

    name: str
    path: str
    body_bytes: int
    connections: int = 32
    post_bytes: int = 0
    fields: list = field(default_factory=list)
    is_browser: bool = False

    def headers(self, port):
        return browser_fields(port) if self.is_browser else self.fields


WORKLOADS = {
    load.name: load
    for load in [
        Workload("small", "/small", len(SMALL_BODY)),
        Workload("browser", "/small", len(SMALL_BODY), is_browser=True),
        Workload("new", "/small", len(SMALL_BODY), fields=["Connection: close"]),
        Workload("post", "/post", len(SMALL_BODY), post_bytes=POST_BYTES),
        Workload("64k", "/64k", FILES["64k"], connections=16),
        Workload("1m", "/1m", FILES["1m"], connections=16),
    ]
}


def family(pid):
    """A process and its descendants."""
    pids = [pid]
    for parent in pids:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            pids += [int(child) for child in children.read_text().split()]
    return pids


def cpu_ns(pid):
    """User and system time of a process and its descendants, all threads, also those that ended.

    It is the kernel's CPU clock of each process (clock_getcpuclockid(3)): /proc/PID/stat has the
    same sum, but in steps of 10 ms, which is 1 % of a short round.
    """
    return sum(time.clock_gettime_ns((~member << 3) | 2) for member in family(pid))


def machine_cpu_seconds():
    """(busy, stolen) time of all cores since the machine started."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _, _, irq, softirq, steal = ticks
    second = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / second, steal / second


def backend_connections(backend):
    """How many connections the backend has accepted so far."""
    answer = fetch(backend.port, "/counts")
    if answer is None:
        raise SystemExit("error: the backend does not answer")
    return int(re.search(rb"(\d+) \d+ \d+", answer[1]).group(1))


def check(party, load):
    """One request, looked at closely: wrk only counts."""
    body = b"x" * load.post_bytes if load.post_bytes else None
    answer = fetch(party.port, load.path, "POST" if body else "GET", body)
    if answer is None or answer[0] != 200 or len(answer[1]) != load.body_bytes:
        said = "no answer" if answer is None else f"{answer[0]} with {len(answer[1])} bytes"
        raise SystemExit(
            f"error: {party.name}, {load.name}: {said} (expected 200 with {load.body_bytes} bytes)"
        )


def load_once(wrk, party, backend, load, seconds):
    """One short load on one proxy."""
    command = [wrk, "-t1", f"-c{load.connections}", f"-d{seconds}s", "--timeout", "5s"]
    command += ["-s", str(Path(__file__).with_name("load.lua"))]
    for line in load.headers(party.port):
        command += ["-H", line]
    command.append(f"http://{HOST}:{party.port}{load.path}")
    environment = {**os.environ, "LOAD_BODY_BYTES": str(load.post_bytes)}

    connections = backend_connections(backend)
    busy, stolen = machine_cpu_seconds()
    generator = generator_seconds()
    backend_ns = cpu_ns(backend.process.pid)
    proxy_ns = cpu_ns(party.process.pid)
    ran = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + WRK_GRACE_SECONDS,
    )
    time.sleep(SETTLE_SECONDS)
    proxy_ns = cpu_ns(party.process.pid) - proxy_ns
    backend_ns = cpu_ns(backend.process.pid) - backend_ns
    generator = generator_seconds() - generator
    busy_after, stolen_after = machine_cpu_seconds()
    # One connection of the difference is the question itself.
    connections = backend_connections(backend) - connections - 1

    counted = re.search(r"^COUNTED (.*)$", ran.stdout, re.MULTILINE)
    if ran.returncode != 0 or not counted:
        raise SystemExit(f"error: wrk failed: {ran.stdout}{ran.stderr}")
    counts = json.loads(counted.group(1))
    if counts["requests"] == 0:
        raise SystemExit(f"error: {party.name}, {load.name}: no request was answered")
    is_short = counts["bytes"] < counts["requests"] * load.body_bytes
    wall = counts["microseconds"] / 1e6
    ours = (proxy_ns + backend_ns) / 1e9 + generator
    return {
        "proxy": party.name,
        "workload": load.name,
        "requests": counts["requests"],
        "errors": counts["errors"] + is_short,
        "cpu_us_per_request": proxy_ns / 1e3 / counts["requests"],
        "requests_per_second": counts["requests"] / wall,
        "proxy_cores": proxy_ns / 1e9 / wall,
        "backend_cores": backend_ns / 1e9 / wall,
        "generator_cores": generator / wall,
        "other_cores": max(0.0, busy_after - busy - ours) / wall,
        "stolen_cores": (stolen_after - stolen) / wall,
        "backend_connections": connections,
    }


def generator_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


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


def resident_bytes(pid):
    """Resident memory of a process and its descendants. Memory of the kernel is not in it."""
    total = 0
    for member in family(pid):
        text = Path(f"/proc/{member}/smaps_rollup").read_text()
        total += int(re.search(r"^Rss:\s+(\d+) kB", text, re.MULTILINE).group(1)) * 1024
    return total


def memory_once(party, connections):
    """Resident memory of a fresh process before and while idle clients hold connections."""
    request = f"GET /small HTTP/1.1\r\nHost: {HOST}:{party.port}\r\n\r\n".encode()
    party.start()
    held = []
    try:
        time.sleep(0.5)
        before = resident_bytes(party.process.pid)
        for _ in range(connections):
            client = socket.create_connection((HOST, party.port), timeout=5)
            held.append(client)
            client.sendall(request)
            answer = b""
            while not answer.endswith(SMALL_BODY):
                piece = client.recv(65536)
                if not piece:
                    raise SystemExit(f"error: {party.name} closed idle client {len(held)}")
                answer += piece
        time.sleep(1)
        after = resident_bytes(party.process.pid)
        poll = select.poll()
        for client in held:
            poll.register(client, select.POLLIN)
        if poll.poll(0):
            raise SystemExit(f"error: {party.name} did not keep all {connections} clients")
    finally:
        for client in held:
            client.close()
        party.end()
    return {
        "proxy": party.name,
        "connections": connections,
        "start_bytes": before,
        "bytes_per_connection": (after - before) / connections,
    }
