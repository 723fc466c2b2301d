"""One proxy with a pool for each app, the app's instances, the load on it, and the scripts that deploy it."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "servers"))

import kinds  # noqa: E402
import process  # noqa: E402
import proxy  # noqa: E402
from process import Wrong  # noqa: E402
from supervisor import Supervisor  # noqa: E402

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
SCRIPTS = DEPLOY / "scripts"
SCRIPT_SECONDS_MAX = 90
RATES = {"fast": 40, "slow": 5, "stream": 4, "post": 10, "upload": 4, "ws": 4}  # per second and app; three apps run at once
LOAD_SECONDS = 1.5  # before the first deploy: longer than any request takes, so that all kinds are in flight

POOL = """\
  {name}:
    backends: [{backends}]
    health: {{http: /up, interval: 200ms, timeout: 200ms, rise: 2, fall: 15}}
    drain: {{tunnels: {{close_after: 0s, spread: 1s}}}}
    rollout: {{min_healthy_time: 300ms, healthy_deadline: 8s, bake: 600ms}}
"""


class App:
    """One app: its pool has its name, its requests its host."""

    def __init__(self, kind, tools, folder, count):
        self.kind, self.tools, self.folder = kind, tools, folder
        self.name = kind.name
        self.supervisor = Supervisor(kind, tools, folder)
        self.first = [self.new(f"v0-{n}") for n in range(1, count + 1)]
        self.problems = []
        self.load = self.result = None

    def new(self, id):
        """ID=ADDRESS of an instance that does not run yet."""
        return f"{id}={process.HOST}:{process.free_port()}"

    def start_first(self):
        for one in self.first:
            id, address = one.split("=")
            self.supervisor.start(id, address.split(":")[1])

    def config(self):
        backends = ", ".join('{{id: {}, address: "{}"}}'.format(*one.split("=")) for one in self.first)
        return POOL.format(name=self.name, backends=backends)

    @property
    def hooks(self):
        return ["--start", self.supervisor.command("start", "{id}", "{port}"), *self.stop_hook]

    @property
    def stop_hook(self):
        return ["--stop", self.supervisor.command("stop", "{id}")]

    @property
    def runs(self):
        """Ids of the instances that run."""
        return sorted(self.supervisor.running)

    def begin_script(self, name, *arguments, **environment):
        """The script, in a process group of its own."""
        return subprocess.Popen(
            [SCRIPTS / name, *[str(word) for word in arguments]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True, env={**self.front.environment, **environment},
        )

    def end_script(self, script):
        """Its exit code and its words; it ends in time."""
        try:
            words, _ = script.communicate(timeout=SCRIPT_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(script.pid, signal.SIGKILL)
            raise Wrong(f"{script.args[0].name} did not end; it said:\n{script.communicate()[0]}") from None
        with (self.folder / "scripts.log").open("a") as log:
            log.write(f"--- {' '.join(str(word) for word in script.args)}\n{words}--- exit code {script.returncode}\n")
        return script.returncode, words

    def script(self, name, *arguments, code=0, **environment):
        """The words of a script that ends with that exit code; while it runs there is a window of the load."""
        if self.load:
            self.load.mark("begin")
        found, words = self.end_script(self.begin_script(name, *arguments, **environment))
        if self.load:
            self.load.mark("end")
        if found != code:
            raise Wrong(f"{name} ended with exit code {found}, expected {code}; it said:\n{words}")
        return words

    def expect(self, what, found, expected):
        if found != expected:
            raise Wrong(f"{what}: found {found}, expected {expected}")

    def serves(self, *ids):
        """Exactly these serve, and they run."""
        code, document = self.front.call("status", self.name)
        self.expect("exit code of status", code, 0)
        found = sorted(one["id"] for one in document["pool"]["backends"] if one["eligible"])
        self.expect(f"those that serve {self.name}", found, sorted(ids))
        missing = set(ids) - set(self.runs)
        self.expect("of those that serve, do not run", missing, set())

    def judge(self, rounds):
        """What the load lost, and what was held at SIGTERM: nothing."""
        result = self.result = self.load.end()
        self.load = None
        if result["failed"]:
            reasons = {name: one["failures"] for name, one in result["kinds"].items() if one["failures"]}
            self.problems.append(f"{result['failed']} of {result['sent']} requests failed: {reasons}")
            self.problems += [str(one) for one in result["samples"][:10]]
        for name, one in result["kinds"].items():
            if one["in_windows"] < rounds:
                self.problems.append(f"hardly any {name} while the scripts ran: {one['in_windows']}")
        for one in self.supervisor.stopped:
            if one.outside or any(one.record.values()):
                self.problems.append(f"{one.version} held {one.record} at SIGTERM, seen from outside: {one.outside} connections")


class Front(proxy.Proxy):
    """The proxy, with its admin API on TCP too."""

    def __init__(self, tools, folder, apps):
        self.tcp = f"{process.HOST}:{process.free_port()}"
        self.token_file = folder / "token"
        self.token_file.write_text("a-token-of-this-test\n")
        self.token_file.chmod(0o600)
        tokens = f'[{{name: test, file: "{self.token_file}"}}]'
        super().__init__(tools, folder, (
            f'admin: {{socket: "{folder}/admin.sock", address: "{self.tcp}", tokens: {tokens}}}\n'
            f'state: {{file: "{folder}/state.json"}}\nlisteners: [{{address: "{process.HOST}:0"}}]\npools:\n'
            + "".join(app.config() for app in apps) + "routes:\n"
            + "".join(f"  - {{host: {app.name}.test, pool: {app.name}}}\n" for app in apps)
        ))
        self.environment = {**os.environ, "TIDEGATE": self.binary, "TIDEGATE_ADMIN": self.admin}

    def begin(self, apps):
        for app in apps:
            app.front = self
            self.wait_for(f"{app.name} is healthy", lambda: self.eligible(app.name) == len(app.first))
        self.address = self.call("status")[1]["listeners"][0]["address"]

    def eligible(self, pool):
        code, document = self.call("status", pool)
        return document["pool"]["eligible"] if code == 0 else -1


class Stage:
    """The proxy, apps and loads of one scenario; all of it ends with it."""

    def __init__(self, kinds_of_apps, tools, folder, count, load=True, rounds=1):
        self.tools, self.folder, self.rounds = tools, folder, rounds
        self.apps, self.processes = [], []
        self.kinds, self.count, self.with_load = kinds_of_apps, count, load

    def __enter__(self):
        try:
            for kind in self.kinds:
                folder = self.folder / kind.name
                folder.mkdir(parents=True)
                self.apps.append(App(kind, self.tools, folder, self.count))
            each(self.apps, App.start_first)
            self.front = Front(self.tools, self.folder, self.apps)
            self.processes.append(self.front)
            self.front.begin(self.apps)
            if self.with_load:
                for app in self.apps:
                    app.load = proxy.Load(
                        self.tools, app.folder, self.front, app.kind, 10 * self.rounds, "-host", f"{app.name}.test",
                        rates=RATES)
                    self.processes.append(app.load)
                time.sleep(LOAD_SECONDS)
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        for one in self.processes:
            one.kill()
        for app in self.apps:
            app.supervisor.end()


def each(apps, do, *arguments):
    """For all apps at the same time; what goes wrong is noted with its app."""
    def one(app):
        try:
            do(app, *arguments)
        except Wrong as error:
            app.problems.append(str(error))
        except Exception as error:  # noqa: BLE001, a thread's end must be seen
            app.problems.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=one, args=(app,)) for app in apps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
