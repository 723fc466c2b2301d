"""HAProxy 2.8, by its runtime API (management guide, section 9.3 "Unix Socket commands").

  put in    `add server` with the check's settings, `enable health`, `enable server`, `show servers state`
            until it is up; an added server is in maintenance mode and its checks are off until then (9.3,
            "add server")
  take out  `set server B/S state drain`: removed from load balancing, still checked
  drained   `show stat` until its `scur`, which counts tunnels too, and `qcur` are 0; then `set server B/S
            state maint`, which also makes HAProxy close the idle connections, and `del server` until it is
            accepted: it is refused while there is an active or an idle connection (9.3, "del server"). So
            when it is accepted, nothing is left. `wait ... srv-removable`, which would wait for that, came
            with 3.0.
  remove    is done by then

Only servers added at run time can be deleted (9.3, "del server"), so the first two are added that way as
well. Of the configuration manual: `option redispatch`, so that a failed connection is tried on another
server, and `timeout tunnel` for WebSockets; `http-reuse safe` and `retries 3` are defaults. `shutdown
sessions server` is not used: it cuts.
"""

import socket

from instance import Instance
from proxies.base import DRAINED, NOT_IN_TIME, STEP_SECONDS_MAX, Proxy, StepFailed

CONFIG = """\
global
  nbthread 1
  stats socket {folder}/haproxy.sock level admin mode 600
  stats timeout 60s
defaults
  mode http
  option redispatch
  timeout connect 1s
  timeout http-request 10s
  timeout http-keep-alive 75s
  timeout client 75s
  timeout server 60s
  timeout tunnel 1h
frontend clients
  bind 127.0.0.1:{port}
  default_backend web
backend web
  balance leastconn
  option httpchk GET /up
"""
CHECK = "check inter 500ms rise 1 fall 3"
OPERATIONAL_UP = "2"  # `srv_op_state` of `show servers state`


class HAProxy(Proxy):
    name = "haproxy"
    title = "HAProxy"
    version_words = ("-v",)
    version_pattern = r"version ([\d.]+)"

    def command_line(self) -> list[str]:
        config = self.folder / "haproxy.cfg"
        config.write_text(CONFIG.format(folder=self.folder, port=self.port))
        return [str(self.binary), "-db", "-f", str(config)]

    def serves(self) -> bool:
        try:
            self.ask("show info")
            while self.members:
                self.put_in(self.members.pop(), None)
        except OSError:
            return False
        return super().serves()

    def put_in(self, new: Instance, old: Instance | None):
        server = f"web/{new.name}"
        self.tell(f"add server {server} {new.address} {CHECK}", "New server registered.")
        self.tell(f"enable health {server}")
        self.tell(f"enable server {server}")
        self.commands += 1
        self.until(lambda: self.is_up(new), f"{server} is up")

    def is_up(self, instance: Instance) -> bool:
        return server_state(self.ask("show servers state web"), instance.name) == OPERATIONAL_UP

    def take_out(self, old: Instance):
        self.tell(f"set server web/{old.name} state drain")

    def wait_drained(self, old: Instance) -> str:
        self.commands += 1
        if not self.becomes(lambda: in_use(self.ask("show stat web 4 -1"), old.name) == 0):
            return NOT_IN_TIME
        return self.delete(old)

    def delete(self, old: Instance) -> str:
        self.tell(f"set server web/{old.name} state maint")
        self.commands += 1
        return DRAINED if self.becomes(lambda: self.is_deleted(old)) else NOT_IN_TIME

    def is_deleted(self, old: Instance) -> bool:
        said = self.ask(f"del server web/{old.name}")
        return "Server deleted" in said or "No such server" in said

    def remove(self, old: Instance):
        if not self.is_deleted(old):
            raise StepFailed(f"haproxy: web/{old.name} could not be deleted")

    def remove_undrained(self, old: Instance):
        self.delete(old)

    def tell(self, line: str, expected: str = ""):
        self.commands += 1
        said = self.ask(line).strip()
        if said != expected:
            raise StepFailed(f'haproxy: {line}: found "{said}", expected "{expected or "nothing"}"')

    def ask(self, line: str) -> str:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(STEP_SECONDS_MAX)
            client.connect(str(self.folder / "haproxy.sock"))
            client.sendall(line.encode() + b"\n")
            said = b""
            while chunk := client.recv(65536):
                said += chunk
        return said.decode()


def in_use(stat: str, server: str) -> int:
    """Sessions on and waiting for this server: `scur` + `qcur` of `show stat` (9.1 "CSV format")."""
    head, *rows = [line.split(",") for line in stat.splitlines() if line]
    names = [name.lstrip("# ") for name in head]
    for row in rows:
        found = dict(zip(names, row))
        if found.get("svname") == server:
            return int(found["scur"] or 0) + int(found["qcur"] or 0)
    raise StepFailed(f"haproxy: show stat: found no server {server}")


def server_state(table: str, server: str) -> str:
    """`srv_op_state` in `show servers state`: a version line, a head that begins with #, rows."""
    lines = [line for line in table.splitlines() if line]
    names = next(line for line in lines if line.startswith("#")).lstrip("# ").split()
    for line in lines:
        found = dict(zip(names, line.split()))
        if found.get("srv_name") == server:
            return found["srv_op_state"]
    raise StepFailed(f"haproxy: show servers state: found no server {server}")
