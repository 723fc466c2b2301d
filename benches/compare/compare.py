"""Runs every proxy under every workload in short rounds of random order, and writes the report.

`run.sh` beside this file builds and finds what is needed and calls this. All of it runs on
loopback, in a folder of its own, for a bounded time; what was started is ended, whatever happens.
"""

import argparse
import json
import os
import platform
import random
import resource
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

import measure
import parties
import report

MEMORY = "memory"
PROXIES = ["haproxy", "bare", "tidegate"]
ALL_WORKLOADS = [*measure.WORKLOADS, MEMORY]
# Descriptors beyond one for each client: connections to the backend, sockets, files.
SPARE_DESCRIPTORS = 1000


def parse_arguments():
    parser = argparse.ArgumentParser(prog="run.sh", description=__doc__.splitlines()[0])

    def one_of(known):
        def parse(text):
            chosen = text.split(",")
            for name in chosen:
                if name not in known:
                    raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
            return [name for name in known if name in chosen]

        return parse

    def number(low, high):
        def parse(text):
            if not text.isdecimal() or not low <= int(text) <= high:
                raise argparse.ArgumentTypeError(f"{text!r} is no number from {low} to {high}")
            return int(text)

        return parse

    add = parser.add_argument
    add("--rounds", type=number(1, 1000), default=20, help="rounds (default 20)")
    add("--seconds", type=number(1, 60), default=1, help="length of one load (default 1)")
    add("--workloads", type=one_of(ALL_WORKLOADS), default=ALL_WORKLOADS, metavar="A,B",
        help=f"some of {','.join(ALL_WORKLOADS)}")
    add("--proxies", type=one_of(PROXIES), default=PROXIES, metavar="A,B",
        help=f"some of {','.join(PROXIES)}")
    add("--instructions", action="store_true",
        help="count instructions per request under valgrind, in place of times and memory")
    add("--memory-connections", type=number(10, 50_000), default=5000, metavar="N",
        help="idle clients of the memory workload (default 5000)")
    add("--memory-rounds", type=number(1, 100), default=5, metavar="N",
        help="fresh processes of each proxy in the memory workload (default 5)")
    add("--seed", type=int, default=None, help="order of the rounds (default: the time)")
    add("--out", type=Path, required=True, help="folder for report.md and report.json")
    # Found by run.sh.
    binaries = ["haproxy-binary", "bare-binary", "tidegate-binary", "nginx", "wrk", "valgrind"]
    for name in [*binaries, "lock-file"]:
        add(f"--{name}", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


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


def prepare(arguments, folder):
    """The backend and the chosen proxies, none of them started."""
    backend_port, metrics_port, *ports = free_ports(2 + len(PROXIES))
    ports = dict(zip(PROXIES, ports))
    clients_max = arguments.memory_connections + SPARE_DESCRIPTORS // 4
    backend = parties.backend(arguments.nginx, backend_port, folder, os.geteuid() == 0)
    # HAProxy refuses to start with a limit of connections that its descriptors do not allow.
    raise_descriptors(2 * clients_max + SPARE_DESCRIPTORS)
    makers = {
        "haproxy": lambda port: parties.haproxy(
            arguments.haproxy_binary, port, backend_port, folder, clients_max
        ),
        "bare": lambda port: parties.bare(arguments.bare_binary, port, backend_port, folder),
        "tidegate": lambda port: parties.tidegate(
            arguments.tidegate_binary, port, backend_port, folder, metrics_port
        ),
    }
    return backend, [makers[name](ports[name]) for name in arguments.proxies]


def run_loads(arguments, backend, proxies, chance):
    loads = [measure.WORKLOADS[name] for name in arguments.workloads if name != MEMORY]
    if not loads:
        return []
    for proxy in proxies:
        proxy.start()
    for proxy in proxies:
        for load in loads:
            measure.check(proxy, load)
            # Not counted: connections to the backend, caches, the allocator.
            measure.load_once(arguments.wrk, proxy, backend, load, 1)
    samples = []
    for number in range(1, arguments.rounds + 1):
        tell(f"round {number} of {arguments.rounds}")
        for load in chance.sample(loads, len(loads)):
            for proxy in chance.sample(proxies, len(proxies)):
                sample = measure.load_once(
                    arguments.wrk, proxy, backend, load, arguments.seconds
                )
                samples.append({"round": number, **sample})
    for proxy in proxies:
        proxy.end()
    return samples


def run_memory(arguments, proxies, chance):
    if MEMORY not in arguments.workloads:
        return []
    samples = []
    for number in range(1, arguments.memory_rounds + 1):
        tell(f"memory, round {number} of {arguments.memory_rounds}")
        for proxy in chance.sample(proxies, len(proxies)):
            sample = measure.memory_once(proxy, arguments.memory_connections)
            samples.append({"round": number, **sample})
    return samples


def run_instructions(arguments, proxies, folder):
    samples = []
    for name in arguments.workloads:
        for proxy in proxies if name != MEMORY else []:
            tell(f"instructions: {name}, {proxy.name}")
            load = measure.WORKLOADS[name]
            samples.append(measure.instructions_once(arguments.valgrind, proxy, load, folder))
    return samples


def about(arguments, seed):
    """Date, versions and machine, as the report shows them."""
    cpu = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    lines = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {cpu}, Linux {platform.release()}",
        "backend": "nginx " + parties.version([arguments.nginx, "-v"], r"nginx/(\S+)"),
    }
    if arguments.instructions:
        valgrind = parties.version([arguments.valgrind, "--version"], r"valgrind-(\S+)")
        lines["counted by"] = f"valgrind {valgrind}"
    else:
        lines["load at the start"] = f"{os.getloadavg()[0]:.2f}"
        lines["rounds"] = f"{arguments.rounds} of {arguments.seconds} s each; order by seed {seed}"
        wrk = parties.version([arguments.wrk, "-v"], r"wrk \S*?([\d.]+)")
        lines["load generator"] = f"wrk {wrk}"
    if "haproxy" in arguments.proxies:
        haproxy = parties.version([arguments.haproxy_binary, "-v"], r"version ([\d.]+)")
        lines["haproxy"] = f"HAProxy {haproxy}"
    if "bare" in arguments.proxies:
        pingora = parties.locked_version(arguments.lock_file, "pingora-proxy")
        lines["bare"] = f"bare pingora-proxy {pingora}"
    if "tidegate" in arguments.proxies:
        lines["tidegate"] = "tidegate " + parties.locked_version(arguments.lock_file, "tidegate")
    return lines


def tell(text):
    print(text, file=sys.stderr, flush=True)


def main():
    arguments = parse_arguments()
    # Ended from outside, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: ended by SIGTERM"))
    seed = time.time_ns() % 1_000_000 if arguments.seed is None else arguments.seed
    chance = random.Random(seed)
    lines = about(arguments, seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    samples, memory, instructions = [], [], []
    with tempfile.TemporaryDirectory(prefix="tidegate-compare-") as name:
        backend, proxies = prepare(arguments, Path(name))
        try:
            backend.start()
            if arguments.instructions:
                instructions = run_instructions(arguments, proxies, Path(name))
            else:
                samples = run_loads(arguments, backend, proxies, chance)
                memory = run_memory(arguments, proxies, chance)
        finally:
            for party in [*proxies, backend]:
                party.end()
    if arguments.instructions:
        document = {"about": lines, "instructions": instructions}
        (arguments.out / "instructions.json").write_text(json.dumps(document, indent=1) + "\n")
        text = report.instructions_page(instructions, lines, arguments.proxies)
        (arguments.out / "instructions.md").write_text(text)
        print(text)
        return
    result = report.summary(samples, memory, arguments.proxies, arguments.workloads)
    document = {"about": lines, "summary": result, "rounds": samples, "memory_rounds": memory}
    (arguments.out / "report.json").write_text(json.dumps(document, indent=1) + "\n")
    text = report.page(result, lines, arguments.proxies)
    (arguments.out / "report.md").write_text(text)
    print(text)
    errors = sum(sample["errors"] for sample in samples)
    if errors:
        sys.exit(f"error: {errors} requests failed, so the figures above do not count")


if __name__ == "__main__":
    main()
