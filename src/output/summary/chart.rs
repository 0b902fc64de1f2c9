//! Charts of characters: sparklines and bars.

use crate::record::summary::Bin;

/// Eighths of a block, from the lowest.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// How many columns a sparkline of a histogram has at most.
const HISTOGRAM: usize = 48;

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

/// Draws how many took how long: two columns for each power of two, as the bins are.
pub(super) fn histogram(bins: &[Bin]) -> String {
    let column = |us: u64| {
        let end = us.saturating_add(1);
        let power = end.ilog2();
        2 * power as usize + usize::from(power > 0 && end >> (power - 1) == 3)
    };
    let columns = || bins.iter().map(|bin| column(bin.us));
    let (Some(first), Some(last)) = (columns().min(), columns().max()) else { return String::new() };
    let mut counts = vec![0; last - first + 1];
    for bin in bins {
        if let Some(count) = counts.get_mut(column(bin.us) - first) {
            *count += bin.count as u128;
        }
    }
    sparkline(&gather(&counts, HISTOGRAM, |counts| counts.iter().sum::<u128>() as f64))
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
        let bins = [(31, 1), (47, 8), (63, 2), (127, 4)].map(|(us, count)| Bin { us, count });
        assert_eq!(histogram(&bins), "▁█▂ ▄");
        let wide = [(0, 1), (u64::MAX, 1)].map(|(us, count)| Bin { us, count });
        assert!(histogram(&wide).chars().count() <= HISTOGRAM);
        assert_eq!(histogram(&[Bin { us: 0, count: 3 }]), "█");
    }
}
