"""From rounds to medians, intervals and a page.

A ratio is taken pair by pair: two proxies under the same load in the same round, seconds apart, so
that what else the machine does weighs on both alike. The interval is a bootstrap of the median of
those ratios, with a fixed seed: the same rounds always give the same page.
"""

import random
import statistics

RESAMPLES = 10_000
SEED = 20_250_101
PAIRS = [("bare", "haproxy"), ("tidegate", "haproxy"), ("tidegate", "bare")]


def median_interval(values):
    """(median, lower, upper) with 95 % confidence, by percentile bootstrap."""
    chance = random.Random(SEED)
    medians = sorted(
        statistics.median(chance.choices(values, k=len(values))) for _ in range(RESAMPLES)
    )
    tail = RESAMPLES * 25 // 1000
    return statistics.median(values), medians[tail], medians[-tail - 1]


def pairs_of(proxies):
    return [(ours, theirs) for ours, theirs in PAIRS if ours in proxies and theirs in proxies]


def paired(samples, key, ours, theirs):
    """The ratios of two proxies, one for each round that has both."""
    by_round = {(sample["round"], sample["proxy"]): sample[key] for sample in samples}
    rounds = sorted({sample["round"] for sample in samples})
    return [
        by_round[number, ours] / by_round[number, theirs]
        for number in rounds
        if (number, ours) in by_round and (number, theirs) in by_round
    ]


def summarize(samples, key, proxies):
    """Of one workload: the median of `key` for each proxy and the ratio of each pair."""
    values = {
        proxy: statistics.median(sample[key] for sample in samples if sample["proxy"] == proxy)
        for proxy in proxies
    }
    ratios = {}
    for ours, theirs in pairs_of(proxies):
        median, low, high = median_interval(paired(samples, key, ours, theirs))
        ratios[f"{ours}/{theirs}"] = {"median": median, "low": low, "high": high}
    return {"median": values, "ratio": ratios}


def summary(samples, memory, proxies, workloads):
    result = {}
    for workload in workloads:
        of_it = [sample for sample in samples if sample["workload"] == workload]
        if not of_it:
            continue
        result[workload] = {
            "cpu_us_per_request": summarize(of_it, "cpu_us_per_request", proxies),
            "requests_per_second": summarize(of_it, "requests_per_second", proxies),
            "errors": {
                proxy: sum(sample["errors"] for sample in of_it if sample["proxy"] == proxy)
                for proxy in proxies
            },
            "backend_connections_per_1000": {
                proxy: 1000
                * sum(s["backend_connections"] for s in of_it if s["proxy"] == proxy)
                / sum(s["requests"] for s in of_it if s["proxy"] == proxy)
                for proxy in proxies
            },
            "other_cores": statistics.median(s["other_cores"] for s in of_it),
        }
    if memory:
        result["memory"] = {
            "connections": memory[0]["connections"],
            "bytes_per_connection": summarize(memory, "bytes_per_connection", proxies),
            "start_bytes": summarize(memory, "start_bytes", proxies),
        }
    return result


def instructions_page(samples, about, proxies):
    """User-space instructions per request as Markdown."""
    pairs = pairs_of(proxies)
    rows = []
    for workload in dict.fromkeys(sample["workload"] for sample in samples):
        each = {
            sample["proxy"]: sample["instructions_per_request"]
            for sample in samples
            if sample["workload"] == workload
        }
        row = [workload, *(f"{each[proxy]:,.0f}" for proxy in proxies)]
        rows.append([*row, *(f"{each[ours] / each[theirs]:.2f}" for ours, theirs in pairs)])
    head = ["workload", *proxies, *(f"{ours}/{theirs}" for ours, theirs in pairs)]
    title = "# User-space instructions per request"
    return "\n\n".join([title, about_lines(about), table(head, rows)]) + "\n"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |"]
    lines.append("| " + " | ".join(["---"] + ["---:"] * (len(head) - 1)) + " |")
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def ratio_cells(summarized, proxies):
    cells = []
    for ours, theirs in pairs_of(proxies):
        ratio = summarized["ratio"][f"{ours}/{theirs}"]
        cells.append(f"{ratio['median']:.2f} ({ratio['low']:.2f}–{ratio['high']:.2f})")
    return cells


def page(result, about, proxies):
    """The whole report as Markdown."""
    ratios = [f"{ours}/{theirs}" for ours, theirs in pairs_of(proxies)]
    parts = ["# CPU time per request, side by side", about_lines(about)]
    loads = {name: found for name, found in result.items() if name != "memory"}
    if loads:
        parts += ["## CPU time (user + system) per request", cpu_table(loads, ratios, proxies)]
        parts += ["## Requests per second", rate_table(loads, ratios, proxies)]
    if "memory" in result:
        held = result["memory"]["connections"]
        parts += [
            f"## Resident memory, {held:,} idle keep-alive clients",
            memory_table(result["memory"], ratios, proxies),
        ]
    parts.append(
        "Medians of all rounds. A ratio is the median of the rounds' own ratios, "
        "with its 95 % interval."
    )
    return "\n\n".join(parts) + "\n"


def about_lines(about):
    return "\n".join(f"- {name}: {value}" for name, value in about.items())


def cpu_table(loads, ratios, proxies):
    head = ["workload", *(f"{proxy}, µs" for proxy in proxies), *ratios]
    head += ["errors", "cores busy with other work"]
    rows = []
    for name, found in loads.items():
        cost = found["cpu_us_per_request"]
        values = [f"{cost['median'][proxy]:.1f}" for proxy in proxies]
        errors = str(sum(found["errors"].values()))
        other = f"{found['other_cores']:.2f}"
        rows.append([name, *values, *ratio_cells(cost, proxies), errors, other])
    return table(head, rows)


def rate_table(loads, ratios, proxies):
    head = ["workload", *proxies, *ratios]
    head += [f"{proxy}: backend connections per 1,000" for proxy in proxies]
    rows = []
    for name, found in loads.items():
        rate = found["requests_per_second"]
        values = [f"{rate['median'][proxy]:,.0f}" for proxy in proxies]
        opened = [f"{found['backend_connections_per_1000'][proxy]:.1f}" for proxy in proxies]
        rows.append([name, *values, *ratio_cells(rate, proxies), *opened])
    return table(head, rows)


def memory_table(memory, ratios, proxies):
    each, start = memory["bytes_per_connection"], memory["start_bytes"]
    return table(
        ["", *proxies, *ratios],
        [
            [
                "KiB per connection",
                *(f"{each['median'][proxy] / 1024:.1f}" for proxy in proxies),
                *ratio_cells(each, proxies),
            ],
            [
                "MiB before them",
                *(f"{start['median'][proxy] / 1048576:.1f}" for proxy in proxies),
                *ratio_cells(start, proxies),
            ],
        ],
    )
