"""From rounds to medians and intervals; `tables.py` writes them down.

A ratio is taken pair by pair: two proxies under the same load in the same round, seconds apart, so
that what else the machine does weighs on both alike. The interval is a bootstrap of the median of
those ratios, with a fixed seed: the same rounds always give the same page.
"""

import random
import statistics

RESAMPLES = 10_000
SEED = 20_250_101
REFERENCE = "haproxy"
# Beside the reference: what the ground costs is in both, the rest is ours.
OURS, GROUND = "tidegate", "bare"
LATENCIES = ["p50_ms", "p99_ms", "p999_ms"]
MIB = 1 << 20


def median_interval(values):
    """(median, lower, upper) with 95 % confidence, by percentile bootstrap."""
    chance = random.Random(SEED)
    medians = sorted(
        statistics.median(chance.choices(values, k=len(values))) for _ in range(RESAMPLES)
    )
    tail = RESAMPLES * 25 // 1000
    return statistics.median(values), medians[tail], medians[-tail - 1]


def pairs_of(proxies):
    """Which proxy is divided by which."""
    pairs = [(proxy, REFERENCE) for proxy in proxies if REFERENCE in proxies and proxy != REFERENCE]
    return pairs + ([(OURS, GROUND)] if {OURS, GROUND} <= set(proxies) else [])


def pair_name(ours, theirs):
    return f"{ours}/{theirs}"


def interval(values):
    median, low, high = median_interval(values)
    return {"median": median, "low": low, "high": high}


def paired(samples, key, ours, theirs):
    """The ratios of two proxies, one for each round that has both."""
    by_round = {(sample["round"], sample["proxy"]): sample[key] for sample in samples}
    rounds = sorted({sample["round"] for sample in samples})
    return [
        by_round[number, ours] / by_round[number, theirs]
        for number in rounds
        if (number, ours) in by_round and by_round.get((number, theirs))
    ]


def medians(samples, key, proxies):
    return {
        proxy: statistics.median(sample[key] for sample in samples if sample["proxy"] == proxy)
        for proxy in proxies
    }


def summarize(samples, key, proxies):
    """Of one workload: the median of `key` for each proxy and the ratio of each pair."""
    ratios = {
        pair_name(ours, theirs): interval(values)
        for ours, theirs in pairs_of(proxies)
        if (values := paired(samples, key, ours, theirs))
    }
    return {"median": medians(samples, key, proxies), "ratio": ratios}


def of_workload(samples, proxies):
    """Everything about one workload."""
    return {
        "cpu_us_per_request": summarize(samples, "cpu_us_per_request", proxies),
        "requests_per_second": summarize(samples, "requests_per_second", proxies),
        "latency": {key: latency(samples, key, proxies) for key in LATENCIES},
        "errors": {proxy: total(samples, "errors", proxy) for proxy in proxies},
        "backend_connections_per_1000": {
            proxy: 1000 * total(samples, "backend_connections", proxy) / total(samples, "requests", proxy)
            for proxy in proxies
        },
        "other_cores": statistics.median(sample["other_cores"] for sample in samples),
        "stolen_cores": statistics.median(sample["stolen_cores"] for sample in samples),
    }


def latency(samples, key, proxies):
    return {
        proxy: interval([sample[key] for sample in samples if sample["proxy"] == proxy])
        for proxy in proxies
    }


def total(samples, key, proxy):
    return sum(sample[key] for sample in samples if sample["proxy"] == proxy)


def beside_itself(samples, key, proxies, workload, plain):
    """Each proxy under one workload over the same proxy under another one in the same round."""
    ratios = {}
    for proxy in proxies:
        named = [
            {"round": sample["round"], "proxy": sample["workload"], key: sample[key]}
            for sample in samples
            if sample["proxy"] == proxy and sample["workload"] in (workload, plain)
        ]
        if values := paired(named, key, workload, plain):
            ratios[proxy] = interval(values)
    return ratios


def summary(samples, memory, proxies, workloads, peaks=()):
    """All figures of the page."""
    result = {"workloads": {}}
    for workload in workloads:
        of_it = [sample for sample in samples if sample["workload"] == workload]
        if of_it:
            result["workloads"][workload] = of_workload(of_it, proxies)
    if {"idle", "small"} <= set(result["workloads"]):
        result["idle_over_small"] = beside_itself(samples, "cpu_us_per_request", proxies, "idle", "small")
    if memory:
        result["memory"] = {
            "connections": memory[0]["connections"],
            "bytes_per_connection": summarize(memory, "bytes_per_connection", proxies),
            "start_bytes": summarize(memory, "start_bytes", proxies),
            "peak_bytes": summarize(memory, "peak_bytes", proxies),
        }
    if peaks:
        result["peak_bytes"] = {
            name: {peak["proxy"]: peak["peak_bytes"] for peak in peaks if peak["set"] == name}
            for name in dict.fromkeys(peak["set"] for peak in peaks)
        }
    return result


def plotted(result, proxies):
    """{workload: {proxy: ratio}}: what the plot shows, CPU time per request over the reference's."""
    found = {}
    for name, one in result["workloads"].items():
        ratios = one["cpu_us_per_request"]["ratio"]
        of_it = {proxy: ratios[pair_name(proxy, REFERENCE)] for proxy in proxies
                 if pair_name(proxy, REFERENCE) in ratios}
        if of_it:
            found[name] = of_it
    return found


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |"]
    lines.append("| " + " | ".join(["---"] + ["---:"] * (len(head) - 1)) + " |")
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


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
    head = ["workload", *proxies, *(pair_name(ours, theirs) for ours, theirs in pairs)]
    title = "# User-space instructions per request"
    return "\n\n".join([title, about_lines(about), table(head, rows)]) + "\n"


def about_lines(about):
    return "\n".join(f"- {name}: {value}" for name, value in about.items())
