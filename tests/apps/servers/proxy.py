"""The proxy in front of the instances of one server, and the load on it."""

import json
import subprocess
import time

import kinds
from process import HOST, Process, Wrong

CALL_SECONDS_MAX = 60

CONFIG = """\
admin: {{socket: "{folder}/admin.sock"}}
state: {{file: "{folder}/state.json"}}
listeners: [{{address: "{host}:0"}}]
pools:
  web:
    backends: [{{id: "{id}", address: "{address}"}}]
    health: {{http: /up, interval: 200ms, timeout: 200ms, rise: 2, fall: 15}}
routes: [{{pool: web}}]
"""


def config_of(folder, first):
    return CONFIG.format(host=HOST, folder=folder, id=first.id, address=first.address)


class Proxy(Process):
    """Its admin socket must be `admin.sock` in the folder."""

    def __init__(self, tools, folder, config):
        self.binary, self.folder = tools.tidegate, folder
        self.admin = f"unix:{folder}/admin.sock"
        file = folder / "tidegate.yaml"
        file.write_text(config)
        super().__init__("tidegate", [self.binary, "run", "-c", file], folder / "tidegate.log")

    def wait_until_healthy(self, first):
        self.wait_for(f"{first.id} is healthy", lambda: self.is_eligible(first.id))
        self.address = self.call("status")[1]["listeners"][0]["address"]

    def call(self, *words):
        """A verb of the command line: exit code and document."""
        done = subprocess.run(
            [self.binary, *words, "--json", "--admin", self.admin],
            capture_output=True, text=True, timeout=CALL_SECONDS_MAX,
        )
        return done.returncode, json.loads(done.stdout or "{}")

    def is_eligible(self, id):
        code, document = self.call("status", f"web/{id}")
        return code == 0 and document["backend"]["eligible"]

    def add(self, instance):
        code, document = self.call("add", f"web/{instance.id}", instance.address, "--wait", "20s")
        if code != 0:
            raise Wrong(f"add {instance.id}: exit code {code}, {document}")

    def drain(self, instance, options):
        """The time in ms until it was drained; every drain must be clean."""
        began = time.monotonic()
        code, document = self.call("drain", f"web/{instance.id}", "--wait", "30s", *options)
        took = (time.monotonic() - began) * 1000
        if code != 0 or document.get("outcome") != "clean":
            raise Wrong(f"drain {instance.id}: exit code {code}, {document}")
        return took

    def end(self):
        self.stop()
        if self.code != 0:
            raise Wrong(f"tidegate ended with exit code {self.code}")
        if "panicked" in self.log.read_text(errors="replace"):
            raise Wrong("tidegate panicked")


# Every kind that is long takes about a second, so that one drain is over in little more.
SHAPE = ["-slow", "1s", "-events", "10", "-gap", "100ms", "-upload", "1s", "-ws", "1200ms"]
CAP = "5s"  # a request that was held is late, and later than this it has failed
DRAIN_SECONDS_MAX = 15  # it is told when to end; the duration is for the case that nobody is left to tell it


class Load(Process):
    def __init__(self, tools, folder, proxy, kind, drains, *options, rates=kinds.RATES):
        self.result_file = folder / "load.json"
        self.windows_file = folder / "windows"
        self.table_file = folder / "load.txt"
        self.rates = {name: rate for name, rate in rates.items() if name not in kind.without}
        super().__init__("load", [
            tools.load, "-target", f"http://{proxy.address}", "-cap", CAP, *SHAPE, "-seeds", kinds.SEEDS,
            "-rate", ",".join(f"{name}={rate}" for name, rate in self.rates.items()),
            "-duration", f"{60 + drains * DRAIN_SECONDS_MAX}s",
            "-windows", self.windows_file, "-json", self.result_file, *options,
        ], folder / "load.log", stdout=self.table_file)

    def mark(self, word):
        with self.windows_file.open("a") as file:
            file.write(f"{word} {int(time.time() * 1000)}\n")

    def end(self):
        """Sends nothing new, waits for what is open; the result."""
        self.stop()
        if not self.result_file.exists():
            raise Wrong("the load has no result: " + "\n".join(self.tail()))
        return json.loads(self.result_file.read_text())
