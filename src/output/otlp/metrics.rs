//! `db.client.operation.duration`: the histogram of the durations of requests.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use super::attributes::{Attribute, Attributes, Value};
use super::summary::summary;
use super::{Long, Resource, Scope, service};
use crate::record::QueryRecord;
use crate::time::Timestamp;

/// The bounds that the conventions have, in microseconds, and as they are written.
const BOUNDS_US: [u64; 9] = [1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000, 10_000_000];
const BOUNDS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u8 = 2;

/// How many series there are at most. "The default cardinality limit" of SDKs; what is beyond it is one series, as they have it.
const MOST_SERIES: usize = 2_000;

/// The durations of requests, by what they have in common.
#[derive(Debug, Default)]
pub(crate) struct Durations(BTreeMap<Key, Series>);

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    service: String,
    attributes: Vec<Attribute<'static>>,
}

#[derive(Debug, Default)]
struct Series {
    buckets: [u64; BOUNDS.len() + 1],
    count: u64,
    sum_us: u128,
    min_us: u64,
    max_us: u64,
}

impl Durations {
    /// Adds a request, if its duration is known.
    pub(crate) fn add(&mut self, query: &QueryRecord<'_>) {
        let Some(us) = query.total_us else { return };
        let attributes = Attributes::of_few_values(query, query.sql.as_ref().and_then(summary)).0;
        let attributes = attributes.into_iter().map(Attribute::into_owned).collect();
        let mut one = Series { count: 1, sum_us: us.into(), min_us: us, max_us: us, ..Series::default() };
        let bucket = BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(BOUNDS.len());
        if let Some(bucket) = one.buckets.get_mut(bucket) {
            *bucket = 1;
        }
        self.merge_series(Key { service: service(query).into_owned(), attributes }, &one);
    }

    /// Adds all of others.
    pub(crate) fn merge(&mut self, others: Self) {
        for (key, series) in others.0 {
            self.merge_series(key, &series);
        }
    }

    fn merge_series(&mut self, key: Key, added: &Series) {
        let is_beyond = self.0.len() >= MOST_SERIES && !self.0.contains_key(&key);
        let overflow = || {
            let attribute = Attribute { key: "otel.metric.overflow", value: Value::Bool(true) };
            Key { service: "unknown_service".to_owned(), attributes: vec![attribute] }
        };
        self.0.entry(if is_beyond { overflow() } else { key }).or_default().merge(added);
    }

    /// Writes a line of all durations from `started` up to now.
    pub(crate) fn write(&self, out: &mut Vec<u8>, started: Timestamp, now: Timestamp) -> io::Result<()> {
        let mut resource_metrics: Vec<ResourceMetrics<'_>> = Vec::new();
        let mut service = None;
        for (key, series) in &self.0 {
            if service.replace(&key.service) != Some(&key.service) {
                let metrics = [Metric {
                    name: "db.client.operation.duration",
                    description: "Duration of database client operations.",
                    unit: "s",
                    histogram: Histogram { aggregation_temporality: CUMULATIVE, data_points: Vec::new() },
                }];
                resource_metrics.push(ResourceMetrics {
                    resource: Resource::of(key.service.as_str().into()),
                    scope_metrics: [ScopeMetrics { scope: Scope::SELF, metrics }],
                });
            }
            let point = series.point(&key.attributes, started, now);
            let of_service = resource_metrics.iter_mut().flat_map(|of| &mut of.scope_metrics);
            if let Some(metric) = of_service.flat_map(|of| &mut of.metrics).last() {
                metric.histogram.data_points.push(point);
            }
        }
        crate::output::json::write_value(out, &Metrics { resource_metrics })
    }
}

impl Series {
    fn merge(&mut self, added: &Self) {
        self.buckets.iter_mut().zip(added.buckets).for_each(|(bucket, added)| *bucket += added);
        self.min_us = if self.count == 0 { added.min_us } else { self.min_us.min(added.min_us) };
        self.max_us = self.max_us.max(added.max_us);
        self.count += added.count;
        self.sum_us += added.sum_us;
    }

    fn point<'a>(&self, attributes: &'a [Attribute<'static>], started: Timestamp, now: Timestamp) -> DataPoint<'a> {
        DataPoint {
            attributes,
            start_time_unix_nano: Long(started.as_nanos()),
            time_unix_nano: Long(now.as_nanos()),
            count: Long(self.count),
            sum: self.sum_us as f64 / 1e6,
            bucket_counts: self.buckets.map(Long),
            explicit_bounds: BOUNDS,
            min: self.min_us as f64 / 1e6,
            max: self.max_us as f64 / 1e6,
        }
    }
}

/// `MetricsData`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metrics<'a> {
    resource_metrics: Vec<ResourceMetrics<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceMetrics<'a> {
    resource: Resource<'a>,
    scope_metrics: [ScopeMetrics<'a>; 1],
}

#[derive(Debug, Serialize)]
struct ScopeMetrics<'a> {
    scope: Scope,
    metrics: [Metric<'a>; 1],
}

#[derive(Debug, Serialize)]
struct Metric<'a> {
    name: &'static str,
    description: &'static str,
    unit: &'static str,
    histogram: Histogram<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Histogram<'a> {
    aggregation_temporality: u8,
    data_points: Vec<DataPoint<'a>>,
}

/// `HistogramDataPoint`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DataPoint<'a> {
    attributes: &'a [Attribute<'static>],
    start_time_unix_nano: Long<i64>,
    time_unix_nano: Long<i64>,
    count: Long<u64>,
    sum: f64,
    bucket_counts: [Long<u64>; BOUNDS.len() + 1],
    explicit_bounds: [f64; BOUNDS.len()],
    min: f64,
    max: f64,
}
