"""What every proxy of the comparison has in common: its process, its counters, and the four steps of a
deploy.

The steps, in the order in which replacement.py takes them:

  put_in(new, old)    the new instance, which answers its own health check by now, gets traffic
  take_out(old)       the old one gets no new requests; returns when the proxy has taken that up, as far as it
                      tells
  wait_drained(old)   the proxy's own, documented way to know that the old one can be ended; "drained",
                      "grace" (nobody said so, a fixed time is over) or "not in time"
  remove(old)         its process is gone; the proxy forgets it

`commands` counts what a deploy script would have to send or write, `polls` how often it had to ask again.
"""

import abc
import http.client
import json
import signal
import socket
import subprocess
import time
from pathlib import Path

from instance import Instance
from sockets import HOST, PORTS

START_SECONDS_MAX = 30
END_SECONDS_MAX = 10
STEP_SECONDS_MAX = 30  # of each step that waits
# How often a script asks again. Ten times as often would shorten a drain by 25 ms on average, once a second
# (what published scripts do) would lengthen it by half a second.
POLL_SECONDS = 0.05

DRAINED, GRACE, NOT_IN_TIME = "drained", "grace", "not in time"


class StepFailed(Exception):
    """The proxy did not do what a step asked for."""


class Proxy(abc.ABC):
    name: str
    title: str
    version_pattern: str  # in what `version_command` prints
    version_words: tuple[str, ...]

    def __init__(self, binary: Path, folder: Path, instances: list[Instance], has_sessions: bool = False):
        self.binary = binary
        self.folder = folder
        self.has_sessions = has_sessions  # WebSockets stay open for long: see block.py
        self.members = list(instances)  # what the configuration has in its pool
        self.port, self.admin_port = free_ports(2)
        self.commands = self.polls = 0
        self.process: subprocess.Popen | None = None

    # --- the process ---

    @abc.abstractmethod
    def command_line(self) -> list[str]:
        """Writes the configuration and says how to start with it, in the foreground."""

    def start(self):
        words = self.command_line()
        with (self.folder / f"{self.name}.log").open("ab") as log:
            try:
                self.process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                    env=self.environment(),
                )
            except OSError as error:
                raise SystemExit(f"error: {self.name}: does not start: {error}") from error
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self.serves():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(
                    f"error: {self.name}: found no answer, expected 200 on /up\nhint: {self.said()}"
                )
            time.sleep(0.1)

    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.folder), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}

    def serves(self) -> bool:
        try:
            return fetch(self.port, "GET", "/up")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def said(self) -> str:
        return (self.folder / f"{self.name}.log").read_text(errors="replace")[-1500:]

    def end(self):
        """SIGINT ends each of them at once."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    # --- the steps ---

    @abc.abstractmethod
    def put_in(self, new: Instance, old: Instance): ...

    @abc.abstractmethod
    def take_out(self, old: Instance): ...

    @abc.abstractmethod
    def wait_drained(self, old: Instance) -> str: ...

    @abc.abstractmethod
    def remove(self, old: Instance): ...

    # --- the same in a control run, in which nobody waits ---

    def begin_drain(self, old: Instance):
        self.take_out(old)

    def remove_undrained(self, old: Instance):
        self.remove(old)

    # --- waiting ---

    def until(self, is_so, what: str):
        """Asks until it is so; each question after the first is a poll."""
        if not self.becomes(is_so):
            raise StepFailed(f"{self.name}: {what}: not within {STEP_SECONDS_MAX} s")

    def becomes(self, is_so) -> bool:
        deadline = time.monotonic() + STEP_SECONDS_MAX
        while not is_so():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
            self.polls += 1
        return True


class SwappingProxy(Proxy):
    """One whose pool is its configuration: one new configuration puts the new one in and takes the old one
    out.

    Nothing is gained by two: the new instance has answered its health check already, and each change of the
    configuration costs what a reload costs.
    """

    def put_in(self, new: Instance, old: Instance):
        self.members = [new if one is old else one for one in self.members]


def fetch(port: int, method: str, path: str, body=None, timeout: float = 10) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        headers = {"Connection": "close"} | ({"Content-Type": "application/json"} if body is not None else {})
        text = None if body is None else json.dumps(body)
        connection.request(method, path, body=text, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def replace_file(path: Path, text: str):
    """The reader sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    temporary.replace(path)


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens; all are held until the last is found."""
    held: list[socket.socket] = []
    start = (time.monotonic_ns() // 1000) % len(PORTS)  # others look for free ports too
    for n in range(len(PORTS)):
        if len(held) == count:
            break
        try:
            held.append(socket.create_server((HOST, PORTS[(start + n) % len(PORTS)])))
        except OSError:
            continue
    ports = [listener.getsockname()[1] for listener in held]
    for listener in held:
        listener.close()
    return ports
