"""One replacement of an instance by a new one, with a clock beside every step, and the same without a drain.

  start     the new process, until it answers its own health check (asked without the proxy)
  put in    until the proxy gives it traffic
  drain     from taking the old one out until the proxy's own way says that it is drained
  stop      from SIGTERM until the process is gone
  remove    until the proxy has forgotten it

What is left to the old one is looked at between `drain` and `stop`: by the harness in the kernel's table, and
by the app itself in its handler of SIGTERM.
"""

import dataclasses
import time

from instance import Instance
from proxies.base import Proxy
from sockets import sockets_of

PHASES = ["start", "put_in", "drain", "stop", "remove"]
# Between the exit of one that was not drained and its removal: what it had is lost by now, the removal adds
# nothing.
SETTLE_SECONDS = 0.5


@dataclasses.dataclass
class Replacement:
    old: str
    outcome: str  # "drained", "grace", "not in time", a word of the proxy's own; "control": nobody waited
    phases_ms: dict[str, float]
    total_ms: float
    sockets_left: int  # ESTABLISHED at the app when it was said to be drained
    drained_unix_ms: int
    commands: int
    polls: int
    app: dict = dataclasses.field(default_factory=dict)  # the old one's own report

    def document(self) -> dict:
        return {**dataclasses.asdict(self), "late_ms": late_ms(self.app, self.drained_unix_ms)}


def late_ms(app: dict, drained_unix_ms: int) -> int | None:
    """From the end of the app's last request to the word "drained"; None if it cannot be told.

    The app notes the end in whole milliseconds, when its handler returns: the answer is on its way then.
    """
    ended = app.get("last_ended_unix_ms", 0)
    held = app.get("held", {})
    if not ended or held.get("requests") or held.get("tunnels"):
        return None
    return drained_unix_ms - ended


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


class Clock:
    def __init__(self):
        self.last = time.monotonic()
        self.phases_ms: dict[str, float] = {}

    def lap(self, phase: str):
        now = time.monotonic()
        self.phases_ms[phase] = round((now - self.last) * 1000, 1)
        self.last = now

    def skip(self):
        """What passed since the last lap was the harness's own."""
        self.last = time.monotonic()

    def total_ms(self) -> float:
        return round(sum(self.phases_ms.values()), 1)


def replace(proxy: Proxy, old: Instance, new: Instance, mark, waits: bool = True) -> Replacement:
    """`mark` is told `begin` before traffic moves and `end` when the old one is forgotten."""
    commands, polls = proxy.commands, proxy.polls
    clock = Clock()
    new.start()
    clock.lap("start")
    mark("begin", unix_ms())
    try:
        proxy.put_in(new, old)
        clock.lap("put_in")
        outcome = retire(proxy, old) if waits else abandon(proxy, old)
        drained = unix_ms()
        clock.lap("drain")
        left = sockets_of(old.port)
        clock.skip()
        old.stop()
        clock.lap("stop")
        forget(proxy, old, waits)
        clock.lap("remove")
    finally:
        mark("end", unix_ms())
    return Replacement(
        old=old.name,
        outcome=outcome,
        phases_ms=clock.phases_ms,
        total_ms=clock.total_ms(),
        sockets_left=left,
        drained_unix_ms=drained,
        commands=proxy.commands - commands,
        polls=proxy.polls - polls,
        app=old.report(),
    )


def retire(proxy: Proxy, old: Instance) -> str:
    proxy.take_out(old)
    return proxy.wait_drained(old)


def abandon(proxy: Proxy, old: Instance) -> str:
    proxy.begin_drain(old)
    return "control"


def forget(proxy: Proxy, old: Instance, waits: bool):
    if waits:
        proxy.remove(old)
    else:
        time.sleep(SETTLE_SECONDS)
        proxy.remove_undrained(old)
