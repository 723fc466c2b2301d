"""The plot: how long a replacement took, by its phases, and how many requests failed.

The same report gives the same file: ids in the SVG come from a fixed salt, and it carries no date.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no display
import matplotlib.pyplot as plt  # noqa: E402  after the choice of what it draws with

from block import CONTROL, DRAINED, EXIT_AT_ONCE, GRACEFUL, SESSIONS  # noqa: E402
from proxies import PROXIES  # noqa: E402
from replacement import PHASES  # noqa: E402

STYLE = {
    "svg.hashsalt": "tidegate",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "white",
}
# Of Paul Tol's "bright" scheme, which can be told apart without red and green.
PHASE_COLOURS = dict(zip(PHASES, ["#BBBBBB", "#4477AA", "#CCBB44", "#EE6677", "#AA3377"]))
PHASE_WORDS = {
    "start": "start of the new",
    "put_in": "put in",
    "drain": "drain",
    "stop": "SIGTERM to exit",
    "remove": "remove",
}
TICKS = [0, 0.01, 0.1, 1, 10, 100]
WIDTH, TOP, BOTTOM = 10.0, 0.4, 1.15  # inches; below the bars are the axis and the legend
WAYS = [  # app, way, label, colour, marker
    (GRACEFUL, DRAINED, "drained, graceful app", "#4477AA", "o"),
    (EXIT_AT_ONCE, DRAINED, "drained, app exits at once", "#66CCEE", "s"),
    (GRACEFUL, CONTROL, "control (no wait), graceful app", "#EE6677", "^"),
    (EXIT_AT_ONCE, CONTROL, "control (no wait), app exits at once", "#AA3377", "D"),
]


def draw(entries: list[dict], out: Path):
    names = list(dict.fromkeys(one["proxy"] for one in entries))
    bars = 0.5 * len(names)
    height = TOP + bars + BOTTOM
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(WIDTH, height), sharey=True, width_ratios=[1.1, 1]
        )
        figure.subplots_adjust(
            left=0.08, right=0.98, top=1 - TOP / height, bottom=BOTTOM / height, wspace=0.1
        )
        draw_phases(left, entries, names)
        draw_failures(right, entries, names)
        left.set_yticks(range(len(names)), [PROXIES[name].title for name in names])
        left.set_ylim(len(names) - 0.5, -0.5)
        for axes, columns in ((left, 3), (right, 2)):
            axes.legend(
                loc="upper center",
                bbox_to_anchor=(0.5, -0.6 / bars),
                ncols=columns,
                frameon=False,
                fontsize=8,
            )
        figure.savefig(out / "deploys.svg", metadata={"Date": None, "Creator": None})
        figure.savefig(out / "deploys.png", dpi=110)
        plt.close(figure)


def draw_phases(axes, entries: list[dict], names: list[str]):
    """Stacked medians of the graceful app; the median of the whole in the bar."""
    drained = [one for one in entries if one["way"] == DRAINED and one["times_ms"]["total"]]
    app = drained[0]["app"] if drained else ""
    for one in drained:
        if one["app"] != app:
            continue
        place, edge = names.index(one["proxy"]), 0.0
        for phase in PHASES:
            width = one["times_ms"][phase]["median"] / 1000
            axes.barh(place, width, left=edge, height=0.6, color=PHASE_COLOURS[phase])
            edge += width
        text = f"{one['times_ms']['total']['median'] / 1000:.1f} s"
        axes.annotate(text, (edge / 2, place), va="center", ha="center")
    mark_sessions(axes, [one for one in entries if (one["way"], one["app"]) == (SESSIONS, app)], names)
    for phase in PHASES:
        axes.barh(0, 0, color=PHASE_COLOURS[phase], label=PHASE_WORDS[phase])
    axes.margins(x=0.12)
    axes.set_title(f"one replacement ({'graceful app' if app == GRACEFUL else 'app exits at once'}, medians)")
    axes.set_xlabel("seconds; the longest exchange of the load takes 2")
    axes.xaxis.grid(True, color="#DDDDDD")


def mark_sessions(axes, entries: list[dict], names: list[str]):
    mine = [one for one in entries if one["times_ms"]["total"]]
    axes.plot(
        [one["times_ms"]["total"]["median"] / 1000 for one in mine],
        [names.index(one["proxy"]) for one in mine],
        linestyle="",
        marker="D",
        markersize=5,
        color="black",
        markeredgecolor="white",
        label="whole, with WebSockets of 10 s",
    )


def draw_failures(axes, entries: list[dict], names: list[str]):
    """Failed requests per 1,000; the scale is linear to 0.01, so that none at all has its place."""
    for shift, (app, way, label, colour, marker) in enumerate(WAYS):
        mine = [one for one in entries if (one["app"], one["way"]) == (app, way)]
        axes.plot(
            [one["requests"]["per_1000"] for one in mine],
            [names.index(one["proxy"]) + (shift - 1.5) * 0.17 for one in mine],
            linestyle="",
            marker=marker,
            markersize=6,
            color=colour,
            label=label,
            clip_on=False,
            markerfacecolor="white" if way == CONTROL else colour,
        )
    axes.set_xscale("symlog", linthresh=0.01)
    axes.set_xticks(TICKS, [f"{n:g}" for n in TICKS])
    axes.set_xlim(0, TICKS[-1])
    axes.minorticks_off()
    axes.set_title("requests that failed")
    axes.set_xlabel("per 1,000 requests")
    axes.xaxis.grid(True, color="#DDDDDD")
