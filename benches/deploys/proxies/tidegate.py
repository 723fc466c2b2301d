"""tidegate, by its command line, as deploy/scripts/rolling.sh uses it (deploy/README.md, "The verbs").

`add` waits until the new one is healthy: one good probe here (`rise: 1`), as the instance has answered
before; with the default of two it takes one `interval` longer. `drain` is one call that comes back the moment
the old one holds neither requests nor tunnels nor connections; its exit code says whether the process can be
ended. It takes the old one out and waits, so `take_out` has nothing to do. Nothing is polled.
"""

import json
import os
import subprocess

from instance import Instance
from proxies.base import DRAINED, NOT_IN_TIME, STEP_SECONDS_MAX, Proxy, StepFailed

CONFIG = """\
admin: {{socket: {folder}/admin.sock}}
state: {{file: {folder}/state.json}}
listeners:
  - {{address: "127.0.0.1:{port}"}}
pools:
  web:
    backends:
{backends}
    health: {{http: /up, interval: 500ms, timeout: 500ms, rise: 1, fall: 3}}
routes: [{{pool: web}}]
"""


class Tidegate(Proxy):
    name = "tidegate"
    title = "tidegate"
    version_words = ("--version",)
    version_pattern = r"tidegate (\S+)"

    def command_line(self) -> list[str]:
        backends = "\n".join(f'      - {{id: {one.name}, address: "{one.address}"}}' for one in self.members)
        config = self.folder / "tidegate.yaml"
        config.write_text(CONFIG.format(folder=self.folder, port=self.port, backends=backends))
        return [str(self.binary), "run", "-c", str(config)]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "TIDEGATE_ADMIN": f"unix:{self.folder}/admin.sock"}

    def serves(self) -> bool:
        """Both are eligible."""
        if not super().serves():
            return False
        status = self.ask("status", "web", "--json")
        return status.returncode == 0 and status.stdout.count('"eligible": true') == len(self.members)

    def put_in(self, new: Instance, old: Instance):
        self.tell("add", f"web/{new.name}", new.address, "--wait", "15s")

    def take_out(self, old: Instance):
        pass

    def wait_drained(self, old: Instance) -> str:
        self.commands += 1
        # By default tunnels are closed from 30 s on, over 20 s, so that their clients do not come back all at
        # once.
        clocks = ("--close-after", "1s", "--spread", "1s") if self.has_sessions else ()
        ended = self.ask("drain", f"web/{old.name}", "--wait", f"{STEP_SECONDS_MAX}s", *clocks, "--json")
        if ended.returncode not in (0, 6, 7):
            raise StepFailed(f"tidegate drain: exit code {ended.returncode}: {ended.stderr.strip()}")
        outcome = json.loads(ended.stdout)["outcome"]
        return {"clean": DRAINED, "not_yet": NOT_IN_TIME}.get(outcome, outcome)

    def begin_drain(self, old: Instance):
        self.tell("drain", f"web/{old.name}", "--no-wait")

    def remove_undrained(self, old: Instance):
        # 7: something was cut. It was not this that cut it, the process is gone.
        self.tell("remove", f"web/{old.name}", "--force", accepted=(0, 7))

    def remove(self, old: Instance):
        self.tell("remove", f"web/{old.name}")

    def tell(self, *words: str, accepted=(0,)):
        self.commands += 1
        ended = self.ask(*words)
        if ended.returncode not in accepted:
            raise StepFailed(f"tidegate {words[0]}: exit code {ended.returncode}: {ended.stderr.strip()}")

    def ask(self, *words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(self.binary), *words],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * STEP_SECONDS_MAX,
        )
