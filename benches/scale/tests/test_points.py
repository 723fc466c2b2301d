"""The points and their configurations, by their text: no YAML reader is needed, no proxy started."""

import re
import unittest

from . import support  # noqa: F401
import points

WHERE = points.Places("/tmp/x", 1000, 1001, 1002)


def all_points():
    return [point for make in points.SERIES.values() for point in make()]


def hosts_and_paths(text):
    """(host, path) of each route of a configuration."""
    lines = text.split("\nroutes:\n")[1].splitlines()
    found = []
    for line in lines:
        host = re.search(r'host: "?([^",}]+)', line)
        path = re.search(r"path: ([^,}]+)", line)
        found.append((host and host.group(1), path.group(1) if path else "/"))
    return found


class Configurations(unittest.TestCase):
    def test_each_has_the_backends_pools_and_routes_of_its_shape(self):
        for point in all_points():
            text = points.configuration(point.shape, WHERE)
            with self.subTest(point.key()):
                self.assertEqual(text.count("{id: "), point.shape.backends_total())
                self.assertEqual(len(re.findall(r"^  pool\d+:$", text, re.M)), point.shape.pools)
                # One more: the harness's own.
                self.assertEqual(len(hosts_and_paths(text)), point.shape.routes + 1)
                self.assertIn(f"balance: {point.shape.balance}\n", text)
                self.assertIn(f"workers: {point.shape.workers}\n", text)

    def test_the_whole_has_500_backends_in_200_pools_and_1000_routes(self):
        text = points.configuration(points.whole_shape(), WHERE)
        self.assertEqual(text.count("{id: "), 500)
        self.assertEqual(len(re.findall(r"^  pool\d+:$", text, re.M)), 200)
        self.assertEqual(len(hosts_and_paths(text)), 1001)

    def test_no_address_no_route_and_no_id_of_a_pool_comes_twice(self):
        for shape in [*(point.shape for point in all_points()), points.whole_shape()]:
            text = points.configuration(shape, WHERE)
            addresses = re.findall(r'address: "(127\.1\.[^"]+)"', text)
            self.assertEqual(len(set(addresses)), shape.backends_total())
            taken = hosts_and_paths(text)
            self.assertEqual(len(set(taken)), len(taken))
            for pool in re.split(r"^  pool\d+:$", text, flags=re.M)[1:]:
                ids = re.findall(r"\{id: (\w+)", pool)
                self.assertEqual(len(set(ids)), len(ids))

    def test_each_request_is_taken_by_the_route_that_its_place_names(self):
        for point in points.routes_series():
            taken = hosts_and_paths(points.configuration(point.shape, WHERE))
            if point.line == "any host":
                self.assertEqual(taken[-1], (None, "/"), point.key())
                continue
            # The first line is the harness's own.
            number = {"first": 1, "middle": 1 + point.size // 2}.get(point.hit, point.size)
            host, path = taken[number]
            with self.subTest(point.key()):
                self.assertTrue(point.path.startswith(path))
                self.assertTrue(point.host.endswith(host.lstrip("*")))

    def test_brackets_and_quotes_are_even(self):
        for point in all_points():
            for line in points.configuration(point.shape, WHERE).splitlines():
                self.assertEqual(line.count("{"), line.count("}"), line)
                self.assertEqual(line.count('"') % 2, 0, line)
                self.assertNotIn("\t", line)

    def test_a_weight_is_given_to_the_first_backend_alone(self):
        text = points.configuration(points.whole_shape(), WHERE, first_weight=3)
        self.assertEqual(text.count("weight: 3"), 1)
        self.assertIn('{id: b0, address: "127.1.0.1:1002", weight: 3}', text)


class Series(unittest.TestCase):
    def test_no_two_points_have_one_key(self):
        keys = [point.key() for point in all_points()]
        self.assertEqual(len(set(keys)), len(keys))

    def test_the_base_of_each_line_is_its_smallest(self):
        for (series, line), base in points.bases(all_points()).items():
            sizes = [p.size for p in all_points() if (p.series, p.line) == (series, line)]
            self.assertEqual(base.size, min(sizes))
            self.assertEqual(base.hit, "")

    def test_what_is_counted_has_its_base_counted_too(self):
        for point in all_points():
            if points.is_counted(point):
                base = points.bases(all_points())[point.series, point.line]
                self.assertTrue(points.is_counted(base), point.key())

    def test_backends_are_on_loopback(self):
        addresses = {points.address_of(number) for number in range(500)}
        self.assertEqual(len(addresses), 500)
        for address in addresses:
            first, *_, last = (int(part) for part in address.split("."))
            self.assertEqual(first, 127)
            self.assertTrue(1 <= last <= 254)


if __name__ == "__main__":
    unittest.main()
