"""What the harness reads: HAProxy's tables, JSON of the others, the kernel's table, the load's result."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import load  # noqa: E402
from proxies import caddy, envoy, haproxy, traefik  # noqa: E402
from proxies.base import StepFailed  # noqa: E402
from sockets import established  # noqa: E402

STAT = """\
# pxname,svname,qcur,qmax,scur,smax,slim,status
web,v1,0,0,3,17,,UP
web,v2,2,4,1,9,,DRAIN
web,v3,,,,,,MAINT

"""

STATE = """\
1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state
3 web 1 v1 127.0.0.1 2 0
3 web 2 v2 127.0.0.1 0 1

"""

# Ports 0x1F90 = 8080 and 0x1F91 = 8081; states 01 ESTABLISHED, 08 CLOSE_WAIT, 0A LISTEN.
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 2
   2: 0100007F:C001 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 3
   3: 0100007F:1F90 0100007F:C002 08 00000000:00000000 00:00000000 00000000     0        0 4
   4: 0100007F:1F91 0100007F:C003 01 00000000:00000000 00:00000000 00000000     0        0 5
"""


class HAProxyTables(unittest.TestCase):
    def test_sessions_and_queue_count_as_use(self):
        self.assertEqual(haproxy.in_use(STAT, "v1"), 3)
        self.assertEqual(haproxy.in_use(STAT, "v2"), 3)

    def test_an_empty_field_is_none(self):
        self.assertEqual(haproxy.in_use(STAT, "v3"), 0)

    def test_a_server_that_is_not_there_is_no_drained_one(self):
        with self.assertRaises(StepFailed):
            haproxy.in_use(STAT, "v4")

    def test_the_operational_state_is_found_by_name(self):
        self.assertEqual(haproxy.server_state(STATE, "v1"), haproxy.OPERATIONAL_UP)
        self.assertNotEqual(haproxy.server_state(STATE, "v2"), haproxy.OPERATIONAL_UP)


class Documents(unittest.TestCase):
    def test_caddy_tells_what_a_removed_upstream_has_in_flight(self):
        listed = [{"address": "a:1", "num_requests": 2}, {"address": "b:1", "num_requests": 0}]
        self.assertEqual(caddy.in_flight(listed, "a:1"), 2)
        self.assertEqual(caddy.in_flight(listed, "c:1"), 0)

    def test_traefik_shows_the_servers_in_use(self):
        service = {"loadBalancer": {"servers": [{"url": "http://a:1"}, {"url": "http://b:1"}]}}
        self.assertEqual(traefik.servers_in(service), {"http://a:1", "http://b:1"})
        self.assertEqual(traefik.servers_in({}), set())

    def test_envoy_is_healthy_only_after_a_check(self):
        hosts = envoy.hosts_in(clusters({"failed_active_health_check": True, "pending_active_hc": True}))
        self.assertFalse(envoy.is_healthy(hosts, "127.0.0.1:8080"))
        self.assertFalse(envoy.is_healthy(hosts, "127.0.0.1:1"))
        hosts = envoy.hosts_in(clusters({"eds_health_status": "HEALTHY"}))
        self.assertTrue(envoy.is_healthy(hosts, "127.0.0.1:8080"))

    def test_envoy_tells_active_requests_and_draining(self):
        hosts = envoy.hosts_in(clusters({"eds_health_status": "DRAINING"}))
        self.assertTrue(envoy.is_draining(hosts, "127.0.0.1:8080"))
        self.assertEqual(envoy.active(hosts, "127.0.0.1:8080"), 7)


def clusters(health: dict) -> dict:
    host = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}},
        "stats": [{"name": "cx_active", "value": "9"}, {"name": "rq_active", "value": "7"}],
        "health_status": health,
    }
    return {"cluster_statuses": [{"name": "other"}, {"name": envoy.CLUSTER, "host_statuses": [host]}]}


class KernelTable(unittest.TestCase):
    def test_only_established_ends_of_the_app_count(self):
        self.assertEqual(established(TCP, 8080), 1)
        self.assertEqual(established(TCP, 8081), 1)
        self.assertEqual(established(TCP, 8082), 0)


class LoadResult(unittest.TestCase):
    def test_an_error_without_our_header_is_the_proxys(self):
        kind = {"sent": 9, "failed": 3, "in_windows": 4, "p50_ms": 1, "p99_ms": 2, "max_ms": 3}
        kind["failures"] = {"status_502(app)": 2, "status_503(tidegate no_backend)": 1}
        found = load.summary_of(
            {
                "sent": 9,
                "failed": 3,
                "failed_in_windows": 3,
                "ws_closed_1001": 0,
                "late_max_ms": 0.5,
                "kinds": {"fast": kind},
                "samples": [{"kind": "fast", "reason": "status_502(app)"}],
            }
        )
        expected = {"status_502(proxy)": 2, "status_503(tidegate no_backend)": 1}
        self.assertEqual(found["kinds"]["fast"]["failures"], expected)
        self.assertEqual(found["samples"][0]["reason"], "status_502(proxy)")


if __name__ == "__main__":
    unittest.main()
