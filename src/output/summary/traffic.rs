//! Requests over time, as sparklines.

use std::io;

use super::chart::{gather, sparkline};
use super::page::{LABEL, NARROW, Page, Span};
use super::units::{bytes, count, date_time, rate, time};
use crate::output::text::line::Paint;
use crate::record::summary::{Bucket, Traffic};

/// How wide the label of a sparkline is.
const NAME: usize = 10;

/// How wide the figure behind a sparkline is.
const FIGURE: usize = 14;

/// What is drawn over time.
struct Series {
    label: &'static str,
    /// The figure of some neighbouring buckets.
    of: fn(&[Bucket]) -> f64,
    /// Formats the highest figure; whether it is one of a second.
    format: fn(f64) -> String,
    per_second: bool,
}

const REQUESTS: Series = Series { label: "requests", of: |b| sum(b, |b| b.requests), format: rate, per_second: true };

const SERIES: [Series; 6] = [
    REQUESTS,
    Series { label: "errors", of: |b| sum(b, |b| b.errors), format: |n| count(n as u64), per_second: false },
    Series { label: "connects", of: |b| sum(b, |b| b.connects), format: |n| count(n as u64), per_second: false },
    Series { label: "p95", of: |b| most(b, |b| b.times.p95_us), format: |us| time(us as u64), per_second: false },
    Series { label: "bytes in", of: |b| sum(b, |b| b.bytes_in), format: |n| bytes(n as u64), per_second: true },
    Series { label: "bytes out", of: |b| sum(b, |b| b.bytes_out), format: |n| bytes(n as u64), per_second: true },
];

fn sum(buckets: &[Bucket], of: fn(&Bucket) -> u64) -> f64 {
    buckets.iter().map(|bucket| of(bucket) as f64).sum()
}

fn most(buckets: &[Bucket], of: fn(&Bucket) -> u64) -> f64 {
    buckets.iter().map(of).max().unwrap_or_default() as f64
}

pub(super) fn write(page: &mut Page<'_>, traffic: &Traffic) -> io::Result<()> {
    let (Some(first), Some(last)) = (traffic.buckets.first(), traffic.buckets.last()) else { return Ok(()) };
    if traffic.buckets.len() < 2 {
        return Ok(());
    }
    page.heading("Traffic")?;
    let (columns, neighbours) = columns(page, traffic);
    let each = time(traffic.bucket_us.saturating_mul(neighbours as u64));
    page.note(&format!(
        "{} to {}, {each} a column; at the right the highest one.",
        date_time(first.started),
        date_time(last.started.later(traffic.bucket_us))
    ))?;
    SERIES.iter().try_for_each(|series| series.write(page, traffic, columns, 2, NAME))
}

/// Writes the requests only, where there is something to see.
pub(super) fn requests(page: &mut Page<'_>, traffic: &Traffic) -> io::Result<()> {
    if traffic.buckets.len() < 2 || page.width < NARROW {
        return Ok(());
    }
    let columns = page.width.saturating_sub(2 + LABEL + 2 + FIGURE);
    REQUESTS_OVERVIEW.write(page, traffic, columns, 2, LABEL)
}

const REQUESTS_OVERVIEW: Series = Series { label: "Requests over time", ..REQUESTS };

/// Returns how many columns there are for a sparkline, and how many buckets are in one of them.
fn columns(page: &Page<'_>, traffic: &Traffic) -> (usize, usize) {
    let columns = page.width.saturating_sub(page.indent(2) + NAME + 2 + FIGURE).max(1);
    (columns, traffic.buckets.len().div_ceil(columns).max(1))
}

impl Series {
    fn write(
        &self,
        page: &mut Page<'_>,
        traffic: &Traffic,
        columns: usize,
        indent: usize,
        label: usize,
    ) -> io::Result<()> {
        let values = gather(&traffic.buckets, columns, self.of);
        let highest = values.iter().copied().fold(0.0, f64::max);
        if highest <= 0.0 {
            return Ok(());
        }
        // Of a second, or of a bucket where these are longer: whatever the width of the terminal.
        let neighbours = (1_000_000 / traffic.bucket_us.max(1)).max(1) as usize;
        let of_seconds = traffic.buckets.chunks(neighbours).map(self.of);
        let highest_second = of_seconds.fold(0.0, f64::max);
        let seconds = traffic.bucket_us as f64 * neighbours.min(traffic.buckets.len()) as f64 / 1_000_000.0;
        let figure = if self.per_second && seconds > 0.0 {
            format!("{}/s", (self.format)(highest_second / seconds))
        } else {
            (self.format)(highest)
        };
        page.line(
            page.indent(indent),
            &[
                Span::painted(Paint::DIM, format!("{:label$}  ", self.label)),
                Span::painted(Paint::CYAN, format!("{}▏", sparkline(&values))),
                format!(" {figure}").into(),
            ],
        )
    }
}
