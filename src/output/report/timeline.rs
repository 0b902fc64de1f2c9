//! A replication stream over time, as SVG: its bytes a second, and how far the client was behind.

use std::fmt;

use askama::filters::HtmlSafe;

use super::figure::{Binary, Plain};
use crate::record::summary::{ReplicationBucket, ReplicationTraffic};
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

/// The charts of a stream.
pub(super) struct Timeline<'a> {
    pub(super) over_time: &'a ReplicationTraffic,
    /// The most points: of more buckets, neighbours are merged.
    pub(super) points: usize,
}

/// A chart: its name, its color, its values by point, and how the highest is written.
struct Series {
    name: &'static str,
    color: &'static str,
    values: Vec<Option<f64>>,
    highest: String,
}

impl Timeline<'_> {
    /// Whether there is nothing to see.
    pub(super) fn is_empty(&self) -> bool {
        self.over_time.buckets.len() < 2
    }

    fn series(&self) -> [Series; 3] {
        let merged = self.over_time.buckets.len().div_ceil(self.points.max(1)).max(1);
        let points = || self.over_time.buckets.chunks(merged);
        let seconds = self.over_time.bucket_us as f64 * merged as f64 / 1e6;
        let rate = |buckets: &[ReplicationBucket]| {
            Some(buckets.iter().map(|bucket| bucket.bytes as f64).sum::<f64>() / seconds.max(1e-6))
        };
        let most = |of: fn(&ReplicationBucket) -> Option<u64>| {
            points().map(|buckets| buckets.iter().filter_map(of).max().map(|most| most as f64)).collect::<Vec<_>>()
        };
        let rates: Vec<_> = points().map(rate).collect();
        let (times, bytes) = (most(|bucket| bucket.lag_us), most(|bucket| bucket.lag_bytes));
        [
            Series {
                name: "Bytes a second",
                color: "c0",
                highest: format!("{}/s", Binary(highest(&rates))),
                values: rates,
            },
            Series { name: "Lag", color: "c2", highest: Plain(highest(&times) as u64).to_string(), values: times },
            Series { name: "Lag in bytes", color: "c4", highest: Binary(highest(&bytes)).to_string(), values: bytes },
        ]
    }
}

fn highest(values: &[Option<f64>]) -> f64 {
    values.iter().flatten().copied().fold(0.0, f64::max)
}

/// `07:41:00.167`, in UTC.
fn clock(ts: Timestamp) -> String {
    ts.rfc3339().as_str().get(11..23).unwrap_or_default().trim_end_matches('Z').to_owned()
}

impl fmt::Display for Timeline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(first), Some(last)) = (self.over_time.buckets.first(), self.over_time.buckets.last()) else {
            return Ok(());
        };
        let all = self.series();
        let shown: Vec<_> = all.iter().filter(|series| !series.is_empty()).collect();
        let height = shown.len() as f64 * (TOP + HEIGHT) + BOTTOM;
        write!(f, r#"<svg class="timeline" viewBox="0 0 {WIDTH} {height}" role="img" aria-label=""#)?;
        for (index, series) in shown.iter().enumerate() {
            write!(f, "{}{}: at most {}", if index > 0 { "; " } else { "" }, series.name, series.highest)?;
        }
        f.write_str(r#"">"#)?;
        for (index, series) in shown.iter().enumerate() {
            series.draw(f, index as f64 * (TOP + HEIGHT))?;
        }
        let (begin, end) = (clock(first.started), clock(last.started.later(self.over_time.bucket_us)));
        let y = height - 4.0;
        write!(f, r#"<text x="0" y="{y}">{begin}</text><text x="{WIDTH}" y="{y}" text-anchor="end">{end}</text></svg>"#)
    }
}

impl HtmlSafe for Timeline<'_> {}

impl Series {
    /// Whether there is nothing to draw. That there was no lag is something.
    fn is_empty(&self) -> bool {
        self.values.iter().all(Option::is_none) || self.color == "c0" && highest(&self.values) <= 0.0
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
        let svg = Timeline { over_time: &over_time, points: 100 }.to_string();
        assert!(svg.contains("at most 5.86 KiB/s") && svg.contains("at most 20.0 ms"), "{svg}");
        // The highest is at the top, what is not known is left out.
        assert!(svg.contains(r#"<path class="stroke c0" d="M120.0 62.2L360.0 21.5L600.0 82.5L840.0 72.3"/>"#), "{svg}");
        assert!(svg.contains(r#"<path class="stroke c2" d="M360.0 105.5L600.0 166.5"/>"#), "{svg}");
        // Neighbours are added, and of lag the most counts.
        let svg = Timeline { over_time: &over_time, points: 2 }.to_string();
        assert!(svg.contains("at most 3.91 KiB/s") && svg.contains("at most 20.0 ms"), "{svg}");
        assert!(svg.contains(r#"<path class="stroke c2" d="M240.0 105.5L720.0 166.5"/>"#), "{svg}");
    }

    #[test]
    fn any_figures_can_be_drawn() {
        for buckets in [vec![], vec![bucket(0, None)], vec![bucket(u64::MAX, Some(u64::MAX / 2)); 3]] {
            let over_time = ReplicationTraffic { bucket_us: u64::MAX, buckets };
            let svg = Timeline { over_time: &over_time, points: 0 }.to_string();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
