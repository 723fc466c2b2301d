"""From samples to medians, intervals and a page.

A ratio is taken pair by pair: a point and the base of its line in the same round. The interval is
that of ../compare: a bootstrap of the median of those ratios, with a fixed seed.
"""

import statistics

import calls
import points
from report import median_interval, table

NOTE = """\
Medians of all rounds. A ratio is the median of the rounds' own ratios to the base, the first row of its
line, with its 95 % interval. *Less probes*: without the CPU time of the probes that fell into the load.
*Instructions* are in user space only, without probes."""


def ratio(samples, key, point, base):
    """The point's ratio to the base: median, low, high."""
    by_round = {(s["round"], s["point"]): s[key] for s in samples}
    numbers = sorted({s["round"] for s in samples})
    pairs = [
        by_round[number, point] / by_round[number, base]
        for number in numbers
        if (number, point) in by_round and (number, base) in by_round
    ]
    median, low, high = median_interval(pairs)
    return {"median": median, "low": low, "high": high}


def probe_cost(rests):
    """What a probe costs, and what a process costs that nobody asks and that does not probe.

    A probe is what the same process costs more with probes than without, over the probes it made; of
    the largest size alone, where there are enough of them.
    """
    if not rests:
        return None
    most = max(entry["backends"] for entry in rests)
    per_probe = []
    for number in sorted({entry["round"] for entry in rests}):
        of_round = {
            entry["probes"]: entry
            for entry in rests
            if entry["round"] == number and entry["backends"] == most
        }
        probing, quiet = of_round[points.PROBES_DEFAULT], of_round[points.PROBES_NEVER]
        more = probing["cpu_us_per_second"] - quiet["cpu_us_per_second"]
        per_probe.append(more / probing["probes_per_second"])
    median, low, high = median_interval(per_probe)
    rows = {}
    for entry in rests:
        rows.setdefault((entry["backends"], entry["probes"]), []).append(entry)
    return {
        "cpu_us_per_probe": {"median": median, "low": low, "high": high},
        "rest": [
            {
                "backends": backends,
                "probes": probes,
                "cpu_us_per_second": middle(found, "cpu_us_per_second"),
                "probes_per_second": middle(found, "probes_per_second"),
            }
            for (backends, probes), found in rows.items()
        ],
    }


def middle(samples, key):
    return statistics.median(sample[key] for sample in samples)


def summary(chosen, samples, counts, probes):
    """One row for each point, in the order of the points."""
    bases = points.bases(chosen)
    instructions = {entry["point"]: entry["instructions_per_request"] for entry in counts}
    rows = []
    for point in chosen:
        key, base = point.key(), bases[point.series, point.line].key()
        row = {"series": point.series, "line": point.line, "size": point.size, "hit": point.hit}
        of_it = [sample for sample in samples if sample["point"] == key]
        if of_it:
            cost, rate = middle(of_it, "cpu_us_per_request"), middle(of_it, "requests_per_second")
            row |= {
                "cpu_us_per_request": cost,
                "ratio": ratio(samples, "cpu_us_per_request", key, base),
                "requests_per_second": rate,
                "rate_ratio": ratio(samples, "requests_per_second", key, base),
                "errors": sum(sample["errors"] for sample in of_it),
                "backend_connections_per_1000": 1000
                * sum(sample["backend_connections"] for sample in of_it)
                / sum(sample["requests"] for sample in of_it),
                "other_cores": middle(of_it, "other_cores"),
                "resident_bytes": middle(of_it, "resident_bytes"),
            }
            if probes:
                spent = probes["cpu_us_per_probe"]["median"] * point.shape.probes_per_second()
                row["less_probes_us"] = cost - spent / rate
            if point.idle_clients:
                row["bytes_per_idle_client"] = middle(of_it, "bytes_per_idle_client")
        if key in instructions:
            row["instructions_per_request"] = instructions[key]
            row["instructions_ratio"] = instructions[key] / instructions[base]
        rows.append(row)
    return rows


def calls_summary(found):
    """Of each call: time and CPU time in both sizes, and how much more the whole needs."""
    rows = []
    for call in calls.CALLS:
        row = {"call": call}
        for size in ["small", "whole"]:
            of_it = [s for s in found["samples"] if s["call"] == call and s["size"] == size]
            for key in ["ms", "cpu_ms"]:
                median, low, high = median_interval([sample[key] for sample in of_it])
                row[f"{size}_{key}"] = {"median": median, "low": low, "high": high}
            row[f"{size}_bytes"] = of_it[-1]["bytes"]
        rows.append(row)
    return {"starts": found["starts"], "calls": rows}


def page(rows, probes, called, about):
    """The whole report as Markdown."""
    parts = ["# Cost of a request over the size of the configuration"]
    parts.append("\n".join(f"- {name}: {value}" for name, value in about.items()))
    for series in dict.fromkeys(row["series"] for row in rows):
        of_it = [row for row in rows if row["series"] == series]
        parts += [f"## {series.capitalize()}", series_table(series, of_it)]
    if probes:
        parts += ["## Probes, when nobody asks", probes_text(probes)]
    if called:
        parts += ["## Calls and memory", starts_table(called), calls_table(called)]
    return "\n\n".join([*parts, NOTE]) + "\n"


def series_table(series, rows):
    head = [series, "CPU µs a request", "to the base", "less probes, µs", "requests/s", "to the base"]
    head += ["instructions", "to the base", "new backend connections per 1,000", "errors"]
    if series == "idle clients":
        head.append("KiB an idle client")
    lines = []
    for row in rows:
        size = f"{row['size']:,}" + (f", {row['hit']}" if row["hit"] else "")
        cells = [f"{row['line']}: {size}" if row["line"] != series else size, *time_cells(row)]
        counted = "instructions_per_request" in row
        cells.append(f"{row['instructions_per_request']:,.0f}" if counted else "")
        cells.append(f"{row['instructions_ratio']:.3f}" if counted else "")
        has_time = "errors" in row
        cells.append(f"{row['backend_connections_per_1000']:.1f}" if has_time else "")
        cells.append(str(row["errors"]) if has_time else "")
        if series == "idle clients":
            held = row.get("bytes_per_idle_client")
            cells.append(f"{held / 1024:.1f}" if held else "")
        lines.append(cells)
    return table(head, lines)


def time_cells(row):
    if "ratio" not in row:
        return [""] * 5
    less = f"{row['less_probes_us']:.1f}" if "less_probes_us" in row else ""
    return [
        f"{row['cpu_us_per_request']:.1f}",
        interval(row["ratio"]),
        less,
        f"{row['requests_per_second']:,.0f}",
        interval(row["rate_ratio"]),
    ]


def interval(found, digits=2):
    median, low, high = (f"{found[key]:.{digits}f}" for key in ("median", "low", "high"))
    return f"{median} ({low}–{high})"


def probes_text(probes):
    rows = [
        [
            f"{entry['backends']:,}",
            f"{entry['probes_per_second']:.0f}",
            f"{entry['cpu_us_per_second'] / 1000:.2f}",
        ]
        for entry in probes["rest"]
    ]
    each = interval(probes["cpu_us_per_probe"], 0)
    head = ["backends", "probes a second", "CPU ms a second"]
    return f"{table(head, rows)}\n\nCPU time of one probe: {each} µs."


def starts_table(called):
    rows = [
        [
            entry["size"],
            f"{entry['start_cpu_ms']:.0f}",
            f"{entry['start_bytes'] / 1048576:.1f}",
            f"{entry['after_calls_bytes'] / 1048576:.1f}",
        ]
        for entry in called["starts"]
    ]
    return table(["", "CPU ms of the start", "MiB then", "MiB after the calls"], rows)


def calls_table(called):
    head = ["call", "small, ms", "whole, ms", "small, CPU ms", "whole, CPU ms", "whole, KiB"]
    rows = [
        [
            calls.SAYS[row["call"]],
            *(interval(row[f"{size}_ms"]) for size in ["small", "whole"]),
            *(interval(row[f"{size}_cpu_ms"]) for size in ["small", "whole"]),
            f"{row['whole_bytes'] / 1024:.0f}",
        ]
        for row in called["calls"]
    ]
    return table(head, rows)
