"""Drains of real app servers, each behind a real proxy under load, and what their stop costs afterwards.

`tests/scripts/servers_test.sh` calls this; its header says what is judged. kinds.py has the servers, proxy.py the proxy
and the load, process.py how processes are started, watched and timed.

For each server, with the load running all the time, again and again:

    start two instances; `add` one; `drain` the old one
    look what the old one is connected to; SIGTERM; time until it is gone; its own record
    the same moment, SIGTERM to the second new one, which never had a connection; time until it is gone

The exits are compared pair by pair: what else keeps the machine busy then makes both of a pair slower.
And once, so that a zero above means something: an instance that is asked to stop while it has one idle and one busy
connection, which both looks must see. Last of all the app that exits at once is replaced without a drain: requests must fail.
"""

import argparse
import contextlib
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import kinds
import proxy
from process import HOST, Wrong, stop_together

CLOCK_MS = 5  # by which a server's sleep of one step may be late
LOGS_MAX = 8  # of which the ends are printed when something is wrong: the processes started last
LOAD_SECONDS = 1.5  # before the first drain: longer than any request takes, so that all kinds are in flight


def parse_arguments():
    parser = argparse.ArgumentParser()
    for name in ["tidegate", "app", "load", "node", "nginx", "python"]:
        parser.add_argument(f"--{name}", required=True, metavar="BINARY")
    parser.add_argument("--drains", type=int, required=True)
    parser.add_argument("--drain-option", action="append", default=[], help="of `tidegate drain`")
    names = [kind.name for kind in kinds.KINDS]
    parser.add_argument("servers", nargs="*", metavar="SERVER", help=", ".join(names))
    arguments = parser.parse_args()
    for name in arguments.servers:
        if name not in names:
            parser.error(f"found {name!r}, expected some of {', '.join(names)}")
    arguments.servers = arguments.servers or names
    return arguments


@dataclass
class Found:
    """What came of one server."""

    kind: kinds.Kind
    version: str
    problems: list = field(default_factory=list)
    result: dict = None  # of the load
    drain_ms: list = field(default_factory=list)
    exit_ms: list = field(default_factory=list)
    never_ms: list = field(default_factory=list)  # exits of those that never had a connection
    record: dict = field(default_factory=lambda: {"requests": 0, "tunnels": 0, "connections": 0})
    outside: int = 0  # connections seen from outside at SIGTERM, over all drains
    before: list = field(default_factory=list)  # connections when each drain began
    control: str = ""

    def wrong(self, text):
        self.problems.append(text)
        print(f"  WRONG: {text}", flush=True)


class Server:
    """The scenario of one server; ends all that it started."""

    def __init__(self, kind, tools, folder, arguments):
        self.kind, self.tools, self.folder = kind, tools, folder
        self.arguments = arguments
        self.started = []
        self.count = 0
        self.found = Found(kind, kind.version(tools))

    def start(self, process):
        self.started.append(process)
        return process

    def instance(self):
        self.count += 1
        return self.start(kinds.Instance(self.kind, self.tools, f"v{self.count}", self.folder))

    def run(self):
        try:
            self.control()
            self.drains()
        except Wrong as error:
            self.found.wrong(str(error))
        finally:
            for process in reversed(self.started):
                process.kill()
        if self.found.problems:
            for process in self.started[-LOGS_MAX:]:
                print(f"  --- {process.name}", *process.tail(), sep="\n  | ")
        return self.found

    def begin(self):
        """The first instance, the proxy in front of it, and the load."""
        first = self.instance()
        first.wait_until_ready()
        front = self.start(proxy.Proxy(self.tools, self.folder, proxy.config_of(self.folder, first)))
        front.wait_until_healthy(first)
        load = self.start(proxy.Load(self.tools, self.folder, front, self.kind, self.arguments.drains))
        time.sleep(LOAD_SECONDS)
        return first, front, load

    def drains(self):
        old, front, load = self.begin()
        drained = []
        for _ in range(self.arguments.drains):
            new, never = self.instance(), self.instance()
            for one in [new, never]:
                one.wait_until_ready()
            load.mark("begin")
            front.add(new)
            self.found.before.append(old.connections())
            self.found.drain_ms.append(front.drain(old, self.arguments.drain_option))
            self.look(old, never)
            load.mark("end")
            drained.append(old.id)
            old = new
        self.found.result = load.end()
        old.stop()
        front.end()
        self.judge(load, drained)

    def look(self, old, never):
        """At what it still has, from outside and then, with SIGTERM, from inside."""
        outside = old.connections()
        for times, took in zip([self.found.exit_ms, self.found.never_ms], stop_together(old, never)):
            times.append(took)
        record = old.record()
        self.found.outside += outside
        for name, count in (record or {}).items():
            self.found.record[name] += count
        if outside or any((record or {}).values()):
            self.found.wrong(f"{old.id} was drained and has {outside} connections; its own record: {cell(record)}")

    def judge(self, load, drained):
        found, result = self.found, self.found.result
        if result["failed"]:
            found.wrong(f"{result['failed']} requests failed")
            print(load.table_file.read_text(), *(f"  {one}" for one in result["samples"][:20]), sep="\n")
        for name in load.rates:
            if result["kinds"][name]["in_windows"] < self.arguments.drains:
                found.wrong(f"less than one {name} for each drain was open in them")
        for id in drained:
            if not result["versions"].get(id):
                found.wrong(f"{id} had no traffic")
        if not all(found.before):
            found.wrong(f"connections when the drains began: {found.before}")
        if difference(found) > self.kind.exit_ms_max + CLOCK_MS:
            pairs = ", ".join(f"{drained:.0f}/{never:.0f}" for drained, never in zip(found.exit_ms, found.never_ms))
            found.wrong(f"its exit takes {difference(found):.1f} ms longer, allowed {self.kind.exit_ms_max}: {pairs}")

    def control(self):
        """What is held is seen: an idle and a busy connection."""
        one = self.instance()
        one.wait_until_ready()
        with contextlib.ExitStack() as stack:
            idle, busy = (stack.enter_context(socket.create_connection((HOST, one.port), 10)) for _ in range(2))
            for client, path in [(idle, "/fast?n=64&seed=0"), (busy, "/slow?ms=500&n=64&seed=0")]:
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: app\r\n\r\n".encode())
            idle.recv(65536)
            time.sleep(0.2)  # the other one is in its handler
            outside = one.connections()
            took = one.stop()
        record = one.record()
        self.found.control = f"{cell(record)}, {outside}, {took:.0f} ms"
        if outside != 2 or record not in [None, {"requests": 1, "tunnels": 0, "connections": 2}]:
            self.found.wrong(f"an idle and a busy connection were held; seen from outside: {outside}; its own record: {cell(record)}")

    def without_drain(self):
        """The old one stops first, as without a proxy that drains. Returns what the load lost."""
        try:
            old, front, load = self.begin()
            new = self.instance()
            new.wait_until_ready()
            front.add(new)
            old.stop()
            time.sleep(0.5)
            result = load.end()
            return result, old.record()
        finally:
            for process in reversed(self.started):
                process.kill()


def difference(found):
    return statistics.median(drained - never for drained, never in zip(found.exit_ms, found.never_ms))


def cell(record):
    return "-" if record is None else "/".join(str(record[name]) for name in ["requests", "tunnels", "connections"])


def table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def print_table(all_found):
    rows = [["", "", "", "", "", "held at SIGTERM", "", "exit, median ms", "", "", "", "drain", "control: one idle,", ""],
            ["server", "version", "drains", "requests", "failed", "own record", "outside", "drained", "never",
             "longer", "allowed", "ms", "one busy at SIGTERM", "left out"]]
    for found in all_found:
        if not found.exit_ms or not found.never_ms:
            rows.append([found.kind.name, found.version, "0", *["?"] * 11])
            continue
        sent, failed = (found.result[name] for name in ["sent", "failed"]) if found.result else ("?", "?")
        medians = [statistics.median(times) for times in [found.exit_ms, found.never_ms]]
        rows.append([
            found.kind.name, found.version, str(len(found.drain_ms)), str(sent), str(failed),
            cell(found.record if found.kind.records else None), str(found.outside),
            *(f"{ms:.1f}" for ms in [*medians, difference(found)]), str(found.kind.exit_ms_max),
            f"{statistics.median(found.drain_ms):.0f}", found.control, ", ".join(found.kind.without) or "-",
        ])
    table(rows)
    print("own record: requests/tunnels/connections, over all drains; outside: connections that the kernel has open.")
    print("longer: the median of the differences, pair by pair, of an instance that was drained and one that never had a connection.")
    print("control: own record, connections seen from outside, and how long that exit took.")


def main():
    for number in [signal.SIGTERM, signal.SIGHUP]:
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # so that all is cleared up
    arguments = parse_arguments()
    folder = Path(tempfile.mkdtemp(prefix="tidegate-servers-"))
    binaries = {name: getattr(arguments, name) for name in ["tidegate", "app", "load", "node", "nginx", "python"]}
    tools = kinds.Tools(folder, **binaries)

    def server(kind, name):
        inner = folder / name
        inner.mkdir()
        return Server(kind, tools, inner, arguments)

    all_found, failed = [], 0
    try:
        chosen = [kind for kind in kinds.KINDS if kind.name in arguments.servers]
        for kind in chosen:
            print(f"=== {kind.name}", flush=True)
            began = time.monotonic()
            all_found.append(server(kind, kind.name).run())
            failed += bool(all_found[-1].problems)
            print(f"{'FAIL' if all_found[-1].problems else 'ok'}  {kind.name} ({time.monotonic() - began:.0f} s)", flush=True)
        for kind in chosen:
            if kind.name == "exit_at_once":
                print("=== exit_at_once without a drain, which must fail", flush=True)
                failed += not lost_something(server(kind, "without_drain"))
    finally:
        if tools.behind:
            tools.behind.kill()
        if failed or sys.exc_info()[0]:
            print(f"logs and results are in {folder}")
        else:
            shutil.rmtree(folder)
    print()
    print_table(all_found)
    print(f"{len(all_found) + ('exit_at_once' in arguments.servers) - failed} passed, {failed} failed")
    return 1 if failed else 0


def lost_something(server):
    try:
        result, record = server.without_drain()
    except Wrong as error:
        print(f"FAIL  {error}")
        return False
    reasons = {name: one["failures"] for name, one in result["kinds"].items() if one["failures"]}
    print(f"  {result['failed']} of {result['sent']} requests failed, {reasons}; held at SIGTERM {cell(record)}")
    is_seen = result["failed"] > 0 and record["requests"] > 0
    print("ok" if is_seen else "FAIL  nothing was lost without a drain: the drains above prove nothing")
    return is_seen


if __name__ == "__main__":
    sys.exit(main())
