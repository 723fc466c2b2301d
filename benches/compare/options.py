"""What can be asked for on the command line, and what is refused, before anything is installed or started."""

import argparse
from pathlib import Path

import peers
from workloads import WORKLOADS

RATE, IDLE, WS, MEMORY = "rate", "idle", "ws", "memory"
ALL_WORKLOADS = [*WORKLOADS, RATE, IDLE, WS, MEMORY]
ABOUT = "CPU time per request, latency and memory of proxies side by side."


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


def parse_arguments(words=None):
    parser = argparse.ArgumentParser(prog="run.sh", description=ABOUT, epilog=(
        "of run.sh itself: --install (what is missing, then the run), --no-build (take what was built)"
    ))
    add = parser.add_argument
    add("--rounds", type=number(1, 1000), default=10, help="rounds (default 10)")
    add("--seconds", type=number(1, 60), default=1, help="length of one load (default 1)")
    add("--workloads", type=one_of(ALL_WORKLOADS), metavar="A,B", help=f"some of {','.join(ALL_WORKLOADS)}")
    add("--proxies", type=one_of(peers.ALL), metavar="A,B", help=f"some of {','.join(peers.ALL)}")
    add("--instructions", action="store_true",
        help=f"count instructions per request under valgrind instead ({','.join(peers.COUNTED)} only)")
    add("--rate", type=number(10, 100_000), default=1000, metavar="N",
        help="requests per second of the workload rate (default 1000)")
    add("--rate-seconds", type=number(1, 600), default=4, metavar="N", help="its length (default 4)")
    add("--message-bytes", type=number(1, 65_535), default=64, metavar="N",
        help="size of a message of the workload ws (default 64)")
    add("--memory-connections", type=number(10, 50_000), default=5000, metavar="N",
        help="idle clients of the workloads idle and memory (default 5000)")
    add("--memory-rounds", type=number(1, 100), default=3, metavar="N",
        help="fresh processes of each proxy in the workload memory (default 3)")
    add("--seed", type=int, default=None, help="order of the rounds (default: the time)")
    add("--out", type=Path, help="folder for report.md, report.json, compare.svg (default target/compare)")
    add("--svg", type=Path, help="file for the plot, in place of compare.svg in --out")
    # Of run.sh: where it builds, what it has to install and build, whether all else is there.
    add("--target", type=Path, required=True, help=argparse.SUPPRESS)
    add("--needs", action="store_true", help=argparse.SUPPRESS)
    add("--before-build", action="store_true", help=argparse.SUPPRESS)
    add("--asked", default="", help=argparse.SUPPRESS)
    return complete(parser, parser.parse_args(words))


def complete(parser, arguments):
    """Defaults that depend on other arguments, and what does not go together."""
    arguments.out = arguments.out or arguments.target / "compare"
    arguments.svg = arguments.svg or arguments.out / "compare.svg"
    possible = list(WORKLOADS) if arguments.instructions else ALL_WORKLOADS
    arguments.workloads = arguments.workloads or possible
    arguments.proxies = arguments.proxies or (peers.COUNTED if arguments.instructions else peers.ALL)
    if arguments.instructions:
        for name in arguments.proxies:
            if name not in peers.COUNTED:
                parser.error(f"--instructions: found {name}, expected some of {','.join(peers.COUNTED)}")
        for name in arguments.workloads:
            if name not in WORKLOADS:
                parser.error(f"--instructions: found {name}, expected some of {','.join(WORKLOADS)}")
    return arguments
