"""Caddy, by its admin API (caddyserver.com/docs/api), which loads a new configuration without closing the
listener.

  put in    nothing: one PATCH puts the new one in and takes the old one out
  take out  PATCH /id/web/upstreams without it: a new configuration, loaded gracefully (docs/api, "PATCH
            /config/[path]", "Using @id in JSON")
  drained   GET /reverse_proxy/upstreams until `num_requests` of the old one is 0 or it is gone from the list
            (docs/api, "GET /reverse_proxy/upstreams"). The list keeps an upstream that was removed while
            something is in flight to it, WebSockets too; that is how 2.11 does it, the manual does not
            promise it. Its idle connections are not on the list, and stay open for the `keep_alive` of the
            transport, 2 m
  remove    is done by then

`stream_close_delay` keeps WebSockets open for so long when the configuration changes; without it they are
closed at once (directive reverse_proxy, "Streaming"). It is for all of the old configuration, whichever
instance they go to. `flush_interval -1` sends events as they come. There is no
`grace_period` by default: what the old configuration has in flight is finished.
"""

import json

from instance import Instance
from proxies.base import DRAINED, NOT_IN_TIME, StepFailed, SwappingProxy, fetch


class Caddy(SwappingProxy):
    name = "caddy"
    title = "Caddy"
    version_words = ("version",)
    version_pattern = r"v([\d.]+)"

    def command_line(self) -> list[str]:
        config = self.folder / "caddy.json"
        server = {
            "listen": [f"127.0.0.1:{self.port}"],
            "automatic_https": {"disable": True},
            "routes": [{"handle": [self.handler()]}],
        }
        config.write_text(
            json.dumps(
                {
                    "admin": {"listen": f"127.0.0.1:{self.admin_port}", "config": {"persist": False}},
                    "apps": {"http": {"servers": {"web": server}}},
                }
            )
        )
        return [str(self.binary), "run", "--config", str(config)]

    def handler(self) -> dict:
        return {
            "@id": "web",
            "handler": "reverse_proxy",
            "upstreams": self.upstreams(),
            "load_balancing": {"selection_policy": {"policy": "least_conn"}},
            "health_checks": {"active": {"uri": "/up", "interval": "500ms", "timeout": "500ms"}},
            "stream_close_delay": "1s" if self.has_sessions else "5m",
            "flush_interval": -1,
        }

    def upstreams(self) -> list[dict]:
        return [{"dial": one.address} for one in self.members]

    def take_out(self, old: Instance):
        self.commands += 1
        status, said = fetch(self.admin_port, "PATCH", "/id/web/upstreams", self.upstreams(), timeout=30)
        if status != 200:
            raise StepFailed(
                f"caddy: PATCH /id/web/upstreams: found {status} {said.decode()!r}, expected 200"
            )

    def wait_drained(self, old: Instance) -> str:
        self.commands += 1
        return DRAINED if self.becomes(lambda: in_flight(self.listed(), old.address) == 0) else NOT_IN_TIME

    def listed(self) -> list[dict]:
        return json.loads(fetch(self.admin_port, "GET", "/reverse_proxy/upstreams")[1])

    def remove(self, old: Instance):
        pass


def in_flight(upstreams: list[dict], address: str) -> int:
    """`num_requests` of this one in /reverse_proxy/upstreams; one that nobody uses is not on the list."""
    return sum(one["num_requests"] for one in upstreams if one["address"] == address)
