//! What the charts are drawn of: histograms as SVG, and traffic over time as JSON, which the script of the page reads.

use std::collections::BTreeMap;
use std::fmt;

use askama::filters::HtmlSafe;
use serde::Serialize;

use super::figure::Plain;
use crate::record::summary::{Bin, Bucket, Times, Traffic};

/// Where a time is on the axis of times, in steps: two for each factor of two, as the bins of the summary are.
fn position(micros: u64) -> f64 {
    let value = micros as f64 + 1.0;
    let octave = value.log2().floor();
    2.0 * (octave + value / octave.exp2() - 1.0)
}

/// The step in which a time is.
fn step(micros: u64) -> u32 {
    position(micros).ceil() as u32
}

/// The longest time in a step.
fn end(step: u32) -> u64 {
    let octave = f64::from(step / 2).exp2();
    (if step.is_multiple_of(2) { octave } else { 1.5 * octave }) as u64 - 1
}

/// How many steps a factor of ten has, about.
const DECADE: u32 = 7;

/// A histogram with few steps, whose bounds are among those of the summary's, so that its counts are exact.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    /// The longest time, and the count, by step; those in between that are empty are absent.
    steps: BTreeMap<u32, Bin>,
}

impl Histogram {
    /// Merges bins into steps.
    pub(super) fn new<'a>(bins: impl IntoIterator<Item = &'a Bin>) -> Self {
        let mut steps = BTreeMap::new();
        for bin in bins.into_iter().filter(|bin| bin.count > 0) {
            let merged = steps.entry(step(bin.us)).or_insert(Bin { us: 0, count: 0 });
            merged.us = merged.us.max(bin.us);
            merged.count = merged.count.saturating_add(bin.count);
        }
        Self { steps }
    }

    /// Whether no request has a time.
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The bins that are not empty.
    pub(super) fn bins(&self) -> impl Iterator<Item = &Bin> {
        self.steps.values()
    }

    fn range(&self) -> (u32, u32) {
        let first = self.steps.first_key_value().map_or(0, |(step, _)| *step);
        let last = self.steps.last_key_value().map_or(0, |(step, _)| *step);
        (first, last)
    }

    /// The chart, with marks at these times.
    pub(super) fn svg(&self, marks: &Times) -> Svg<'_> {
        let marks = [("p50", marks.p50_us), ("p95", marks.p95_us), ("p99", marks.p99_us)];
        Svg { histogram: self, marks }
    }
}

/// A histogram as SVG: bars on a logarithmic axis of times.
pub(super) struct Svg<'a> {
    histogram: &'a Histogram,
    marks: [(&'static str, u64); 3],
}

/// The sizes of a histogram, in pixels where it is not scaled.
mod size {
    pub(super) const BAR: u32 = 12;
    pub(super) const HEIGHT: u32 = 90;
    /// Above the bars: for the names of marks.
    pub(super) const TOP: u32 = 16;
    /// Below the bars: for the times on the axis.
    pub(super) const BOTTOM: u32 = 18;
    /// Beside the bars: for half a time on the axis.
    pub(super) const SIDE: u32 = 20;
    /// At least so many bars, so that a single one is not as wide as the page.
    pub(super) const LEAST: u32 = 24;
}

impl fmt::Display for Svg<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.histogram.range();
        let missing = size::LEAST.saturating_sub(last + 1 - first);
        let first = first.saturating_sub(missing / 2);
        let last = last.max(first + size::LEAST - 1);
        let width = (last + 1 - first) * size::BAR + 2 * size::SIDE;
        let bottom = size::TOP + size::HEIGHT;
        let height = bottom + size::BOTTOM;
        // A time is at the right end of the bar of times up to it.
        let place =
            |micros: u64| f64::from(size::SIDE) + (position(micros) + 1.0 - f64::from(first)) * f64::from(size::BAR);
        write!(
            f,
            r#"<svg class="histogram" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="Histogram of times: "#
        )?;
        for (index, (name, micros)) in self.marks.into_iter().enumerate() {
            write!(f, "{}{name} {}", if index > 0 { ", " } else { "" }, Plain(micros))?;
        }
        write!(f, r#""><path class="axis" d="M{} {bottom}.5H{}"/>"#, size::SIDE, width - size::SIDE)?;
        // Every power of ten, or every second or third where there are many.
        let every = (last - first) / (DECADE * 6) + 1;
        let powers = (0..20).map(|power| 10_u64.pow(power)).filter(|micros| (first..=last).contains(&step(*micros)));
        for micros in powers.step_by(every as usize) {
            let x = place(micros);
            write!(f, r#"<path class="grid" d="M{x:.1} {}V{bottom}"/>"#, size::TOP)?;
            write!(f, r#"<text x="{x:.1}" y="{}" text-anchor="middle">{}</text>"#, height - 4, Round(micros))?;
        }
        let most = self.histogram.bins().map(|bin| bin.count).max().unwrap_or(1).max(1);
        for (step, bin) in &self.histogram.steps {
            let x = size::SIDE + (step - first) * size::BAR;
            // A single request is seen beside a million.
            let tall = (bin.count as f64 / most as f64 * f64::from(size::HEIGHT)).max(1.5);
            write!(
                f,
                r#"<rect x="{}" y="{:.1}" width="{}" height="{tall:.1}"><title>up to {}: {}</title></rect>"#,
                x + 1,
                f64::from(bottom) - tall,
                size::BAR - 1,
                Plain(bin.us),
                super::figure::count(bin.count),
            )?;
        }
        self.write_marks(f, place, f64::from(width))?;
        f.write_str("</svg>")
    }
}

impl HtmlSafe for Svg<'_> {}

impl Svg<'_> {
    /// Writes the marks; those that are too close for a name each have one together.
    fn write_marks(&self, f: &mut fmt::Formatter<'_>, place: impl Fn(u64) -> f64, width: f64) -> fmt::Result {
        let mut names: Vec<(f64, String)> = Vec::new();
        for (name, micros) in self.marks {
            let x = place(micros).clamp(0.0, width);
            write!(f, r#"<path class="mark" d="M{x:.1} 2V{}"/>"#, size::TOP + size::HEIGHT)?;
            match names.last_mut().filter(|(before, _)| x - *before < 24.0) {
                Some((_, together)) => together.extend([" ", name]),
                None => names.push((x, name.to_owned())),
            }
        }
        for (x, name) in names {
            let is_at_end = x > width - 70.0;
            let (anchor, x) = if is_at_end { ("end", x - 3.0) } else { ("start", x + 3.0) };
            write!(f, r#"<text class="mark" x="{x:.1}" y="10" text-anchor="{anchor}">{name}</text>"#)?;
        }
        Ok(())
    }
}

/// A power of ten, short: `1 s`, not `1.00 s`; beyond a minute in seconds.
struct Round(u64);

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            micros @ ..1_000 => write!(f, "{micros} µs"),
            micros @ 1_000..1_000_000 => write!(f, "{} ms", micros / 1_000),
            micros => write!(f, "{} s", super::figure::count(micros / 1_000_000)),
        }
    }
}

/// Requests over time, by column: what the script draws charts of.
#[derive(Debug, Default, Serialize)]
pub(super) struct Chart {
    /// When the first bucket begins, in milliseconds since 1970.
    start_ms: f64,
    /// The width of a bucket, in microseconds.
    bucket_us: u64,
    requests: Vec<u64>,
    errors: Vec<u64>,
    connects: Vec<u64>,
    bytes_in: Vec<u64>,
    bytes_out: Vec<u64>,
    timed: Vec<u64>,
    p50_us: Vec<u64>,
    p95_us: Vec<u64>,
    p99_us: Vec<u64>,
    max_us: Vec<u64>,
    /// The upper ends of the rows of the heat map, in microseconds.
    rows_us: Vec<u64>,
    /// For each bucket, the rows with requests: the row's number and how many, in turn.
    heat: Vec<Vec<u64>>,
}

impl Chart {
    /// Makes the chart of at most so many buckets: of more, neighbours are merged.
    pub(super) fn new(traffic: &Traffic, limit: usize) -> Self {
        let merged = traffic.buckets.len().div_ceil(limit.max(1)).max(1);
        let start = traffic.buckets.first().map_or(0, |bucket| bucket.started.as_nanos());
        let mut chart = Self {
            start_ms: (start / 1_000) as f64 / 1e3,
            bucket_us: traffic.bucket_us.saturating_mul(merged as u64),
            ..Self::default()
        };
        let all = Histogram::new(traffic.buckets.iter().flat_map(|bucket| &bucket.histogram));
        let (first, last) = all.range();
        if !all.is_empty() {
            chart.rows_us = (first..=last).map(end).collect();
        }
        for buckets in traffic.buckets.chunks(merged) {
            chart.push(buckets, first);
        }
        chart
    }

    fn push(&mut self, buckets: &[Bucket], first: u32) {
        let sum = |get: fn(&Bucket) -> u64| buckets.iter().map(get).fold(0, u64::saturating_add);
        self.requests.push(sum(|bucket| bucket.requests));
        self.errors.push(sum(|bucket| bucket.errors));
        self.connects.push(sum(|bucket| bucket.connects));
        self.bytes_in.push(sum(|bucket| bucket.bytes_in));
        self.bytes_out.push(sum(|bucket| bucket.bytes_out));
        let times = match buckets {
            [one] => one.times.clone(),
            several => merge_times(several),
        };
        self.timed.push(times.timed);
        self.p50_us.push(times.p50_us);
        self.p95_us.push(times.p95_us);
        self.p99_us.push(times.p99_us);
        self.max_us.push(times.max_us);
        let histogram = Histogram::new(buckets.iter().flat_map(|bucket| &bucket.histogram));
        let cells = histogram.steps.iter().flat_map(|(step, bin)| [u64::from(step - first), bin.count]);
        self.heat.push(cells.collect());
    }

    /// Returns the chart as JSON that can stand in a script element: nothing in it ends that.
    pub(super) fn json(&self) -> serde_json::Result<Json> {
        serde_json::to_string(self).map(|json| Json(json.replace('<', "\\u003c")))
    }
}

/// JSON in which no `<` is.
pub(super) struct Json(String);

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Json {}

/// The times of several buckets: quantiles are nearest ranks in their histograms, which keeps the error of those.
fn merge_times(buckets: &[Bucket]) -> Times {
    let mut counts = BTreeMap::<u64, u64>::new();
    for bin in buckets.iter().flat_map(|bucket| &bucket.histogram) {
        let count = counts.entry(bin.us).or_default();
        *count = count.saturating_add(bin.count);
    }
    let total = counts.values().copied().fold(0, u64::saturating_add);
    let max_us = buckets.iter().map(|bucket| bucket.times.max_us).max().unwrap_or_default();
    let quantile = |percent: u64| {
        let rank = (u128::from(total) * u128::from(percent)).div_ceil(100);
        let mut seen = 0;
        let found = counts.iter().find(|(_, count)| {
            seen += u128::from(**count);
            seen >= rank
        });
        found.map_or(0, |(us, _)| *us).min(max_us)
    };
    let [p50_us, p95_us, p99_us] = [50, 95, 99].map(quantile);
    let timed = buckets.iter().map(|bucket| bucket.times.timed).fold(0, u64::saturating_add);
    let exec_us = buckets.iter().map(|bucket| bucket.times.exec_us).fold(0, u64::saturating_add);
    Times { timed, exec_us, mean_us: exec_us.checked_div(timed).unwrap_or_default(), p50_us, p95_us, p99_us, max_us }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bins(bins: &[(u64, u64)]) -> Vec<Bin> {
        bins.iter().map(|&(us, count)| Bin { us, count }).collect()
    }

    #[test]
    fn steps_keep_counts_and_bounds_of_bins() {
        let histogram = Histogram::new(&bins(&[(0, 1), (1, 2), (700, 5), (767, 7), (768, 1), (1_023, 3)]));
        assert_eq!(histogram.bins().cloned().collect::<Vec<_>>(), bins(&[(0, 1), (1, 2), (767, 12), (1_023, 4)]));
        for number in 0..80 {
            assert_eq!(step(end(number)), if number == 1 { 0 } else { number }, "{number}");
            assert!(number == 1 || step(end(number) + 1) > number, "{number}");
        }
    }

    #[test]
    fn a_histogram_is_drawn_of_any_times() {
        for times in [vec![], bins(&[(0, 0)]), bins(&[(0, 1)]), bins(&[(1, 1), (u64::MAX, u64::MAX)])] {
            let marks = Times { p99_us: u64::MAX, ..Times::default() };
            let svg = Histogram::new(&times).svg(&marks).to_string();
            assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>") && !svg.contains("NaN"));
            assert_eq!(svg.matches("<rect").count(), times.iter().filter(|bin| bin.count > 0).count());
        }
    }

    #[test]
    fn many_buckets_are_merged_with_their_quantiles() {
        let bucket = |us, count| Bucket {
            requests: count,
            histogram: bins(&[(us, count)]),
            times: Times { timed: count, max_us: us, ..Times::default() },
            ..Bucket::default()
        };
        let traffic = Traffic { bucket_us: 10, buckets: vec![bucket(100, 50), bucket(200, 49), bucket(900, 1)] };
        let whole = Chart::new(&traffic, 3);
        assert_eq!((whole.bucket_us, whole.requests), (10, vec![50, 49, 1]));
        let merged = Chart::new(&traffic, 1);
        assert_eq!((merged.bucket_us, merged.requests, merged.timed), (30, vec![100], vec![100]));
        assert_eq!((merged.p50_us, merged.p95_us, merged.p99_us), (vec![100], vec![200], vec![200]));
        assert_eq!(merged.max_us, [900]);
        let pairs = Chart::new(&traffic, 2);
        assert_eq!(pairs.requests, [99, 1]);
        let cells: u64 = pairs.heat.iter().flat_map(|cells| cells.chunks(2)).map(|cell| cell[1]).sum();
        assert_eq!(cells, 100, "each request is in one cell");
    }
}
