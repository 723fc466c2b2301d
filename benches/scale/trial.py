"""Measures one point: CPU time of a short load, instructions, memory; and what probes cost.

Each measurement has a fresh process, so that the chance of where its memory lies is drawn anew each
round and nothing else runs beside it. Before the load that counts, clients ask until every
backend has its connection: what is measured is the steady state, in which only requests that meet on
one backend make a new one.
"""

import dataclasses
import re
import subprocess
import time

import farm
import points
from measure import WORKLOADS, cpu_ns, load_once, resident_bytes

# Rounds of the workload's connections before the load: caches and the allocator.
WARM_ROUNDS = 20
# Requests for each backend before the load. At random one is left out with a chance of e^-9.
WARM_REQUESTS_PER_BACKEND = 9
COUNTED_ROUNDS = 100
REST_SECONDS = 4
CONTROL_SECONDS_MAX = 60
# A client's timer goes off once, `client.head_timeout` (10 s) after it connected. Callgrind must see
# the timers of idle clients neither in the rounds nor in the rest.
TIMERS_SECONDS = 11
# Valgrind counts `rep movsb`, with which the C library copies long pieces, once for each byte.
REP_MOVSB_OFF = "GLIBC_TUNABLES=glibc.cpu.hwcaps=-ERMS,-FSRM"


def load_of(point):
    """What wrk sends: small requests for the point's host and path."""
    small = WORKLOADS["small"]
    fields = [f"Host: {point.host}"]
    return dataclasses.replace(small, name=point.key(), path=point.path, fields=fields)


def warm_rounds(point):
    connections = WORKLOADS["small"].connections
    requests = WARM_REQUESTS_PER_BACKEND * point.shape.backends
    return max(WARM_ROUNDS, -(-requests // connections))


def warm(point, proxy):
    with farm.Clients(point, proxy.port, WORKLOADS["small"].connections) as clients:
        clients.rounds(warm_rounds(point))


def timed(bench, point, folder):
    """CPU time per request of a fresh process, and what its idle clients hold in memory."""
    proxy = farm.Proxy(bench.tidegate, point.shape, folder, bench.backend.port)
    try:
        proxy.start()
        # Made here too, so that the base has the same past.
        warm(point, proxy)
        before = resident_bytes(proxy.process.pid)
        with farm.Clients(point, proxy.port, point.idle_clients) as idle:
            idle.round()
            if point.idle_clients:
                time.sleep(farm.SETTLE_SECONDS)
            after = resident_bytes(proxy.process.pid)
            if point.idle_clients:
                warm(point, proxy)
            sample = load_once(bench.wrk, proxy, bench.backend, load_of(point), bench.seconds)
            idle.check_kept()
    finally:
        proxy.end()
    sample |= {"point": point.key(), "resident_bytes": before}
    if point.idle_clients:
        sample["bytes_per_idle_client"] = (after - before) / point.idle_clients
    return sample


def counted(bench, point, folder):
    """User-space instructions per request, of a process that has long been started.

    Callgrind counts nothing until it is told to, then the rounds, then as long a rest. The rest is
    taken off: what the proxy does by the clock (looking after kept connections) must not weigh
    more because valgrind is slow.
    """
    shape = dataclasses.replace(point.shape, probes=points.PROBES_NEVER, upstream_idle="1h")
    proxy = farm.Proxy(bench.tidegate, shape, folder, bench.backend.port)
    dump = folder / "instructions"
    connections = WORKLOADS["small"].connections
    try:
        proxy.start([
            "env", REP_MOVSB_OFF, str(bench.valgrind), "--quiet", "--tool=callgrind",
            "--instr-atstart=no", f"--callgrind-out-file={dump}",
        ])
        with farm.Clients(point, proxy.port, point.idle_clients) as idle:
            idle.round()
            if point.idle_clients:
                time.sleep(TIMERS_SECONDS)
            with farm.Clients(point, proxy.port, connections) as clients:
                clients.rounds(warm_rounds(point))
                control(bench, proxy, "--instr=on")
                clients.rounds(WARM_ROUNDS)
                control(bench, proxy, "--zero")
                begun = time.monotonic()
                clients.rounds(COUNTED_ROUNDS)
                lasted = time.monotonic() - begun
                control(bench, proxy, "--dump")
                time.sleep(lasted)
                control(bench, proxy, "--dump")
            idle.check_kept()
    finally:
        proxy.end()
    busy, idle_for = (total_of(folder / f"instructions.{number}") for number in (1, 2))
    return {
        "point": point.key(),
        "requests": COUNTED_ROUNDS * connections,
        "instructions_per_request": (busy - idle_for) / COUNTED_ROUNDS / connections,
        "instructions_per_second_of_rest": idle_for / lasted,
    }


def control(bench, proxy, order):
    """Tells callgrind what to do. It says only in words whether it did."""
    command = [str(bench.valgrind.with_name("callgrind_control")), order, str(proxy.process.pid)]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=CONTROL_SECONDS_MAX
    )
    if ran.returncode != 0 or "OK" not in ran.stdout:
        raise SystemExit(f"error: {' '.join(command)}: {ran.stdout}{ran.stderr}")


def total_of(dump):
    found = re.search(r"^totals: (\d+)", dump.read_text(), re.MULTILINE)
    dump.unlink()
    return int(found.group(1))


def rest(bench, backends, probes, folder):
    """What a process costs for which nobody asks: CPU time per second, and probes it made."""
    shape = points.Shape(backends=backends, probes=probes)
    proxy = farm.Proxy(bench.tidegate, shape, folder, bench.backend.port)
    try:
        proxy.start()
        time.sleep(farm.SETTLE_SECONDS)
        served = farm.requests_served(bench.backend)
        spent, begun = cpu_ns(proxy.process.pid), time.monotonic()
        time.sleep(REST_SECONDS)
        spent, lasted = cpu_ns(proxy.process.pid) - spent, time.monotonic() - begun
        # One of them is the question itself.
        served = farm.requests_served(bench.backend) - served - 1
    finally:
        proxy.end()
    return {
        "backends": backends,
        "probes": probes,
        "cpu_us_per_second": spent / 1e3 / lasted,
        "probes_per_second": served / lasted,
    }
