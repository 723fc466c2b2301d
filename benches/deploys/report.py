"""The report as Markdown, from the entries of summary.py: four tables, each with one column a line here."""

from block import CONTROL, DRAINED, EXIT_AT_ONCE, GRACEFUL, SESSIONS, STEADY, WAYS
from proxies import PROXIES

WAYS_TEXT = {
    (DRAINED, GRACEFUL): "Graceful app, drained",
    (DRAINED, EXIT_AT_ONCE): "App that exits at once, drained",
    (CONTROL, GRACEFUL): "Control: graceful app, nobody waits for the drain",
    (CONTROL, EXIT_AT_ONCE): "Control: app that exits at once, nobody waits for the drain",
    (SESSIONS, GRACEFUL): "Graceful app, drained, WebSockets stay open for 10 s",
    (SESSIONS, EXIT_AT_ONCE): "App that exits at once, drained, WebSockets stay open for 10 s",
    (STEADY, GRACEFUL): "Nothing is replaced",
}

FAILED = """
The client never retries; a request fails when its answer is not complete and right in time. *In a
deploy*: failed while a replacement was under way. *fast* is a request that takes no time by itself; the
p99 is the median of the blocks'. *Load late by*: how late the load generator itself was at most; past 100
ms the machine was too busy for the times to mean much. `(proxy)`: the proxy made this answer, the app
never sends it. `closed_reused`, and `reset` of a fast request: the proxy closed a kept client connection
while the request was on its way; a browser would repeat a GET then, not a POST.
"""
LEFT = """
*Sockets*: replacements after which connections to the old one were still ESTABLISHED when the proxy's way
said that it was drained, and how many at most. *Requests*, *tunnels*, *idle*, *new* (nothing was asked on
them yet): held when SIGTERM came, by the app's own report, in sum. *Abandoned*: cut by its exit. *Closed
1001*: WebSockets that were ended by a close frame in the middle, which is no failure.
"""
LENGTH = """
Medians, some with their 95 % interval. *Drain* is from taking the old one out to the word *drained*; a
WebSocket session that began just before takes 2 s by itself. *Too late*: from the end of the app's last
request to the word. *Stop*: from SIGTERM until the process was gone.
"""
EFFORT = """
*Commands*: calls, files written, and kinds of question asked; *polls*: how often a question had to be
asked again, every 50 ms. Medians.
"""


def page(entries: list[dict], about: dict[str, str]) -> str:
    parts = [
        "# Deploys under load, side by side",
        "\n".join(f"- {name}: {what}" for name, what in about.items()),
    ]
    for heading, columns, ways, text in SECTIONS:
        parts.append(f"## {heading}")
        for (way, app), words in WAYS_TEXT.items():
            mine = [one for one in entries if (one["way"], one["app"]) == (way, app)]
            mine = [one for one in mine if one["replacements"] or way == STEADY]
            if mine and way in ways:
                parts += [f"**{words}**", table(columns, mine)]
        parts.append(" ".join(text.split()))
    return "\n\n".join(parts) + "\n"


def table(columns: list[tuple], entries: list[dict]) -> str:
    rows = [["", *(name for name, _ in columns)], ["---"] + ["---:"] * len(columns)]
    rows += [[PROXIES[one["proxy"]].title, *(cell(one) for _, cell in columns)] for one in entries]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


# --- columns ---


def done(entry: dict) -> str:
    made, asked = entry["replacements"], entry["asked_for"]
    return str(made) if made == asked else f"{made} of {asked}"


def asked(key: str, form: str = "{:,}"):
    return lambda entry: form.format(entry["requests"][key])


def reasons(entry: dict) -> str:
    kinds = entry["requests"]["kinds"]
    parts = [f"{kind} {why} {n}" for kind, found in kinds.items() for why, n in found["reasons"].items()]
    return ", ".join(parts) or "-"


def left(what: str):
    return lambda entry: f"{entry['left'][what]['sum']:,}"


def sockets(entry: dict) -> str:
    found = entry["left"]["sockets"]
    return f"{found['in']} of {found['of']}"


def seconds(phase: str, key: str = "median"):
    return lambda entry: f"{entry['times_ms'][phase][key] / 1000:.2f} s"


def interval(phase: str):
    def cell(entry):
        low, middle, high = (entry["times_ms"][phase][key] / 1000 for key in ("low", "median", "high"))
        return f"{middle:.2f} s ({low:.2f}–{high:.2f})"

    return cell


def milliseconds(phase: str, key: str = "median"):
    def cell(entry):
        found = entry["times_ms"][phase]
        return "?" if found is None else f"{found[key]:.0f} ms"

    return cell


def effort(key: str):
    return lambda entry: f"{entry[key]['median']:.0f}"


def outcomes(entry: dict) -> str:
    return ", ".join(f"{word} {n}" for word, n in entry["outcomes"].items())


SECTIONS = [  # heading, columns, of which ways, what the words mean
    (
        "Requests that failed",
        [
            ("replacements", done),
            ("requests", asked("sent")),
            ("failed", asked("failed")),
            ("per 1,000", asked("per_1000", "{:.2f}")),
            ("in a deploy", asked("failed_in_windows")),
            ("fast p99", lambda entry: f"{entry['requests']['kinds']['fast']['p99_ms']:.0f} ms"),
            ("load late by", asked("late_max_ms", "{:.0f} ms")),
            ("which, why", reasons),
        ],
        WAYS,
        FAILED,
    ),
    (
        "What the old instance was left with",
        [
            ("sockets, in", sockets),
            ("at most", lambda entry: str(entry["left"]["sockets"]["max"])),
            ("requests", left("requests")),
            ("tunnels", left("tunnels")),
            ("idle", left("idle")),
            ("new", left("new")),
            ("abandoned", left("abandoned")),
            ("WebSockets closed 1001", asked("ws_closed_1001")),
        ],
        [DRAINED, CONTROL, SESSIONS],
        LEFT,
    ),
    (
        "How long a replacement took",
        [
            ("whole replacement", interval("total")),
            ("longest", seconds("total", "max")),
            ("start", seconds("start")),
            ("put in", seconds("put_in")),
            ("drain", interval("drain")),
            ("too late", milliseconds("late")),
            ("at most", milliseconds("late", "max")),
            ("stop", milliseconds("stop")),
            ("at most", milliseconds("stop", "max")),
            ("remove", milliseconds("remove")),
        ],
        [DRAINED, SESSIONS],
        LENGTH,
    ),
    (
        "What a deploy had to do",
        [("commands", effort("commands")), ("polls", effort("polls")), ("how it ended", outcomes)],
        [DRAINED, SESSIONS],
        EFFORT,
    ),
]
