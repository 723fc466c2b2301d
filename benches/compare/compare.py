"""Runs every proxy under every workload in short rounds of random order, and writes the report.

`run.sh` beside this file installs and builds what is needed and calls this. All of it runs on
loopback, in a folder of its own, for a bounded time; what was started is ended, whatever happens.

A *set* is one process of each proxy. The loads have one, the WebSockets one before their own backend, and the
idle clients one, so that the memory which they leave behind is not in the peak of the others.
"""

import json
import os
import platform
import random
import re
import resource
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import idle
import instructions
import measure
import options
import parties
import peers
import report
import tables
import tools as toolbox

LOCK_FILE = Path(__file__).parents[2] / "Cargo.lock"
# Descriptors beyond one for each client: connections to the backend, sockets, files.
SPARE_DESCRIPTORS = 1000
RATE_CONNECTIONS = WS_CONNECTIONS = 32
PLOT_SECONDS_MAX = 120


@dataclass
class Load:
    """One workload: the set it runs on and how one sample of one proxy is taken."""

    name: str
    set_name: str
    once: Callable


@dataclass
class Set:
    """One process of each proxy, and the backend that all of them have."""

    backend: parties.Party
    proxies: list

    def end(self):
        for proxy in self.proxies:
            proxy.end()


def free_ports(count):
    """Ports that nobody listens on now; all are held until the last is found."""
    held = [socket.create_server((parties.HOST, 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in held]
    for listener in held:
        listener.close()
    return ports


def raise_descriptors(wanted):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(
            f"error: {wanted} descriptors are needed, this user may have {hard}\n"
            "hint: fewer --memory-connections, or a higher hard limit (ulimit -Hn)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def set_of(name):
    """Which set serves a workload."""
    return name if name in (options.IDLE, options.WS) else "loads"


def prepare(arguments, tools, folder):
    """Backends and sets of proxies, none of them started: ([backend], {name: Set})."""
    names = list(dict.fromkeys(set_of(workload) for workload in arguments.workloads))
    clients_max = arguments.memory_connections + SPARE_DESCRIPTORS // 4
    # HAProxy refuses to start with a limit of connections that its descriptors do not allow.
    raise_descriptors(2 * clients_max + SPARE_DESCRIPTORS)
    http_port, echo_port, *ports = free_ports(2 + 2 * len(names) * len(arguments.proxies))
    is_root = os.geteuid() == 0
    backends = {"http": parties.backend(tools.nginx, http_port, folder, is_root)}
    if options.WS in names:
        backends["echo"] = parties.echo_backend(tools.ws, echo_port, folder)
    sets = {}
    for name in names:
        backend = backends["echo" if name == options.WS else "http"]
        place = folder / name
        place.mkdir()
        stage = peers.Stage(tools, backend.port, place, clients_max, is_root)
        proxies = [stage.proxy(proxy, ports.pop(), ports.pop()) for proxy in arguments.proxies]
        sets[name] = Set(backend, proxies)
    return list(backends.values()), sets


def loads_of(arguments, tools, sets):
    """The workloads that are run in rounds."""
    def backend(name):
        return sets[set_of(name)].backend

    def of_wrk(load):
        return lambda proxy, seconds: measure.load_once(tools.wrk, proxy, backend(load.name), load, seconds)

    special = {
        options.RATE: lambda proxy, seconds: measure.rate_once(
            tools.oha, proxy, backend(options.RATE), RATE_CONNECTIONS, arguments.rate, seconds
        ),
        options.IDLE: lambda proxy, seconds: idle.load_once(
            tools.wrk, proxy, backend(options.IDLE), arguments.memory_connections, seconds
        ),
        options.WS: lambda proxy, seconds: measure.echo_once(
            tools.ws, proxy, backend(options.WS), WS_CONNECTIONS, seconds, arguments.message_bytes
        ),
    }
    return [
        Load(name, set_of(name), special.get(name) or of_wrk(measure.WORKLOADS[name]))
        for name in arguments.workloads
        if name != options.MEMORY
    ]


def run_loads(arguments, tools, sets, chance):
    """Samples of all rounds, and the peak of each proxy's memory in each set."""
    loads = loads_of(arguments, tools, sets)
    used = {load.set_name: sets[load.set_name] for load in loads}
    for one in used.values():
        for proxy in one.proxies:
            proxy.start()
    warm_up(loads, used)
    samples = []
    for number in range(1, arguments.rounds + 1):
        tell(f"round {number} of {arguments.rounds}")
        for load in chance.sample(loads, len(loads)):
            seconds = arguments.rate_seconds if load.name == options.RATE else arguments.seconds
            proxies = used[load.set_name].proxies
            for proxy in chance.sample(proxies, len(proxies)):
                samples.append({"round": number, **load.once(proxy, seconds)})
    peaks = [
        {"set": name, "proxy": proxy.name, "peak_bytes": measure.peak_bytes(proxy.process.pid)}
        for name, one in used.items()
        for proxy in one.proxies
    ]
    for one in used.values():
        one.end()
    return samples, peaks


def warm_up(loads, sets):
    """Not counted: connections to the backend, caches, the allocator. It also shows that each load works."""
    for load in loads:
        for proxy in sets[load.set_name].proxies:
            tell(f"warming up: {load.name}, {proxy.name}")
            if load.name in measure.WORKLOADS:
                measure.check(proxy, measure.WORKLOADS[load.name])
            load.once(proxy, 1)


def run_memory(arguments, sets, chance):
    if options.MEMORY not in arguments.workloads:
        return []
    samples = []
    proxies = sets["loads"].proxies
    for number in range(1, arguments.memory_rounds + 1):
        tell(f"memory, round {number} of {arguments.memory_rounds}")
        for proxy in chance.sample(proxies, len(proxies)):
            sample = idle.memory_once(proxy, arguments.memory_connections)
            samples.append({"round": number, **sample})
    return samples


def run_instructions(arguments, tools, proxies, folder):
    samples = []
    for name in arguments.workloads:
        for proxy in proxies:
            tell(f"instructions: {name}, {proxy.name}")
            load = measure.WORKLOADS[name]
            samples.append(instructions.instructions_once(tools.valgrind, proxy, load, folder))
    return samples


def about(arguments, tools, seed):
    """Date, versions and machine, as the report shows them."""
    cpu = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    lines = {
        "date": time.strftime("%Y-%m-%d"),
        "command": shlex.join(["./benches/compare/run.sh", *shlex.split(arguments.asked)]),
        "machine": f"{os.cpu_count()} cores, {cpu}, Linux {re.match(r'[0-9.]*[0-9]', platform.release())[0]}",
        "backend": "nginx " + peers.version([tools.nginx, "-v"], r"nginx/(\S+)"),
    }
    if arguments.instructions:
        lines["counted by"] = "valgrind " + peers.version([tools.valgrind, "--version"], r"valgrind-(\S+)")
    else:
        lines["load at the start"] = f"{os.getloadavg()[0]:.2f}"
        lines["rounds"] = f"{arguments.rounds} of {arguments.seconds} s each; order by seed {seed}"
        lines["load generators"] = generators(arguments, tools)
    return {**lines, "proxies": ", ".join(peers.versions(tools, LOCK_FILE, arguments.proxies).values())}


def generators(arguments, tools):
    said = ["wrk " + peers.version([tools.wrk, "-v"], r"wrk \S*?([\d.]+)")]
    if options.RATE in arguments.workloads:
        said.append("oha " + peers.version([tools.oha, "--version"], r"oha (\S+)"))
    if options.WS in arguments.workloads:
        said.append("benches/compare/ws by Go " + peers.version(["go", "version"], r"go(\d\S*)"))
    return ", ".join(said)


def tell(text):
    print(text, file=sys.stderr, flush=True)


def write_instructions(arguments, lines, samples):
    document = {"about": lines, "instructions": samples}
    (arguments.out / "instructions.json").write_text(json.dumps(document, indent=1) + "\n")
    text = report.instructions_page(samples, lines, arguments.proxies)
    (arguments.out / "instructions.md").write_text(text)
    print(text)


def write_report(arguments, tools, lines, samples, peaks, memory):
    """The page, everything that was measured, and the plot."""
    result = report.summary(samples, memory, arguments.proxies, arguments.workloads, peaks)
    document = {"about": lines, "proxies": arguments.proxies, "summary": result}
    document |= {"rounds": samples, "memory_rounds": memory, "peaks": peaks}
    data = arguments.out / "report.json"
    data.write_text(json.dumps(document, indent=1) + "\n")
    text = tables.page(result, lines, arguments.proxies)
    (arguments.out / "report.md").write_text(text)
    print(text)
    if report.plotted(result, arguments.proxies):
        plot = Path(__file__).with_name("plot.py")
        command = [tools.venv / "bin/python", plot, data, arguments.svg]
        subprocess.run([str(word) for word in command], check=True, timeout=PLOT_SECONDS_MAX)
    errors = sum(sample["errors"] for sample in samples)
    if errors:
        sys.exit(f"error: {errors} requests failed, so the figures above do not count")


def expect_all(tools, names):
    missing = sorted(name for name in names if not tools.is_there(name))
    if not missing:
        return
    for name in missing:
        tell(f"error: not there: {name} ({toolbox.PACKAGES.get(name, 'built here')})")
    sys.exit("hint: run it once with --install, and without --no-build")


def end_on_signals():
    """Ended from outside, it still ends what it started; a second signal does not stop it from that."""
    kinds = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]

    def end(number, _):
        for kind in kinds:
            signal.signal(kind, signal.SIG_IGN)
        sys.exit(f"error: ended by {signal.Signals(number).name}")

    for kind in kinds:
        signal.signal(kind, end)


def measure_all(arguments, tools, chance, lines):
    samples, peaks, memory, counts = [], [], [], []
    with tempfile.TemporaryDirectory(prefix="tidegate-compare-") as name:
        backends, sets = prepare(arguments, tools, Path(name))
        try:
            for backend in backends:
                backend.start()
            if arguments.instructions:
                counts = run_instructions(arguments, tools, sets["loads"].proxies, Path(name))
            else:
                samples, peaks = run_loads(arguments, tools, sets, chance)
                memory = run_memory(arguments, sets, chance)
        finally:
            for one in sets.values():
                one.end()
            for backend in backends:
                backend.end()
    if arguments.instructions:
        write_instructions(arguments, lines, counts)
    else:
        write_report(arguments, tools, lines, samples, peaks, memory)


def main():
    arguments = options.parse_arguments()
    tools = toolbox.Tools(arguments.target)
    needed = toolbox.needed(arguments)
    if arguments.needs:
        print(" ".join(needed))
        return
    expect_all(tools, set(needed) - (toolbox.BUILT if arguments.before_build else set()))
    if arguments.before_build:
        return
    end_on_signals()
    seed = time.time_ns() % 1_000_000 if arguments.seed is None else arguments.seed
    arguments.out.mkdir(parents=True, exist_ok=True)
    arguments.svg.parent.mkdir(parents=True, exist_ok=True)
    measure_all(arguments, tools, random.Random(seed), about(arguments, tools, seed))


if __name__ == "__main__":
    main()
