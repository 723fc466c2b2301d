"""nginx, by a new configuration and a reload (nginx.org/en/docs/control.html, "Changing Configuration").

  put in    nothing: one reload puts the new one in and takes the old one out. There are no active health
            checks in nginx itself, so that it is healthy is what the script asks the instance
  take out  write the configuration, `nginx -t`, `nginx -s reload`: new workers serve new connections at once,
            the old ones "stop accepting new connections and continue to service current requests until all
            such requests are serviced. After that, the old worker processes exit"
  drained   so the old one is drained when the workers of before the reload are gone. nginx has no command
            that says so: the script notes the master's children before the reload and waits for their end.
            They hold everything of before, also what goes to other instances: it is the slowest request of
            the whole proxy that is waited for
  remove    is done by then

`keepalive` of the upstream, `proxy_http_version 1.1` and an empty Connection field are what the manual of
ngx_http_upstream_module asks for kept connections, the `map` is that of
nginx.org/en/docs/http/websocket.html. `worker_shutdown_timeout` is unset, as by default: nothing is cut.
"""

import os
import subprocess
from pathlib import Path

from instance import Instance
from proxies.base import DRAINED, NOT_IN_TIME, StepFailed, SwappingProxy, replace_file

CONFIG = """\
{user}worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_timeout 75s;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{
    default upgrade;
    ''      '';
  }}
  upstream web {{
    least_conn;
{servers}
    keepalive 32;
  }}
  server {{
    listen 127.0.0.1:{port};
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
    location / {{ proxy_pass http://web; }}
    location /stream {{ # events go out as they come
      proxy_pass http://web;
      proxy_buffering off;
    }}
  }}
}}
"""


class Nginx(SwappingProxy):
    name = "nginx"
    title = "nginx"
    version_words = ("-v",)
    version_pattern = r"nginx/(\S+)"

    def command_line(self) -> list[str]:
        self.config = self.folder / "nginx.conf"
        self.write_config()
        self.old_workers: set[int] = set()
        return self.words()

    def words(self, *more: str) -> list[str]:
        return [
            str(self.binary),
            "-p",
            str(self.folder),
            "-e",
            str(self.folder / "error.log"),
            "-c",
            str(self.config),
            *more,
        ]

    def write_config(self):
        servers = "\n".join(f"    server {one.address};" for one in self.members)
        user = "user root;\n" if os.geteuid() == 0 else ""  # the temporary paths are root's
        replace_file(
            self.config, CONFIG.format(user=user, folder=self.folder, port=self.port, servers=servers)
        )

    def take_out(self, old: Instance):
        self.old_workers = children_of(self.process.pid)
        self.write_config()
        for words in (["-t", "-q"], ["-s", "reload"]):
            self.commands += 1
            ended = subprocess.run(
                self.words(*words), capture_output=True, text=True, check=False, timeout=30
            )
            if ended.returncode:
                raise StepFailed(f"nginx {words[0]}: exit code {ended.returncode}: {ended.stderr.strip()}")
        self.commands += 1  # the file
        # A reload is answered before it is done; the first new worker shows that it was.
        self.until(lambda: children_of(self.process.pid) - self.old_workers, "a new worker")

    def wait_drained(self, old: Instance) -> str:
        self.commands += 1
        is_over = self.becomes(lambda: not children_of(self.process.pid) & self.old_workers)
        return DRAINED if is_over else NOT_IN_TIME

    def remove(self, old: Instance):
        pass


def children_of(pid: int) -> set[int]:
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
