"""The proxies that take part, by name, in the order of the report."""

from proxies.caddy import Caddy
from proxies.envoy import Envoy
from proxies.haproxy import HAProxy
from proxies.nginx import Nginx
from proxies.tidegate import Tidegate
from proxies.traefik import Traefik

PROXIES = {one.name: one for one in (Tidegate, HAProxy, Nginx, Caddy, Traefik, Envoy)}
