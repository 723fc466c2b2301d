package main

import (
	"math"
	"testing"
)

func numbers(from, to int) (all []float64) {
	for i := to; i >= from; i-- {
		all = append(all, float64(i))
	}
	return all
}

func TestMedianAndQuantilesAreOfTheSortedValues(t *testing.T) {
	for _, c := range []struct{ found, expected float64 }{
		{median([]float64{3, 1, 2}), 2},
		{median([]float64{4, 1, 2, 3}), 2.5},
		{median([]float64{7}), 7},
		{quantile(numbers(1, 100), 0.99), 99},
		{quantile(numbers(1, 1000), 0.99), 990},
		{quantile(numbers(1, 10), 0.99), 10},
		{quantile(numbers(1, 10), 0), 1},
	} {
		if c.found != c.expected {
			t.Errorf("found %v, expected %v", c.found, c.expected)
		}
	}
	if !math.IsNaN(median(nil)) || !math.IsNaN(quantile(nil, 0.5)) {
		t.Error("nothing has a median")
	}
}

// The ranks are those of the tables for the sign test.
func TestTheIntervalOfAMedianHasTheRanksOfTheTables(t *testing.T) {
	for _, c := range []struct{ n, from, to int }{
		{6, 1, 6}, {8, 1, 8}, {9, 2, 8}, {10, 2, 9}, {15, 4, 12}, {20, 6, 15}, {30, 10, 21}, {50, 18, 33}, {100, 40, 61},
	} {
		from, to := medianInterval(numbers(1, c.n))
		if from != float64(c.from) || to != float64(c.to) {
			t.Errorf("of %d values: found ranks %v to %v, expected %d to %d", c.n, from, to, c.from, c.to)
		}
	}
	from, to := medianInterval(numbers(1, 5))
	if !math.IsInf(from, -1) || !math.IsInf(to, 1) {
		t.Error("five values have no such interval")
	}
}

func TestALeakIsSeenAndLevelMemoryIsNot(t *testing.T) {
	rounds := func(count int, of func(n float64) float64) (all []float64) {
		for n := 0; n < count; n++ {
			all = append(all, 5000+50*math.Sin(float64(n))+of(float64(n)))
		}
		return all
	}
	for _, c := range []struct {
		name     string
		isLevel  bool
		rounds   int
		expected func(n float64) float64
	}{
		{"level", true, 300, func(float64) float64 { return 0 }},
		{"a ring that fills", true, 1000, func(n float64) float64 { return math.Min(2*n, 1200) }},
		{"a ring that has not filled", true, 300, func(n float64) float64 { return 2 * n }},
		{"a burst in the second half", true, 300, func(n float64) float64 { return math.Max(0, math.Min(n-199, 1)) * 5000 }},
		{"a leak of 10 KiB in 300", false, 300, func(n float64) float64 { return 10 * n }},
		{"a leak of 3 KiB in 1000", false, 1000, func(n float64) float64 { return 3 * n }},
		{"a leak and a burst", false, 300, func(n float64) float64 { return 10*n + math.Max(0, math.Min(n-199, 1))*5000 }},
	} {
		values := rounds(c.rounds, c.expected)
		if isLevel(values) != c.isLevel {
			t.Errorf("%s: found a rise of %.0f KiB, level %t", c.name, rise(values), !c.isLevel)
		}
	}
	if found := quarters(numbers(1, 8)); found != [4]float64{7.5, 5.5, 3.5, 1.5} {
		t.Errorf("found quarters %v", found)
	}
}

func TestSeriesOfAScrape(t *testing.T) {
	series, err := parseSeries("# HELP a b\na{x=\"1 2\"} 3\nb 1.5e3\n")
	if err != nil || len(series) != 2 || series[`a{x="1 2"}`] != 3 || series["b"] != 1500 {
		t.Errorf("found %v, %v", series, err)
	}
	if _, err := parseSeries("a b\n"); err == nil {
		t.Error("a value that is no number passes")
	}
}
