//! One family of samples on its way into the text: the words of [`prometheus::proto`], made short.

use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

/// Labels with their values.
pub(super) type Labels = Vec<LabelPair>;

/// A label with its value.
pub(super) fn label(name: &str, value: impl Into<String>) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.into());
    pair
}

/// A family that is being filled.
pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    metrics: Vec<Metric>,
}

impl Family {
    pub(super) fn counter(name: &'static str, help: &'static str) -> Self {
        Self::new(name, help, MetricType::COUNTER)
    }

    pub(super) fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::new(name, help, MetricType::GAUGE)
    }

    pub(super) fn histogram(name: &'static str, help: &'static str) -> Self {
        Self::new(name, help, MetricType::HISTOGRAM)
    }

    fn new(name: &'static str, help: &'static str, kind: MetricType) -> Self {
        Self {
            name,
            help,
            kind,
            metrics: Vec::new(),
        }
    }

    /// Adds a sample. Beyond 2^53 a whole number is no longer exact, as everywhere in Prometheus.
    pub(super) fn add(&mut self, labels: &Labels, value: u64) {
        let mut metric = Metric::from_label(labels.clone());
        let value = value as f64;
        if self.kind == MetricType::GAUGE {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        } else {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        self.metrics.push(metric);
    }

    /// Adds a sample with one label more.
    pub(super) fn add_with(&mut self, labels: &Labels, name: &str, word: &str, value: u64) {
        let mut all = Vec::with_capacity(labels.len() + 1);
        all.extend_from_slice(labels);
        all.push(label(name, word));
        self.add(&all, value);
    }

    /// Adds a histogram as it was read.
    pub(super) fn add_histogram(
        &mut self,
        labels: &Labels,
        (buckets, count, sum): (Vec<(f64, u64)>, u64, f64),
    ) {
        let bucket = |(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        };
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.into_iter().map(bucket).collect());
        histogram.set_sample_count(count);
        histogram.set_sample_sum(sum);
        let mut metric = Metric::from_label(labels.clone());
        metric.set_histogram(histogram);
        self.metrics.push(metric);
    }

    /// Writes the family, unless it is empty: the format knows no family without a sample.
    pub(super) fn write(self, text: &mut String) {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(self.metrics);
        write(family, text);
    }
}

/// Writes a family that a collector made.
pub(super) fn write(family: MetricFamily, text: &mut String) {
    if family.get_metric().is_empty() {
        return;
    }
    if let Err(error) = TextEncoder::new().encode_utf8(&[family], text) {
        tracing::error!(target: "tidegate::metrics", %error, "a metric could not be written");
    }
}
