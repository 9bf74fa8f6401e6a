//! A text chart of a value over time.

use snap_backup::model::entry::Time;

use crate::terminal::output::padded;

const HEIGHT: u64 = 8;
const WIDTH: u64 = 60;
/// Block characters in steps of one eighth.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws bars with time to the right. The points are in order of time, and each is valid until the next.
/// Returns nothing if all points have the same time or all values are 0.
pub(crate) fn lines(points: &[(Time, u64)], label: impl Fn(u64) -> String) -> Vec<String> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    let (start, end) = (i128::from(first.0.sec), i128::from(last.0.sec));
    let most = points.iter().map(|(_, value)| *value).max().unwrap_or(0);
    if start >= end || most == 0 {
        return Vec::new();
    }
    let columns: Vec<u64> = (0..WIDTH)
        .map(|column| {
            let at = start + (end - start) * i128::from(column) / i128::from(WIDTH - 1);
            let known = points.iter().take_while(|(time, _)| i128::from(time.sec) <= at);
            let value = known.last().map_or(0, |(_, value)| *value);
            let eighths = u128::from(value) * u128::from(HEIGHT * 8) / u128::from(most);
            // A value above 0 is always visible.
            u64::try_from(eighths).unwrap_or(0).max(u64::from(value > 0))
        })
        .collect();
    let labels = [label(most), label(0)];
    let margin = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let row = |row: u64| {
        let bars = columns.iter().map(|eighths| {
            let here = eighths.saturating_sub(row * 8).min(8);
            usize::try_from(here).ok().and_then(|here| BARS.get(here)).copied().unwrap_or(' ')
        });
        let bars: String = bars.collect();
        let [top, bottom] = &labels;
        let label = match row {
            0 => bottom,
            row if row + 1 == HEIGHT => top,
            _ => "",
        };
        format!("{} {}", padded(label, margin, true), bars.trim_end())
    };
    (0..HEIGHT).rev().map(row).collect()
}

/// Returns the axis, as wide as the bars: the start label at the left, the end label at the right.
pub(crate) fn axis(margin: usize, start: &str, end: &str) -> String {
    let width = usize::try_from(WIDTH).unwrap_or(0).saturating_sub(start.chars().count());
    format!("{} {start}{}", padded("", margin, true), padded(end, width, true))
}

#[cfg(test)]
mod tests {
    use super::{Time, axis, lines};

    #[test]
    fn a_chart_grows_to_the_right_and_ends_at_the_top() {
        let at = |sec, value| (Time { sec, nanos: 0 }, value);
        let shown = lines(&[at(0, 50), at(100, 100), at(200, 100)], |value| format!("{value} B"));
        assert_eq!(shown.len(), 8);
        assert!(shown[0].starts_with("100 B ") && shown[7].starts_with("  0 B █"), "{shown:#?}");
        let full = |line: &str| line.chars().filter(|c| *c == '█').count();
        assert_eq!((full(&shown[0]), full(&shown[7])), (30, 60), "{shown:#?}");
        assert_eq!(axis(5, "a", "b").chars().count(), 66);
    }

    #[test]
    fn empty_data_has_no_chart() {
        let at = |sec, value| (Time { sec, nanos: 0 }, value);
        for points in [&[][..], &[at(0, 1)], &[at(5, 1), at(5, 2)], &[at(0, 0), at(9, 0)]] {
            assert!(lines(points, |_| String::new()).is_empty());
        }
        let far = [at(i64::MIN, 1), at(i64::MAX, u64::MAX)];
        assert_eq!(lines(&far, |_| String::new()).len(), 8);
    }
}
