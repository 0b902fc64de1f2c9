//! Charts of characters: sparklines and bars.

use crate::record::summary::Bin;

/// Eighths of a block, from the lowest.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// How many columns a sparkline of a histogram has at most.
const HISTOGRAM: usize = 24;

/// Draws values as a line of blocks; what is 0 is a space. The highest has the highest block, and no other value is drawn as 0.
pub(super) fn sparkline(values: &[f64]) -> String {
    let most = values.iter().copied().fold(0.0, f64::max);
    values.iter().map(|value| level(*value, most)).collect()
}

fn level(value: f64, most: f64) -> char {
    if value.is_nan() || value <= 0.0 || most <= 0.0 {
        return ' ';
    }
    let at = (value / most * LEVELS.len() as f64).ceil() as usize;
    LEVELS.get(at.clamp(1, LEVELS.len()) - 1).copied().unwrap_or(' ')
}

/// Draws a share of so many columns, in eighths of a column.
pub(super) fn bar(share: f64, columns: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * columns as f64 * 8.0).round() as usize;
    // What is there is seen.
    let eighths = if share > 0.0 { eighths.max(1) } else { eighths };
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS.get(eighths % 8).unwrap_or(&""))
}

/// Adds up neighbours, so that there are no more than so many values.
pub(super) fn gather<T>(items: &[T], most: usize, add: impl Fn(&[T]) -> f64) -> Vec<f64> {
    items.chunks(items.len().div_ceil(most.max(1)).max(1)).map(add).collect()
}

/// Draws how many took how long, on a logarithmic scale from the shortest to the longest.
pub(super) fn histogram(bins: &[Bin]) -> String {
    let logarithm = |us: u64| (us.max(1) as f64).ln();
    let shortest = bins.iter().map(|bin| bin.us).min().map_or(0.0, logarithm);
    let longest = bins.iter().map(|bin| bin.us).max().map_or(0.0, logarithm);
    // A column is at least a tenth wide, that figures close to one another are not torn apart.
    let columns = (((longest - shortest) / 0.1).ceil() as usize).clamp(1, HISTOGRAM);
    let mut counts = vec![0.0; columns];
    for bin in bins {
        let at = (logarithm(bin.us) - shortest) / (longest - shortest) * (columns - 1) as f64;
        if let Some(count) = counts.get_mut(at.round() as usize) {
            *count += bin.count as f64;
        }
    }
    sparkline(&counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_tells_nothing_from_little() {
        assert_eq!(sparkline(&[0.0, 0.001, 50.0, 100.0]), " ▁▄█");
        assert_eq!(sparkline(&[0.0, f64::NAN]), "  ");
        assert_eq!(sparkline(&[]), "");
    }

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!(bar(1.0, 4), "████");
        assert_eq!(bar(0.5, 4), "██");
        assert_eq!(bar(0.28125, 4), "█▏");
        assert_eq!(bar(0.0001, 4), "▏");
        assert_eq!(bar(0.0, 4), "");
        assert_eq!(bar(f64::NAN, 4), "");
    }

    #[test]
    fn neighbours_are_added_where_there_is_no_room() {
        let sum = |items: &[u64]| items.iter().sum::<u64>() as f64;
        assert_eq!(gather(&[1, 2, 3, 4, 5], 3, sum), [3.0, 7.0, 5.0]);
        assert_eq!(gather(&[1, 2], 3, sum), [1.0, 2.0]);
        assert_eq!(gather(&[], 3, sum), [0.0; 0]);
    }

    #[test]
    fn a_histogram_has_the_shape_of_its_counts() {
        let bins = [(100, 1), (1_000, 8), (10_000, 4)].map(|(us, count)| Bin { us, count });
        let drawn = histogram(&bins);
        assert_eq!(drawn.chars().count(), HISTOGRAM);
        assert_eq!(drawn.split_whitespace().collect::<Vec<_>>(), ["▁", "█", "▄"]);
        assert_eq!(histogram(&[Bin { us: 0, count: 3 }]), "█");
    }
}
