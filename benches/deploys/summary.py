"""From blocks to one entry for each proxy, app and way (block.py): sums, medians, extremes.

A median has its 95 % interval by percentile bootstrap with a fixed seed: the same blocks give the same
report.
"""

import random
import statistics
from collections import Counter

from block import APPS, WAYS
from load import KINDS
from replacement import PHASES

RESAMPLES = 4000
SEED = 20_250_101


def median_interval(values: list[float]) -> dict | None:
    """Of no values there is nothing to say."""
    if not values:
        return None
    chance = random.Random(SEED)
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(RESAMPLES))
    tail = RESAMPLES * 25 // 1000
    return {
        "median": statistics.median(values),
        "low": medians[tail],
        "high": medians[-tail - 1],
        "max": max(values),
        "of": len(values),
    }


def of_blocks(blocks: list[dict], proxies: list[str]) -> list[dict]:
    """In the order of the ways, the apps, and `proxies`."""
    entries = []
    for way in WAYS:
        for app in APPS:
            for proxy in proxies:
                who = (proxy, app, way)
                mine = [one for one in blocks if (one["proxy"], one["app"], one["way"]) == who]
                if mine:
                    entries.append({"proxy": proxy, "app": app, "way": way, **entry(mine)})
    return entries


def entry(blocks: list[dict]) -> dict:
    done = [one for block in blocks for one in block["replacements"]]
    return {
        "asked_for": sum(block["asked_for"] for block in blocks),
        "replacements": len(done),
        "errors": [block["error"] for block in blocks if block["error"]],
        "outcomes": dict(Counter(one["outcome"] for one in done)),
        "requests": requests([block["load"] for block in blocks]),
        "left": left(done),
        "times_ms": times(done),
        "commands": median_interval([one["commands"] for one in done]),
        "polls": median_interval([one["polls"] for one in done]),
    }


def requests(loads: list[dict]) -> dict:
    """Sent and failed, of each kind with the reasons; latencies are the median of the blocks' own."""
    kinds = {}
    for kind in KINDS:
        found = [load["kinds"][kind] for load in loads if kind in load["kinds"]]
        reasons = Counter()
        for one in found:
            reasons.update(one["failures"])
        kinds[kind] = {
            "sent": sum(one["sent"] for one in found),
            "failed": sum(one["failed"] for one in found),
            "in_windows": sum(one["in_windows"] for one in found),
            "reasons": dict(sorted(reasons.items())),
            "p99_ms": statistics.median(one["p99_ms"] for one in found) if found else 0,
            "max_ms": max((one["max_ms"] for one in found), default=0),
        }
    sent, failed = sum(load["sent"] for load in loads), sum(load["failed"] for load in loads)
    return {
        "sent": sent,
        "failed": failed,
        "failed_in_windows": sum(load["failed_in_windows"] for load in loads),
        "per_1000": 1000 * failed / sent if sent else 0.0,
        "ws_closed_1001": sum(load["ws_closed_1001"] for load in loads),
        "late_max_ms": max((load["late_max_ms"] for load in loads), default=0),
        "kinds": kinds,
    }


def left(done: list[dict]) -> dict:
    """What the replaced ones still had: in sum, at most, and in how many replacements anything at all."""
    counted = {"sockets": [one["sockets_left"] for one in done]}
    for what in ("requests", "tunnels", "idle", "new"):
        counted[what] = [one["app"]["held"][what] for one in done if "held" in one["app"]]
    counted["abandoned"] = [
        one["app"]["abandoned"]["requests"] + one["app"]["abandoned"]["tunnels"]
        for one in done
        if "held" in one["app"]
    ]
    return {
        what: {
            "sum": sum(values),
            "max": max(values, default=0),
            "in": sum(1 for n in values if n),
            "of": len(values),
        }
        for what, values in counted.items()
    }


def times(done: list[dict]) -> dict:
    found = {phase: median_interval([one["phases_ms"][phase] for one in done]) for phase in PHASES}
    found["total"] = median_interval([one["total_ms"] for one in done])
    found["late"] = median_interval([one["late_ms"] for one in done if one["late_ms"] is not None])
    return found
