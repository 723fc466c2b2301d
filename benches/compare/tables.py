"""The report as Markdown: a table for each matter, so that each can be pasted where it is talked about."""

from report import GROUND, LATENCIES, MIB, OURS, REFERENCE, about_lines, pair_name, pairs_of, table

NOTE = (
    "Medians of all rounds. A ratio is the median of the rounds' own ratios, with its 95 % interval. "
    "What is called a request is a message, there and back, with `ws`."
)


def page(result, about, proxies):
    parts = ["# Proxies side by side", about_lines(about), NOTE]
    workloads = result["workloads"]
    if workloads:
        parts += ratio_sections(workloads, proxies)
        parts += section("CPU time per request, µs", cpu_table(workloads, proxies))
        parts += section("Requests per second", per_second_table(workloads, proxies))
        parts += latency_sections(workloads, proxies)
    if "idle_over_small" in result:
        parts += section(
            "CPU time per request with idle clients, over the same proxy's `small`",
            one_row("`idle` / `small`", result["idle_over_small"], proxies),
        )
    if "memory" in result:
        title = f"Resident memory, {result['memory']['connections']:,} idle keep-alive clients"
        parts += section(title, memory_table(result["memory"], proxies))
    if "peak_bytes" in result:
        title = "Peak of resident memory (VmHWM) under the loads, MiB"
        parts += section(title, peak_table(result["peak_bytes"], proxies))
    if workloads:
        title = "Connections to the backend, opened per 1,000 requests"
        parts += section(title, connections_table(workloads, proxies))
        parts += section("What the run was like", quiet_table(workloads, proxies))
    return "\n\n".join(parts) + "\n"


def section(title, text):
    return [f"## {title}", text]


def columns(proxies):
    """The pairs as columns of a table of ratios: (pair, title)."""
    return [
        (pair_name(ours, theirs), ours if theirs == REFERENCE else f"{OURS}, × {GROUND}")
        for ours, theirs in pairs_of(proxies)
    ]


def span(found, form="{:.2f}"):
    """A median with its interval; without a figure a dash."""
    if found is None:
        return "–"
    return "{} ({}–{})".format(*(form.format(found[key]) for key in ("median", "low", "high")))


def ratio_sections(workloads, proxies):
    shown = columns(proxies)
    if not shown:
        return []
    parts = []
    for key, title in [
        ("cpu_us_per_request", "CPU time (user + system) per request, × HAProxy: lower is better"),
        ("requests_per_second", "Requests per second, × HAProxy: higher is better"),
    ]:
        # At a constant rate all proxies have the same.
        rows = [
            [f"`{name}`", *(span(one[key]["ratio"].get(pair)) for pair, _ in shown)]
            for name, one in workloads.items()
            if (key, name) != ("requests_per_second", "rate")
        ]
        if rows:
            parts += section(title, table(["", *(title for _, title in shown)], rows))
    return parts


def by_workload(workloads, proxies, cell):
    """A table with a row for each workload; `cell` of (its figures, a proxy)."""
    rows = [[f"`{name}`", *(cell(one, proxy) for proxy in proxies)] for name, one in workloads.items()]
    return table(["", *proxies], rows)


def cpu_table(workloads, proxies):
    def cell(one, proxy):
        return f"{one['cpu_us_per_request']['median'][proxy]:.1f}"

    return by_workload(workloads, proxies, cell)


def per_second_table(workloads, proxies):
    def cell(one, proxy):
        return f"{one['requests_per_second']['median'][proxy]:,.0f}"

    return by_workload(workloads, proxies, cell)


def connections_table(workloads, proxies):
    def cell(one, proxy):
        return f"{one['backend_connections_per_1000'][proxy]:.2f}"

    return by_workload(workloads, proxies, cell)


def latency_sections(workloads, proxies):
    parts = []
    closed = {name: one for name, one in workloads.items() if name != "rate"}
    if "rate" in workloads:
        parts += section(
            "Latency at a constant rate, corrected for coordinated omission, ms",
            rate_table(workloads["rate"], proxies),
        )
    if closed:
        parts += section(
            "Latency of the closed loops, p50 / p99 / p99.9 in ms, not corrected: "
            "at full speed it says how fast the loop turned",
            by_workload(closed, proxies, closed_cell),
        )
    return parts


def closed_cell(one, proxy):
    return " / ".join(f"{one['latency'][key][proxy]['median']:.2f}" for key in LATENCIES)


def rate_table(rate, proxies):
    cost = rate["cpu_us_per_request"]
    rows = []
    for proxy in proxies:
        percentiles = [span(rate["latency"][key][proxy]) for key in LATENCIES]
        if proxy == REFERENCE:
            ratio = "1"
        else:
            ratio = span(cost["ratio"].get(pair_name(proxy, REFERENCE)))
        rows.append([proxy, *percentiles, f"{cost['median'][proxy]:.1f}", ratio])
    return table(["", "p50", "p99", "p99.9", "CPU time per request, µs", "× HAProxy"], rows)


def one_row(title, found, proxies):
    return table(["", *proxies], [[title, *(span(found.get(proxy)) for proxy in proxies)]])


def memory_table(memory, proxies):
    each, start, peak = (memory[key] for key in ("bytes_per_connection", "start_bytes", "peak_bytes"))
    rows = [
        ["KiB per client", *(f"{each['median'][proxy] / 1024:.1f}" for proxy in proxies)],
        ["MiB before them", *(f"{start['median'][proxy] / MIB:.1f}" for proxy in proxies)],
        ["MiB at the peak", *(f"{peak['median'][proxy] / MIB:.1f}" for proxy in proxies)],
    ]
    return table(["", *proxies], rows)


def peak_table(peaks, proxies):
    titles = {"loads": "all loads but these:", "idle": "`idle`", "ws": "`ws`"}
    rows = [
        [titles[name], *(f"{found[proxy] / MIB:.1f}" for proxy in proxies)] for name, found in peaks.items()
    ]
    return table(["", *proxies], rows)


def quiet_table(workloads, proxies):
    rows = [
        [
            f"`{name}`",
            str(sum(one["errors"][proxy] for proxy in proxies)),
            f"{one['other_cores']:.2f}",
            f"{one['stolen_cores']:.2f}",
        ]
        for name, one in workloads.items()
    ]
    return table(["", "requests that failed", "cores busy with other work", "cores that the host took"], rows)
