package main

import (
	"math"
	"sort"
)

func sorted(values []float64) []float64 {
	all := append([]float64(nil), values...)
	sort.Float64s(all)
	return all
}

func median(values []float64) float64 {
	all := sorted(values)
	if len(all) == 0 {
		return math.NaN()
	}
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

// quantile is the smallest value that so large a share of them does not exceed.
func quantile(values []float64, share float64) float64 {
	all := sorted(values)
	if len(all) == 0 {
		return math.NaN()
	}
	rank := int(math.Ceil(share*float64(len(all)))) - 1
	if rank < 0 {
		rank = 0
	}
	return all[rank]
}

// medianInterval is the 95 % interval of the median, whatever the distribution: the k-th smallest and the k-th largest
// value, with k by the binomial distribution of how many fall below the median (David and Nagaraja, Order Statistics,
// 7.1). Of fewer than six values it is everything.
func medianInterval(values []float64) (from, to float64) {
	all := sorted(values)
	if len(all) < 6 {
		return math.Inf(-1), math.Inf(1)
	}
	n, k := len(all), 0
	probability := math.Pow(0.5, float64(n)) // of exactly k values below
	for below := probability; below <= 0.025; k++ {
		probability *= float64(n-k) / float64(k+1)
		below += probability
	}
	return all[k-1], all[n-k]
}

// quarters are the medians of the first, second, third and last quarter.
func quarters(values []float64) (medians [4]float64) {
	for i := range medians {
		medians[i] = median(values[len(values)*i/4 : len(values)*(i+1)/4])
	}
	return medians
}

// slope is how much a value rises from one to the next (Theil and Sen: the median of all pairs, so that a few that stand
// out do not matter).
func slope(values []float64) float64 {
	var all []float64
	for i := range values {
		for j := i + 1; j < len(values); j++ {
			all = append(all, (values[j]-values[i])/float64(j-i))
		}
	}
	return median(all)
}

// The second half of a run may seem to rise by so much memory, in KiB and as a share. The proxy's ring of events takes
// up to 2 KiB a round until it is full, which is in the first two thirds of a thousand rounds.
const (
	riseMaxKiB   = 1024
	riseMaxShare = 0.02
	parts        = 4
)

// rise is how much the second half of the samples rises. It is the median of what its parts say: a leak goes on in all of
// them, while a machine that stood still for a second is followed by one burst of requests, after which the allocator
// keeps more than before.
func rise(values []float64) float64 {
	half := values[len(values)/2:]
	var each []float64
	for i := 0; i < parts; i++ {
		each = append(each, slope(half[len(half)*i/parts:len(half)*(i+1)/parts]))
	}
	return median(each) * float64(len(half))
}

func isLevel(values []float64) bool {
	return rise(values) <= riseMaxKiB+riseMaxShare*median(values)
}
