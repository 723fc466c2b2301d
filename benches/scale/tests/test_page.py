"""Ratios, the cost of a probe and the page, from samples made by hand."""

import unittest

from . import support  # noqa: F401
import page
import points


def sample(number, point, cpu, rate=1000.0):
    return {
        "round": number, "point": point.key(), "cpu_us_per_request": cpu,
        "requests_per_second": rate, "requests": 1000, "errors": 0, "backend_connections": 5,
        "other_cores": 0.0, "resident_bytes": 1024,
    }


def rest(number, probes, cpu, made):
    return {
        "round": number, "backends": 500, "probes": probes, "cpu_us_per_second": cpu,
        "probes_per_second": made,
    }


class Ratios(unittest.TestCase):
    def test_a_ratio_is_taken_within_a_round(self):
        base, other = points.workers_series()
        samples = []
        # The machine is three times slower in the second round; the ratio does not see it.
        for number, slow in [(1, 1.0), (2, 3.0), (3, 1.0)]:
            samples += [sample(number, base, 10 * slow), sample(number, other, 12 * slow)]
        found = page.ratio(samples, "cpu_us_per_request", other.key(), base.key())
        for key in ["median", "low", "high"]:
            self.assertAlmostEqual(found[key], 1.2)

    def test_a_round_without_the_base_is_left_out(self):
        base, other = points.workers_series()
        samples = [sample(1, base, 10), sample(1, other, 20), sample(2, other, 999)]
        found = page.ratio(samples, "cpu_us_per_request", other.key(), base.key())
        self.assertEqual(found["median"], 2.0)

    def test_a_probe_is_what_probing_costs_more_over_the_probes(self):
        rests = [rest(1, "2s", 27_000, 250), rest(1, "1h", 2000, 0)]
        found = page.probe_cost(rests)
        self.assertEqual(found["cpu_us_per_probe"]["median"], 100)
        self.assertIsNone(page.probe_cost([]))

    def test_probes_in_the_load_are_taken_off(self):
        chosen = [point for point in points.backends_series() if point.size == 500][:1]
        probes = {"cpu_us_per_probe": {"median": 100}}
        (row,) = page.summary(chosen, [sample(1, chosen[0], 20.0, 25_000.0)], [], probes)
        # 250 probes of 100 µs a second, over 25,000 requests.
        self.assertAlmostEqual(row["less_probes_us"], 19.0)


class Page(unittest.TestCase):
    def test_each_row_has_as_many_cells_as_its_head(self):
        chosen = [*points.idle_series(), *points.backends_series()]
        samples = [
            {**sample(1, point, 10.0), "bytes_per_idle_client": 4096} for point in chosen
        ]
        counts = [
            {"point": point.key(), "instructions_per_request": 17_000.0}
            for point in chosen
            if points.is_counted(point)
        ]
        rows = page.summary(chosen, samples, counts, None)
        text = page.page(rows, None, None, {"date": "today"})
        tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("| ")]
        self.assertEqual(len(tables), 2)
        for lines in tables:
            self.assertEqual(len({line.count("|") for line in lines}), 1)
        self.assertIn("| 10,000 | 10.0 | 1.00 (1.00–1.00) |", text)
        self.assertIn("17,000", text)

    def test_a_point_that_was_only_counted_has_empty_cells_for_its_time(self):
        chosen = points.idle_series([0])
        counts = [{"point": chosen[0].key(), "instructions_per_request": 17_000.0}]
        text = page.page(page.summary(chosen, [], counts, None), None, None, {})
        self.assertIn("| 0 |  |  |  |  |  | 17,000 | 1.000 |  |  |  |", text)


if __name__ == "__main__":
    unittest.main()
