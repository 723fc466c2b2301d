"""The kinds of load that wrk makes, and what one request of each looks like."""

from dataclasses import dataclass, field

from parties import FILES, HOST, SMALL_BODY

POST_BYTES = 16 * 1024

# Fourteen fields, with wrk's own Host fifteen; with the request line 900 bytes in all.
BROWSER_FIELDS = [
    'sec-ch-ua: "Chromium";v="126", "Google Chrome";v="126", "Not-A.Brand";v="8"',
    "sec-ch-ua-mobile: ?0",
    'sec-ch-ua-platform: "Linux"',
    "Upgrade-Insecure-Requests: 1",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Dest: document",
    "Referer: https://app.example.com/account/orders?page=2",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
    "Cache-Control: max-age=0",
]
BROWSER_BYTES = 900


def browser_fields(port):
    """The fields above and a cookie that brings the whole request to its size."""
    lines = ["GET /small HTTP/1.1", f"Host: {HOST}:{port}", *BROWSER_FIELDS, "Cookie: session="]
    rest = BROWSER_BYTES - sum(len(line) + 2 for line in lines) - 2
    return [*BROWSER_FIELDS, "Cookie: session=" + "c" * rest]


@dataclass(frozen=True)
class Workload:
    """One kind of load. `body_bytes` is what each answer must carry."""

    name: str
    path: str
    body_bytes: int
    connections: int = 32
    post_bytes: int = 0
    fields: list = field(default_factory=list)
    is_browser: bool = False

    def headers(self, port):
        return browser_fields(port) if self.is_browser else self.fields


WORKLOADS = {
    load.name: load
    for load in [
        Workload("small", "/small", len(SMALL_BODY)),
        Workload("browser", "/small", len(SMALL_BODY), is_browser=True),
        Workload("new", "/small", len(SMALL_BODY), fields=["Connection: close"]),
        Workload("post", "/post", len(SMALL_BODY), post_bytes=POST_BYTES),
        Workload("64k", "/64k", FILES["64k"], connections=16),
        Workload("1m", "/1m", FILES["1m"], connections=16),
    ]
}
