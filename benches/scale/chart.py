"""Draws report.json as an SVG: cost relative to the base over the size, one panel for each series.

    chart.py report.json chart.svg [chart.png]

The same report always gives the same file: ids come from a fixed salt, and no date is written.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402 - after the choice of what it draws with

# Told apart by shape as well as by colour (Okabe and Ito's, safe for the colour-blind).
STYLES = [("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D")]
PANEL_INCHES = (4.2, 3.2)
COLUMNS = 2
# Half a step of the axis beside each other, so that intervals do not cover one another.
SPREAD = 0.03
UNITS = {
    "backends": "backends in the pool",
    "pools": "pools",
    "routes": "routes",
    "idle clients": "idle client connections",
    "workers": "workers",
}


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: chart.py REPORT.json CHART.svg [CHART.png]")
    rows = json.loads(Path(sys.argv[1]).read_text())["points"]
    rows = [row for row in rows if "ratio" in row]
    if not rows:
        sys.exit(f"error: {sys.argv[1]}: no point has a time, nothing to draw")
    matplotlib.rcParams["svg.hashsalt"] = "tidegate"
    matplotlib.rcParams["font.size"] = 9
    figure = draw(rows)
    figure.savefig(sys.argv[2], format="svg", metadata={"Date": None})
    if len(sys.argv) == 4:
        figure.savefig(sys.argv[3], format="png", dpi=110)


def draw(rows):
    series = list(dict.fromkeys(row["series"] for row in rows))
    height = -(-len(series) // COLUMNS)
    width, tall = PANEL_INCHES
    figure, axes = plt.subplots(
        height, COLUMNS, figsize=(width * COLUMNS, tall * height), squeeze=False, sharey=True
    )
    panels = axes.flatten()
    for panel, name in zip(panels, series):
        draw_panel(panel, name, [row for row in rows if row["series"] == name])
    for panel in panels[len(series):]:
        panel.set_visible(False)
    figure.suptitle("CPU time per request, relative to the smallest size (lower is better)")
    figure.tight_layout()
    return figure


def draw_panel(panel, name, rows):
    panel.axhline(1, color="0.6", linewidth=1, zorder=0)
    lines = list(dict.fromkeys(label_of(row) for row in rows))
    for number, label in enumerate(lines):
        of_it = [row for row in rows if label_of(row) == label]
        draw_line(panel, label, number - (len(lines) - 1) / 2, of_it, STYLES[number % len(STYLES)])
    sizes = sorted({row["size"] for row in rows})
    if sizes[0] == 0:
        # A logarithm has no zero: straight up to the first size, logarithmic from there.
        panel.set_xscale("symlog", linthresh=sizes[1], linscale=0.5)
    else:
        panel.set_xscale("log")
    panel.set_xticks(sizes, [f"{size:,}" for size in sizes])
    panel.minorticks_off()
    panel.set_xlabel(UNITS[name])
    panel.set_ylim(bottom=0)
    panel.grid(axis="y", color="0.9")
    panel.set_axisbelow(True)
    if len(lines) > 1:
        panel.legend(loc="lower left", frameon=False)
    for side in ["top", "right"]:
        panel.spines[side].set_visible(False)


def label_of(row):
    """Points without probes stand beside the line that they belong to, not on it."""
    is_quiet = row["hit"].endswith("no probes")
    return f"{row['line'].replace('_', ' ')}, no probes" if is_quiet else row["line"].replace("_", " ")


def draw_line(panel, label, place, rows, style):
    colour, marker = style
    # Of several places that are asked for the dots stand on one another; the line joins the last.
    shift = 1 + place * SPREAD * 2
    x = [row["size"] * shift for row in rows]
    y = [row["ratio"]["median"] for row in rows]
    below = [row["ratio"]["median"] - row["ratio"]["low"] for row in rows]
    above = [row["ratio"]["high"] - row["ratio"]["median"] for row in rows]
    panel.errorbar(
        x, y, yerr=[below, above], fmt=marker, color=colour, markersize=4, linewidth=1,
        capsize=2, label=label, alpha=0.9,
    )
    last = {row["size"]: row["ratio"]["median"] for row in rows}
    panel.plot([size * shift for size in last], list(last.values()), color=colour, linewidth=1)


if __name__ == "__main__":
    main()
