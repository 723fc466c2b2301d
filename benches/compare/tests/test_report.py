"""The statistics of the report, on rounds made up here."""

import unittest

import here  # noqa: F401
import report
import tables

PROXIES = ["haproxy", "bare", "tidegate"]


def sample(number, proxy, cpu, workload="small", **more):
    plain = {
        "round": number, "proxy": proxy, "workload": workload, "cpu_us_per_request": cpu,
        "requests_per_second": 1000.0, "requests": 1000, "errors": 0, "p50_ms": 1.0, "p99_ms": 2.0,
        "p999_ms": 3.0, "backend_connections": 2, "other_cores": 0.1, "stolen_cores": 0.0,
    }
    return {**plain, **more}


def three_rounds(workload="small", factor=1.0):
    """HAProxy gets slower from round to round, as a machine does; the ratios stay 2 and 0.5."""
    cost = {"haproxy": 1, "bare": 2, "tidegate": 0.5}
    return [
        sample(number, proxy, cost[proxy] * 10.0 * number * factor, workload)
        for number in (1, 2, 3)
        for proxy in PROXIES
    ]


class Statistics(unittest.TestCase):
    def test_equal_values_have_an_interval_of_no_width(self):
        self.assertEqual(report.median_interval([2.0] * 7), (2.0, 2.0, 2.0))

    def test_the_interval_holds_the_median_and_stays_within_the_values(self):
        median, low, high = report.median_interval([1.0, 2.0, 3.0, 4.0, 100.0])
        self.assertEqual(median, 3.0)
        self.assertTrue(1.0 <= low < 3.0 < high <= 100.0)

    def test_the_same_values_give_the_same_interval(self):
        values = [1.0, 5.0, 2.0, 8.0, 3.0]
        self.assertEqual(report.median_interval(values), report.median_interval(values))

    def test_ratios_are_taken_within_a_round(self):
        self.assertEqual(report.paired(three_rounds(), "cpu_us_per_request", "bare", "haproxy"), [2.0] * 3)

    def test_a_round_without_one_of_both_is_left_out(self):
        samples = [*three_rounds(), sample(4, "bare", 1.0)]
        self.assertEqual(len(report.paired(samples, "cpu_us_per_request", "bare", "haproxy")), 3)

    def test_every_proxy_is_divided_by_the_reference_and_ours_by_its_ground(self):
        self.assertEqual(
            report.pairs_of(PROXIES),
            [("bare", "haproxy"), ("tidegate", "haproxy"), ("tidegate", "bare")],
        )
        self.assertEqual(report.pairs_of(["nginx", "tidegate"]), [])

    def test_idle_clients_are_compared_with_the_same_proxy(self):
        samples = three_rounds() + three_rounds("idle", 1.5)
        found = report.beside_itself(samples, "cpu_us_per_request", PROXIES, "idle", "small")
        self.assertEqual({proxy: one["median"] for proxy, one in found.items()}, dict.fromkeys(PROXIES, 1.5))


class Pages(unittest.TestCase):
    def summary(self, proxies=None):
        samples = three_rounds() + three_rounds("idle", 1.5) + three_rounds("rate")
        memory = [
            {"round": 1, "proxy": proxy, "connections": 50, "bytes_per_connection": 2048,
             "start_bytes": 1 << 20, "peak_bytes": 3 << 20}
            for proxy in PROXIES
        ]
        peaks = [{"set": "loads", "proxy": proxy, "peak_bytes": 5 << 20} for proxy in PROXIES]
        proxies = proxies or PROXIES
        return report.summary(samples, memory, proxies, ["small", "idle", "rate", "memory"], peaks)

    def test_the_page_has_a_table_for_each_matter(self):
        text = tables.page(self.summary(), {"date": "today"}, PROXIES)
        for line in [
            "- date: today",
            "|  | bare | tidegate | tidegate, × bare |",
            "| `small` | 2.00 (2.00–2.00) | 0.50 (0.50–0.50) | 0.25 (0.25–0.25) |",
            "| `small` | 20.0 | 40.0 | 10.0 |",
            "| `idle` / `small` | 1.50 (1.50–1.50) | 1.50 (1.50–1.50) | 1.50 (1.50–1.50) |",
            "| tidegate | 1.00 (1.00–1.00) | 2.00 (2.00–2.00) | 3.00 (3.00–3.00) | 10.0 | 0.50 (0.50–0.50) |",
            "| KiB per client | 2.0 | 2.0 | 2.0 |",
            "| all loads but these: | 5.0 | 5.0 | 5.0 |",
        ]:
            self.assertIn(line, text.splitlines())

    def test_without_the_reference_there_is_no_ratio_and_no_plot(self):
        proxies = ["tidegate"]
        summary = self.summary(proxies)
        self.assertNotIn("× HAProxy: lower", tables.page(summary, {}, proxies))
        self.assertEqual(report.plotted(summary, proxies), {})

    def test_the_plot_shows_all_but_the_reference(self):
        self.assertEqual(set(report.plotted(self.summary(), PROXIES)["small"]), {"bare", "tidegate"})


if __name__ == "__main__":
    unittest.main()
