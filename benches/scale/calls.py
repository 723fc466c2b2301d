"""What grows with the configuration but not with requests: calls of the admin API, a scrape, a start.

Two processes stand side by side, *small* (2 backends, 1 pool, 1 route) and *whole* (500 backends in
200 pools, 1,000 routes), each with a state file and without probes beyond the first. A call is timed
from connect to the last byte; its CPU time is the proxy's. In each round both get every call, in
random order. Of a command line the time has its own process in it, the CPU time only the daemon.
"""

import os
import subprocess
import time

import farm
import points
from measure import cpu_ns, resident_bytes
from parties import fetch

CALLS = ["scrape", "pools", "status", "publish", "reload"]
SAYS = {
    "scrape": "`GET /metrics`",
    "pools": "`GET /v1/pools`",
    "status": "`tidegate status`",
    "publish": "publish one change (`PATCH` of a weight, state file written)",
    "reload": "reload (one weight changed)",
}
CLI_SECONDS_MAX = 60
SETTLE_SECONDS = 0.02


def shapes():
    whole = points.whole_shape()
    small = points.Shape(probes=points.PROBES_NEVER, has_state=True)
    return {"small": small, "whole": whole}


def run(bench, rounds, chance, folder):
    """The samples of the calls, and of each process its start and memory."""
    proxies, starts, samples = {}, [], []
    try:
        for name, shape in shapes().items():
            proxy = farm.Proxy(bench.tidegate, shape, folder / name, bench.backend.port)
            proxies[name] = proxy
            starts.append({"size": name, **start(proxy)})
        for number in range(rounds + 1):
            pairs = [(call, name) for call in CALLS for name in proxies]
            for call, name in chance.sample(pairs, len(pairs)):
                sample = timed(call, proxies[name], number)
                # The first round makes what is made on first use.
                if number > 0:
                    samples.append({"round": number, "call": call, "size": name, **sample})
        for entry in starts:
            entry["after_calls_bytes"] = resident_bytes(proxies[entry["size"]].process.pid)
    finally:
        for proxy in proxies.values():
            proxy.end()
    return {"starts": starts, "samples": samples}


def start(proxy):
    """CPU time from the start until every backend is healthy, and the memory then."""
    proxy.start()
    time.sleep(farm.SETTLE_SECONDS)
    pid = proxy.process.pid
    return {"start_cpu_ms": cpu_ns(pid) / 1e6, "start_bytes": resident_bytes(pid)}


def timed(call, proxy, number):
    # Two weights in turn: each publish and each reload finds a change.
    weight = 2 + number % 2
    if call == "reload":
        proxy.write(first_weight=weight)
    pid = proxy.process.pid
    spent, begun = cpu_ns(pid), time.monotonic_ns()
    size = ask(call, proxy, weight)
    took = time.monotonic_ns() - begun
    # What goes on after the answer belongs to the call.
    time.sleep(SETTLE_SECONDS)
    return {"ms": took / 1e6, "cpu_ms": (cpu_ns(pid) - spent) / 1e6, "bytes": size}


def ask(call, proxy, weight):
    if call == "scrape":
        answer = fetch(proxy.where.metrics_port, "/metrics")
        if answer is None or answer[0] != 200:
            raise SystemExit(f"error: tidegate: GET /metrics: found {answer}, expected 200")
        return len(answer[1])
    if call == "pools":
        return len(proxy.call("GET", "/v1/pools"))
    if call == "publish":
        body = f'{{"weight": {weight}}}'
        return len(proxy.call("PATCH", "/v1/pools/pool0/backends/b1", body))
    if call == "reload":
        return len(proxy.call("POST", "/v1/reload"))
    ran = subprocess.run(
        [str(proxy.binary), "status", "--admin", f"unix:{proxy.where.folder}/admin.sock"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=CLI_SECONDS_MAX,
        env={"PATH": os.defpath},
    )
    if ran.returncode != 0:
        raise SystemExit(f"error: tidegate status: {ran.stderr.decode(errors='replace')}")
    return len(ran.stdout)
