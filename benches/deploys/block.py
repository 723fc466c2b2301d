"""A block: one fresh proxy, two instances behind it, the load through it, and some replacements one after the
other.

The two instances are replaced in turn, so that each replaced one had all of the load's kinds for one
replacement at least. Everything started is ended, whatever happens.

  drained   the deploy as it is meant: the old one is ended when the proxy's way says that it is drained
  control   the same steps, but nobody waits: what a drain is for is seen to fail
  sessions  drained, while WebSockets stay open five times as long as the longest request: who waits for them,
            who closes them, and how
  steady    nothing is replaced: what fails although nobody deploys is not the deploys'
"""

import contextlib
import tempfile
import time
from pathlib import Path

from instance import Instance
from load import LONGEST_SECONDS, SESSION_SECONDS, WARM_SECONDS, Load
from proxies import PROXIES
from proxies.base import StepFailed
from replacement import replace

GRACEFUL, EXIT_AT_ONCE = "graceful", "exit_at_once"
APPS = [GRACEFUL, EXIT_AT_ONCE]
DRAINED, CONTROL, SESSIONS, STEADY = "drained", "control", "sessions", "steady"
WAYS = [DRAINED, CONTROL, SESSIONS, STEADY]


class Binaries:
    def __init__(self, app: Path, load: Path, proxies: dict[str, Path]):
        self.app, self.load, self.proxies = app, load, proxies


def run_block(binaries: Binaries, proxy_name: str, app: str, way: str, count: int) -> dict:
    """What came of it: the replacements, the load's result, and why it ended early if it did.

    `count` is that of the replacements; of a steady block, its seconds.
    """
    replacements = 0 if way == STEADY else count
    with (
        tempfile.TemporaryDirectory(prefix=f"tidegate-deploys-{proxy_name}-") as name,
        contextlib.ExitStack() as started,
    ):
        folder = Path(name)

        def instance(number: int) -> Instance:
            one = Instance(binaries.app, f"v{number}", folder, app == EXIT_AT_ONCE)
            started.callback(one.end)
            return one

        serving = [instance(1), instance(2)]
        for one in serving:
            one.start()
        proxy = PROXIES[proxy_name](binaries.proxies[proxy_name], folder, serving, way == SESSIONS)
        started.callback(proxy.end)
        proxy.start()
        load = Load(
            binaries.load, proxy.port, folder, SESSION_SECONDS if way == SESSIONS else LONGEST_SECONDS
        )
        started.callback(load.end)
        load.start()
        time.sleep(WARM_SECONDS)
        done, error = [], ""
        try:
            for number in range(replacements):
                old, new = serving[number % 2], instance(number + 3)
                done.append(replace(proxy, old, new, load.mark, waits=way != CONTROL).document())
                serving[number % 2] = new
        except StepFailed as failed:
            error = f"{failed}; its log ends: {proxy.said()[-300:]}"
        time.sleep(count if way == STEADY else 0)
        time.sleep(0.5)  # what the last one changed is seen by some requests more
        return {
            "proxy": proxy_name,
            "app": app,
            "way": way,
            "asked_for": replacements,
            "error": error,
            "replacements": done,
            "load": load.finish(),
        }
