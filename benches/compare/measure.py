"""What is measured of a short load: CPU time of the proxy, answers, errors, latencies, and memory.

CPU time is user and system time of all of a party's processes and threads, by the kernel's CPU clock of each
process. A load is another program (wrk, oha, ws/) that runs for a moment and says how many requests were
answered; what the CPU clocks moved meanwhile, divided by that number, is the figure.
"""

import json
import os
import re
import resource
import subprocess
import time
from pathlib import Path

from parties import HOST, family, fetch
from workloads import WORKLOADS  # noqa: F401, part of what this file gives to others

LOAD_GRACE_SECONDS = 15
SETTLE_SECONDS = 0.05


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


class Observation:
    """Clocks and counters of the machine, a proxy and its backend, from the making of it to `end`."""

    def __init__(self, party, backend):
        self.party, self.backend = party, backend
        self.connections = backend_connections(backend)
        self.at_start = self.clocks()

    def clocks(self):
        proxy_ns = cpu_ns(self.party.process.pid)
        backend_ns = cpu_ns(self.backend.process.pid)
        return proxy_ns, backend_ns, generator_seconds(), *machine_cpu_seconds()

    def end(self, workload, counts):
        """The sample, given what the load counted."""
        time.sleep(SETTLE_SECONDS)
        moved = [after - before for after, before in zip(self.clocks(), self.at_start)]
        proxy_ns, backend_ns, generator, busy, stolen = moved
        # One connection of the difference is the question itself.
        connections = backend_connections(self.backend) - self.connections - 1
        requests = counts["requests"]
        if requests == 0:
            raise SystemExit(f"error: {self.party.name}, {workload}: no request was answered")
        wall = counts["microseconds"] / 1e6
        ours = (proxy_ns + backend_ns) / 1e9 + generator
        return {
            "proxy": self.party.name,
            "workload": workload,
            "requests": requests,
            "errors": counts["errors"],
            "cpu_us_per_request": proxy_ns / 1e3 / requests,
            "requests_per_second": requests / wall,
            "p50_ms": counts["p50"] / 1e3,
            "p99_ms": counts["p99"] / 1e3,
            "p999_ms": counts["p999"] / 1e3,
            "proxy_cores": proxy_ns / 1e9 / wall,
            "backend_cores": backend_ns / 1e9 / wall,
            "generator_cores": generator / wall,
            "other_cores": max(0.0, busy - ours) / wall,
            "stolen_cores": stolen / wall,
            "backend_connections": connections,
        }


def run_load(command, seconds, environment=None):
    """What a load generator wrote on stdout, or the end of all."""
    ran = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + LOAD_GRACE_SECONDS,
    )
    if ran.returncode != 0:
        raise SystemExit(f"error: {Path(command[0]).name} failed: {ran.stdout}{ran.stderr}")
    return ran.stdout


def counted(text):
    """The line that load.lua and ws/ write for a program to read."""
    found = re.search(r"^COUNTED (.*)$", text, re.MULTILINE)
    if not found:
        raise SystemExit(f"error: found no line of counts, expected one, in:\n{text}")
    return json.loads(found.group(1))


def wrk_load(wrk, port, load, seconds):
    """Runs wrk; what it counted."""
    command = [wrk, "-t1", f"-c{load.connections}", f"-d{seconds}s", "--timeout", "5s"]
    command += ["-s", Path(__file__).with_name("load.lua")]
    for line in load.headers(port):
        command += ["-H", line]
    command.append(f"http://{HOST}:{port}{load.path}")
    counts = counted(run_load(command, seconds, {"LOAD_BODY_BYTES": str(load.post_bytes)}))
    is_short = counts["bytes"] < counts["requests"] * load.body_bytes
    return {**counts, "errors": counts["errors"] + is_short}


def load_once(wrk, party, backend, load, seconds):
    """One short load on one proxy."""
    observation = Observation(party, backend)
    return observation.end(load.name, wrk_load(wrk, party.port, load, seconds))


def echo_once(ws, party, backend, connections, seconds, message_bytes):
    """WebSockets through one proxy; a request of the sample is one message, there and back."""
    observation = Observation(party, backend)
    command = [ws, "load", f"{HOST}:{party.port}", connections, seconds, message_bytes]
    counts = counted(run_load(command, seconds, {"GOMAXPROCS": "1"}))
    return observation.end("ws", counts)


def rate_once(oha, party, backend, connections, per_second, seconds):
    """A constant rate of small requests. Latency counts from when a request was due, not sent.

    That is oha's correction for coordinated omission: while an answer is late, the requests behind it are
    late too, and a client that waits its turn would not notice.
    """
    command = [
        oha, "--no-tui", "--output-format", "json", "-n", per_second * seconds, "-q", per_second,
        "-c", connections, "--latency-correction", "--disable-compression", "-t", "5s",
        f"http://{HOST}:{party.port}/small",
    ]
    observation = Observation(party, backend)
    return observation.end("rate", rate_counts(json.loads(run_load(command, seconds))))


def rate_counts(said):
    """oha's report in the words of the others. It names codes and errors with how often each was seen."""
    answered = said["statusCodeDistribution"].get("200", 0)
    refused = sum(said["statusCodeDistribution"].values()) - answered
    late = said["latencyPercentiles"]
    return {
        "requests": answered,
        "microseconds": said["summary"]["total"] * 1e6,
        "errors": refused + sum(said["errorDistribution"].values()),
        "p50": (late["p50"] or 0) * 1e6,
        "p99": (late["p99"] or 0) * 1e6,
        "p999": (late["p99.9"] or 0) * 1e6,
    }


def generator_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def resident_bytes(pid):
    """Resident memory of a process and its descendants. Memory of the kernel is not in it."""
    return sum(kilobytes(f"/proc/{member}/smaps_rollup", "Rss") for member in family(pid)) * 1024


def peak_bytes(pid):
    """The most that a process and its descendants had resident, each at its own time, since they started."""
    return sum(kilobytes(f"/proc/{member}/status", "VmHWM") for member in family(pid)) * 1024


def kilobytes(path, name):
    return int(re.search(rf"^{name}:\s+(\d+) kB", Path(path).read_text(), re.MULTILINE).group(1))
