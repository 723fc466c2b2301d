"""Envoy, by endpoint discovery from a file (envoyproxy.io, "Dynamic configuration from filesystem").

  put in    replace the EDS file, then GET /clusters until the new endpoint's active health checks have passed
  take out  replace the file: the old one's health_status DRAINING (config.core.v3.HealthStatus), which gets
            no new requests; then ask /clusters until its `eds_health_status` says so
  drained   GET /clusters until `rq_active` of the old one, which counts WebSockets too, is 0; then replace
            the file without it, by which Envoy closes its idle connections, and ask until it is gone from the
            list (`ignore_health_on_host_removal`, config.cluster.v3.Cluster: otherwise it stays while its
            checks pass)
  remove    is done by then

The route has no `timeout`, which is 15 s by default and would cut streams ("How do I configure timeouts?"),
upgrades are on for WebSockets ("HTTP upgrades"), and what failed before a request was sent is retried
("x-envoy-retry-on").
"""

import json

from instance import Instance
from proxies.base import DRAINED, NOT_IN_TIME, Proxy, fetch, replace_file

CLUSTER = "web"
TYPES = "type.googleapis.com/envoy"


class Envoy(Proxy):
    name = "envoy"
    title = "Envoy"
    version_words = ("--version",)
    version_pattern = r"/(\d+\.\d+\.\d+)/"

    def command_line(self) -> list[str]:
        self.endpoints = self.folder / "eds" / "eds.json"
        self.endpoints.parent.mkdir()
        self.write_endpoints()
        config = self.folder / "envoy.json"
        config.write_text(
            json.dumps(
                {
                    "node": {"id": "envoy", "cluster": "bench"},
                    "admin": {"address": socket_address(self.admin_port)},
                    "static_resources": {"listeners": [self.listener()], "clusters": [self.cluster()]},
                }
            )
        )
        return [
            str(self.binary),
            "-c",
            str(config),
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "-l",
            "warning",
        ]

    def listener(self) -> dict:
        retry = {"retry_on": "connect-failure,refused-stream,reset-before-request", "num_retries": 2}
        route = {
            "match": {"prefix": "/"},
            "route": {"cluster": CLUSTER, "timeout": "0s", "retry_policy": retry},
        }
        manager = {
            "@type": f"{TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "web",
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "route_config": {"virtual_hosts": [{"name": "web", "domains": ["*"], "routes": [route]}]},
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": f"{TYPES}.extensions.filters.http.router.v3.Router"},
                }
            ],
        }
        filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
        return {"address": socket_address(self.port), "filter_chains": [{"filters": filters}]}

    def cluster(self) -> dict:
        source = {"path": str(self.endpoints), "watched_directory": {"path": str(self.endpoints.parent)}}
        return {
            "name": CLUSTER,
            "type": "EDS",
            "connect_timeout": "1s",
            "lb_policy": "LEAST_REQUEST",
            "ignore_health_on_host_removal": True,
            "eds_cluster_config": {
                "eds_config": {"path_config_source": source, "resource_api_version": "V3"}
            },
            "health_checks": [
                {
                    "timeout": "0.5s",
                    "interval": "0.5s",
                    "no_traffic_interval": "0.5s",
                    "healthy_threshold": 1,
                    "unhealthy_threshold": 3,
                    "http_health_check": {"path": "/up"},
                }
            ],
        }

    def write_endpoints(self, leaving: Instance | None = None):
        endpoints = [endpoint(one, "UNKNOWN") for one in self.members]
        if leaving:
            endpoints.append(endpoint(leaving, "DRAINING"))
        replace_file(
            self.endpoints,
            json.dumps(
                {
                    "resources": [
                        {
                            "@type": f"{TYPES}.config.endpoint.v3.ClusterLoadAssignment",
                            "cluster_name": CLUSTER,
                            "endpoints": [{"lb_endpoints": endpoints}],
                        }
                    ]
                }
            ),
        )

    def put_in(self, new: Instance, old: Instance):
        self.members.append(new)
        self.commands += 2  # the file, the question
        self.write_endpoints()
        self.until(lambda: is_healthy(self.hosts(), new.address), f"{new.name} is healthy")

    def take_out(self, old: Instance):
        self.members.remove(old)
        self.commands += 2
        self.write_endpoints(leaving=old)
        self.until(lambda: is_draining(self.hosts(), old.address), f"{old.name} is DRAINING")

    def wait_drained(self, old: Instance) -> str:
        self.commands += 1
        if not self.becomes(lambda: active(self.hosts(), old.address) == 0):
            return NOT_IN_TIME
        self.forget(old)
        return DRAINED

    def forget(self, old: Instance):
        self.commands += 2
        self.write_endpoints()
        self.until(lambda: old.address not in self.hosts(), f"{old.name} is gone")

    def remove(self, old: Instance):
        pass

    def remove_undrained(self, old: Instance):
        self.forget(old)

    def hosts(self) -> dict[str, dict]:
        return hosts_in(json.loads(fetch(self.admin_port, "GET", "/clusters?format=json")[1]))


def socket_address(port: int) -> dict:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def endpoint(instance: Instance, health: str) -> dict:
    return {"endpoint": {"address": socket_address(instance.port)}, "health_status": health}


def hosts_in(clusters: dict) -> dict[str, dict]:
    """Address -> what /clusters?format=json says of it."""
    found = {}
    for cluster in clusters.get("cluster_statuses", []):
        for host in cluster.get("host_statuses", []) if cluster["name"] == CLUSTER else []:
            address = host["address"]["socket_address"]
            found[f"{address['address']}:{address['port_value']}"] = host
    return found


def is_healthy(hosts: dict, address: str) -> bool:
    health = hosts.get(address, {}).get("health_status", {"failed_active_health_check": True})
    return not health.get("failed_active_health_check") and not health.get("pending_active_hc")


def is_draining(hosts: dict, address: str) -> bool:
    return hosts.get(address, {}).get("health_status", {}).get("eds_health_status") == "DRAINING"


def active(hosts: dict, address: str) -> int:
    """`rq_active`; one that is 0 is left out of the JSON's value."""
    for one in hosts.get(address, {}).get("stats", []):
        if one["name"] == "rq_active":
            return int(one.get("value", 0))
    return 0
