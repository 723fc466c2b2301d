"""Traefik, by its file provider (doc.traefik.io, "File", `watch`).

  put in    nothing: one new file puts the new one in and takes the old one out
  take out  replace the file, then ask GET /api/http/services/web@file until it shows the new set
  drained   nobody says so. Traefik finishes what it has with a server that is gone from the configuration,
            and no API or metric tells how much that is: its gauge of open connections is by entry point, not
            by service (traefik/traefik issue 41, "Drain a backend server", is open since 2015). What is left
            to a script is a time to wait. Here it is 5 s longer than the longest request of the load; one
            that knows its requests less well waits longer
  remove    is done by then

`providersThrottleDuration` is 2 s by default and makes a second change within it wait; 100 ms here.
`idleConnTimeout` (90 s by default) is shorter than the wait here, so that idle connections are closed by its
end.
"""

import json
import time

from instance import Instance
from load import LONGEST_SECONDS
from proxies.base import GRACE, SwappingProxy, fetch, replace_file

GRACE_SECONDS = LONGEST_SECONDS + 5

STATIC = """\
global: {{checkNewVersion: false, sendAnonymousUsage: false}}
log: {{level: ERROR}}
entryPoints:
  web: {{address: "127.0.0.1:{port}"}}
  traefik: {{address: "127.0.0.1:{admin_port}"}}
api: {{insecure: true}}
providers:
  providersThrottleDuration: 100ms
  file: {{directory: {folder}/dynamic, watch: true}}
"""


class Traefik(SwappingProxy):
    name = "traefik"
    title = "Traefik"
    version_words = ("version",)
    version_pattern = r"Version:\s+([\d.]+)"

    def command_line(self) -> list[str]:
        static = self.folder / "traefik.yaml"
        static.write_text(STATIC.format(port=self.port, admin_port=self.admin_port, folder=self.folder))
        self.dynamic = self.folder / "dynamic" / "web.yaml"
        self.dynamic.parent.mkdir()
        self.write_dynamic()
        return [str(self.binary), f"--configFile={static}"]

    def write_dynamic(self):
        balancer = {
            "servers": [{"url": url} for url in self.urls()],
            "healthCheck": {"path": "/up", "interval": "500ms", "timeout": "500ms"},
            "serversTransport": "short",
        }
        replace_file(
            self.dynamic,
            json.dumps(
                {
                    "http": {  # JSON is YAML
                        "routers": {"web": {"rule": "PathPrefix(`/`)", "service": "web"}},
                        "services": {"web": {"loadBalancer": balancer}},
                        "serversTransports": {"short": {"forwardingTimeouts": {"idleConnTimeout": "3s"}}},
                    }
                }
            ),
        )

    def urls(self) -> list[str]:
        return [f"http://{one.address}" for one in self.members]

    def take_out(self, old: Instance):
        self.commands += 2  # the file, the question
        self.write_dynamic()
        self.until(lambda: servers_in(self.service()) == set(self.urls()), "the new file is in use")

    def service(self) -> dict:
        status, said = fetch(self.admin_port, "GET", "/api/http/services/web@file")
        return json.loads(said) if status == 200 else {}

    def wait_drained(self, old: Instance) -> str:
        time.sleep(GRACE_SECONDS)
        return GRACE

    def remove(self, old: Instance):
        pass


def servers_in(service: dict) -> set[str]:
    return {one["url"] for one in service.get("loadBalancer", {}).get("servers", [])}
