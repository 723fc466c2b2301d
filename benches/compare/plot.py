"""The plot of a report: CPU time per request over HAProxy's, with its interval, for each workload.

    target/compare/venv/bin/python benches/compare/plot.py report.json compare.svg

The ending of the second name says what is made, SVG or PNG. The same report gives the same file, byte
by byte.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as pyplot  # noqa: E402
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
import report  # noqa: E402

NAMES = {"haproxy": "HAProxy", "nginx": "nginx", "bare": "bare pingora-proxy", "tidegate": "tidegate",
         "envoy": "Envoy", "traefik": "Traefik", "caddy": "Caddy"}
# Colours that most colour-blind people tell apart (Okabe and Ito), and shapes, so that none is needed.
LOOKS = {"nginx": ("#009E73", "s"), "bare": ("#56B4E9", "D"), "tidegate": ("#D55E00", "o"),
         "envoy": ("#CC79A7", "^"), "traefik": ("#0072B2", "v"), "caddy": ("#8C6D1F", "P")}
TICKS = [0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32]
INK, FAINT, BAND = "#222222", "#888888", "#F4F4F1"
ROW_INCHES = 0.78


def style():
    """Letters are drawn as paths, so that no reader needs the font; nothing depends on the time."""
    matplotlib.rcParams.update({
        "svg.hashsalt": "tidegate", "svg.fonttype": "path", "font.family": "sans-serif", "font.size": 10,
        "axes.edgecolor": FAINT, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK,
        "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False,
    })


def draw(ratios, about):
    """One row a workload, one point a proxy, lower is better and further left."""
    style()
    workloads = list(ratios)
    proxies = [name for name in LOOKS if any(name in of_it for of_it in ratios.values())]
    figure, axes = pyplot.subplots(figsize=(9, 1.7 + ROW_INCHES * len(workloads)), layout="constrained")
    for row in range(0, len(workloads), 2):
        axes.axhspan(row - 0.5, row + 0.5, color=BAND, zorder=0, linewidth=0)
    axes.axvline(1, color=INK, linewidth=1, zorder=1)
    for place, proxy in enumerate(proxies):
        shift = 0.7 * ((place + 0.5) / len(proxies) - 0.5)
        draw_proxy(axes, proxy, ratios, shift)
    dress(figure, axes, workloads, ratios, about)
    return figure


def draw_proxy(axes, proxy, ratios, shift):
    colour, shape = LOOKS[proxy]
    rows = [(row, of_it[proxy]) for row, of_it in enumerate(ratios.values()) if proxy in of_it]
    is_ours = proxy == report.OURS
    axes.errorbar(
        [found["median"] for _, found in rows],
        [row + shift for row, _ in rows],
        xerr=[
            [found["median"] - found["low"] for _, found in rows],
            [found["high"] - found["median"] for _, found in rows],
        ],
        fmt=shape, color=colour, markersize=8 if is_ours else 6, linewidth=1.5, capsize=2.5,
        label=NAMES[proxy], zorder=4 if is_ours else 3,
    )


def dress(figure, axes, workloads, ratios, about):
    every = [found[key] for of_it in ratios.values() for found in of_it.values() for key in ("low", "high")]
    low, high = min([*every, 1]) / 1.1, max([*every, 1]) * 1.1
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if low <= tick <= high]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6, zorder=0.5)
    axes.set_ylim(len(workloads) - 0.5, -0.5)
    axes.set_yticks(range(len(workloads)), workloads, fontfamily="monospace")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("CPU time per request, × HAProxy (logarithmic): left is better")
    # In the order of the points in each row, from top to bottom.
    figure.legend(loc="outside upper center", ncols=6, frameon=False, handletextpad=0.2, columnspacing=1.4)
    said = f"{about.get('date', '')} · {about.get('machine', '')}\n{about.get('proxies', '')}"
    figure.supxlabel(said, fontsize=7, color=FAINT)


def main():
    if len(sys.argv) != 3:
        print("usage: plot.py report.json compare.svg", file=sys.stderr)
        sys.exit(2)
    document = json.loads(Path(sys.argv[1]).read_text())
    ratios = report.plotted(document["summary"], document["proxies"])
    if not ratios:
        sys.exit(f"error: {sys.argv[1]}: found no ratio to HAProxy, expected it and another proxy")
    figure = draw(ratios, document["about"])
    # A date would make two files of the same data differ.
    metadata = {"Date": None} if sys.argv[2].endswith(".svg") else None
    figure.savefig(sys.argv[2], dpi=150, metadata=metadata)


if __name__ == "__main__":
    main()
