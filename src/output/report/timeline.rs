//! What happened over time, as SVG: a replication stream, or a pooler.

use std::fmt;

use askama::filters::HtmlSafe;

use super::figure::{Binary, Plain};
use crate::record::summary::{PoolBucket, PoolTraffic, ReplicationBucket, ReplicationTraffic};
use crate::time::Timestamp;

const WIDTH: f64 = 960.0;
/// The height of a chart.
const HEIGHT: f64 = 64.0;
/// Above each chart: for its name.
const TOP: f64 = 20.0;
/// So few points are seen one by one.
const FEW: usize = 60;
/// Below the last one: for the times of the axis.
const BOTTOM: f64 = 18.0;

/// Charts, one below the other.
pub(super) struct Timeline {
    /// When they begin, and when they end; `None` if there is nothing to see.
    times: Option<(Timestamp, Timestamp)>,
    series: Vec<Series>,
}

/// A chart: its name, its color, its values by point, and how the highest is written.
struct Series {
    name: &'static str,
    color: &'static str,
    values: Vec<Option<f64>>,
    highest: String,
    /// Whether it is drawn if all values are 0.
    zero_is_known: bool,
}

/// Buckets of equal width.
struct Buckets<'a, T> {
    buckets: &'a [T],
    bucket_us: u64,
    /// How many neighbours are merged into a point.
    merged: usize,
}

impl<'a, T> Buckets<'a, T> {
    fn new(buckets: &'a [T], bucket_us: u64, points: usize) -> Self {
        Self { buckets, bucket_us, merged: buckets.len().div_ceil(points.max(1)).max(1) }
    }

    fn points<V>(&self, of: impl Fn(&[T]) -> V) -> Vec<V> {
        self.buckets.chunks(self.merged).map(of).collect()
    }

    /// The seconds of a point.
    fn seconds(&self) -> f64 {
        (self.bucket_us as f64 * self.merged as f64 / 1e6).max(1e-6)
    }

    fn times(&self, started: impl Fn(&T) -> Timestamp) -> Option<(Timestamp, Timestamp)> {
        match self.buckets {
            [first, .., last] => Some((started(first), started(last).later(self.bucket_us))),
            _ => None,
        }
    }
}

impl Timeline {
    /// Creates the charts of a replication stream, of at most so many points: its bytes a second, and how far the client was behind.
    pub(super) fn of_stream(traffic: &ReplicationTraffic, points: usize) -> Self {
        let all = Buckets::new(&traffic.buckets, traffic.bucket_us, points);
        let seconds = all.seconds();
        let rates = all.points(|buckets: &[ReplicationBucket]| {
            Some(buckets.iter().map(|bucket| bucket.bytes as f64).sum::<f64>() / seconds)
        });
        let most = |of: fn(&ReplicationBucket) -> Option<u64>| {
            all.points(|buckets| buckets.iter().filter_map(of).max().map(|most| most as f64))
        };
        let (lags, bytes) = (most(|bucket| bucket.lag_us), most(|bucket| bucket.lag_bytes));
        let (rate, lag, behind) = (highest(&rates), highest(&lags), highest(&bytes));
        let series = vec![
            Series::new("Bytes a second", "c0", rates, format!("{}/s", Binary(rate)), false),
            // That there was no lag is something.
            Series::new("Lag", "c2", lags, Plain(lag as u64).to_string(), true),
            Series::new("Lag in bytes", "c4", bytes, Binary(behind).to_string(), true),
        ];
        Self { times: all.times(|bucket| bucket.started), series }
    }

    /// Creates the charts of a pool, of at most so many points: how many clients waited, and how many connections to the server had a
    /// request, or were idle in a transaction.
    pub(super) fn of_pool(traffic: &PoolTraffic, points: usize) -> Self {
        let all = Buckets::new(&traffic.buckets, traffic.bucket_us, points);
        let seconds = all.seconds();
        let series = |name, color, of: fn(&PoolBucket) -> u64| {
            let means =
                all.points(|buckets| Some(buckets.iter().map(|bucket| of(bucket) as f64).sum::<f64>() / 1e6 / seconds));
            let highest = format!("{:.1}", highest(&means));
            Series::new(name, color, means, highest, false)
        };
        let series = vec![
            series("Clients that wait", "c2", |bucket| bucket.wait_us),
            series("Busy connections to the server", "c0", |bucket| bucket.busy_us),
            series("Connections idle in a transaction", "c4", |bucket| bucket.idle_in_transaction_us),
        ];
        Self { times: all.times(|bucket| bucket.started), series }
    }

    /// Whether there is nothing to see.
    pub(super) fn is_empty(&self) -> bool {
        self.times.is_none() || self.series.iter().all(Series::is_empty)
    }
}

fn highest(values: &[Option<f64>]) -> f64 {
    values.iter().flatten().copied().fold(0.0, f64::max)
}

/// `07:41:00.167`, in UTC.
fn clock(ts: Timestamp) -> String {
    ts.rfc3339().as_str().get(11..23).unwrap_or_default().trim_end_matches('Z').to_owned()
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((begin, end)) = self.times else { return Ok(()) };
        let shown: Vec<_> = self.series.iter().filter(|series| !series.is_empty()).collect();
        let height = shown.len() as f64 * (TOP + HEIGHT) + BOTTOM;
        write!(f, r#"<svg class="timeline" viewBox="0 0 {WIDTH} {height}" role="img" aria-label=""#)?;
        for (index, series) in shown.iter().enumerate() {
            write!(f, "{}{}: at most {}", if index > 0 { "; " } else { "" }, series.name, series.highest)?;
        }
        f.write_str(r#"">"#)?;
        for (index, series) in shown.iter().enumerate() {
            series.draw(f, index as f64 * (TOP + HEIGHT))?;
        }
        let (begin, end) = (clock(begin), clock(end));
        let y = height - 4.0;
        write!(f, r#"<text x="0" y="{y}">{begin}</text><text x="{WIDTH}" y="{y}" text-anchor="end">{end}</text></svg>"#)
    }
}

impl HtmlSafe for Timeline {}

impl Series {
    const fn new(
        name: &'static str,
        color: &'static str,
        values: Vec<Option<f64>>,
        highest: String,
        zero_is_known: bool,
    ) -> Self {
        Self { name, color, values, highest, zero_is_known }
    }

    /// Whether there is nothing to draw.
    fn is_empty(&self) -> bool {
        self.values.iter().all(Option::is_none) || !self.zero_is_known && highest(&self.values) <= 0.0
    }

    fn draw(&self, f: &mut fmt::Formatter<'_>, top: f64) -> fmt::Result {
        let bottom = top + TOP + HEIGHT;
        write!(
            f,
            r#"<text x="0" y="{:.0}">{}</text><text x="{WIDTH}" y="{:.0}" text-anchor="end">at most {}</text>"#,
            top + 14.0,
            self.name,
            top + 14.0,
            self.highest
        )?;
        write!(f, r#"<path class="axis" d="M0 {:.1}H{WIDTH}"/>"#, bottom - 0.5)?;
        let most = highest(&self.values);
        let step = WIDTH / self.values.len().max(1) as f64;
        let place = |(index, value): (usize, f64)| {
            let share = if most > 0.0 { value / most } else { 0.0 };
            ((index as f64 + 0.5) * step, bottom - 1.5 - share * (HEIGHT - 3.0))
        };
        let known = self.values.iter().enumerate().filter_map(|(index, value)| Some((index, (*value)?)));
        let points: Vec<_> = known.map(place).collect();
        let (Some((from, _)), Some((to, _))) = (points.first(), points.last()) else { return Ok(()) };
        let mut line = String::new();
        for (index, (x, y)) in points.iter().enumerate() {
            line.push_str(&format!("{}{x:.1} {y:.1}", if index > 0 { "L" } else { "M" }));
        }
        let color = self.color;
        if points.len() <= FEW {
            let dots: String = points.iter().map(|(x, y)| format!("M{x:.1} {y:.1}h.01")).collect();
            write!(f, r#"<path class="dots {color}" d="{dots}"/>"#)?;
        }
        write!(f, r#"<path class="area {color}" d="{line}L{to:.1} {bottom:.1}L{from:.1} {bottom:.1}Z"/>"#)?;
        write!(f, r#"<path class="stroke {color}" d="{line}"/>"#)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(bytes: u64, lag_us: Option<u64>) -> ReplicationBucket {
        ReplicationBucket { bytes, lag_us, lag_bytes: lag_us.map(|us| us * 2), ..ReplicationBucket::default() }
    }

    #[test]
    fn a_stream_is_drawn_with_its_highest_figures() {
        let buckets = vec![bucket(1_000, None), bucket(3_000, Some(20_000)), bucket(0, Some(5)), bucket(500, None)];
        let over_time = ReplicationTraffic { bucket_us: 500_000, buckets };
        let svg = Timeline::of_stream(&over_time, 100).to_string();
        assert!(svg.contains("at most 5.86 KiB/s") && svg.contains("at most 20.0 ms"), "{svg}");
        // The highest is at the top, what is not known is left out.
        assert!(svg.contains(r#"<path class="stroke c0" d="M120.0 62.2L360.0 21.5L600.0 82.5L840.0 72.3"/>"#), "{svg}");
        assert!(svg.contains(r#"<path class="stroke c2" d="M360.0 105.5L600.0 166.5"/>"#), "{svg}");
        // Neighbours are added, and of lag the most counts.
        let svg = Timeline::of_stream(&over_time, 2).to_string();
        assert!(svg.contains("at most 3.91 KiB/s") && svg.contains("at most 20.0 ms"), "{svg}");
        assert!(svg.contains(r#"<path class="stroke c2" d="M240.0 105.5L720.0 166.5"/>"#), "{svg}");
    }

    #[test]
    fn any_figures_can_be_drawn() {
        for buckets in [vec![], vec![bucket(0, None)], vec![bucket(u64::MAX, Some(u64::MAX / 2)); 3]] {
            let over_time = ReplicationTraffic { bucket_us: u64::MAX, buckets };
            let svg = Timeline::of_stream(&over_time, 0).to_string();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
