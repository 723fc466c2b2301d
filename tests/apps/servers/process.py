"""Processes: started, watched and ended by this test, each with its log; nothing is ended by name."""

import os
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

HOST = "127.0.0.1"
START_SECONDS_MAX = 20
EXIT_SECONDS_MAX = 20  # after SIGTERM; an app that holds something may wait for it


class Wrong(Exception):
    """Something that makes the rest of a server's drains meaningless."""


class Process:
    def __init__(self, name, command, log, environment=None, stdout=None):
        self.name = name
        self.log = Path(log)
        with self.log.open("ab") as said, open(stdout or self.log, "ab") as out:
            self.child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL, stdout=out, stderr=said, start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
        self.pidfd = os.pidfd_open(self.child.pid)  # a child that was not waited for: nobody else has its number
        self.code = None

    @property
    def pid(self):
        return self.child.pid

    def is_running(self):
        return self.code is None and not select.select([self.pidfd], [], [], 0)[0]

    def stop(self):
        return stop_together(self)[0]

    def finish(self):
        """It is gone."""
        self.code = self.child.wait()
        os.close(self.pidfd)

    def kill(self):
        """Also what it started: it leads a group of its own."""
        if self.code is not None:
            return
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        Process.finish(self)

    def tail(self, lines=12):
        return self.log.read_text(errors="replace").splitlines()[-lines:]

    def wait_for(self, what, is_there):
        deadline = time.monotonic() + START_SECONDS_MAX
        while not is_there():
            if not self.is_running() or time.monotonic() > deadline:
                how = "not in time" if self.is_running() else "it ended"
                raise Wrong(f"{self.name}: {what}: {how}; its log ends:\n" + "\n".join(self.tail()))
            time.sleep(0.02)


def stop_together(*processes):
    """SIGTERM to each; the times in ms until they are gone, which the kernel tells at once."""
    asked, took = {}, {}
    for process in processes:
        asked[process.pidfd] = time.monotonic()
        process.child.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + EXIT_SECONDS_MAX
    while left := [process for process in processes if process.pidfd not in took]:
        gone = select.select([process.pidfd for process in left], [], [], max(0, deadline - time.monotonic()))[0]
        took.update({pidfd: (time.monotonic() - asked[pidfd]) * 1000 for pidfd in gone})
        if not gone:
            raise Wrong(f"{left[0].name} did not exit within {EXIT_SECONDS_MAX} s of SIGTERM")
    times = [took[process.pidfd] for process in processes]
    for process in processes:
        process.finish()
    return times


def free_port():
    """Below the ports that the kernel gives to clients, of which the load takes many: none of them can take it again."""
    first_of_clients = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(1000):
        port = int.from_bytes(os.urandom(2), "big")
        if not 10000 <= port < first_of_clients:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
                return port
            except OSError:
                pass
    raise SystemExit(f"error: no free port from 10000 to {first_of_clients}")


def sockets_of(port):
    """What the kernel has on that port: (side, state), side `app` or `proxy`. Connects to nothing."""
    found = subprocess.run(
        ["ss", "-Htan", f"( sport = :{port} or dport = :{port} )"],
        check=True, capture_output=True, text=True, timeout=20,
    ).stdout
    for line in found.splitlines():
        state, _, _, local = line.split()[:4]
        yield ("app" if local.endswith(f":{port}") else "proxy"), state


def connections_on(port):
    """Connections to that port, seen from outside: the larger of what the app's side and the proxy's side still hold.

    The app does not hold one that the other side has closed (CLOSE-WAIT), nor one that it has closed itself; the proxy
    holds one that only the app has closed.
    """
    open_states = {"app": {"ESTAB", "SYN-RECV"}, "proxy": {"ESTAB", "SYN-SENT", "CLOSE-WAIT"}}
    held = {"app": 0, "proxy": 0}
    for side, state in sockets_of(port):
        held[side] += state in open_states[side]
    return max(held.values())


def listens(port):
    return any(state == "LISTEN" for _, state in sockets_of(port))
