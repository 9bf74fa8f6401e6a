//! Estimates how fast a repository grows.

use crate::model::entry::Time;
use crate::run_log::RunRecord;

/// Days over which growth is measured.
const DAYS: i64 = 30;
const DAY: i64 = 24 * 3600;

/// Linear regression of the repository's size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growth {
    /// Bytes per day; negative if more is deleted than added.
    pub bytes_per_day: f64,
    /// Days between the first and the last measurement.
    pub days: f64,
}

impl Growth {
    /// Estimates growth from the sizes recorded at the ends of runs, and the current size if known.
    pub fn estimate(runs: &[&RunRecord], bytes: Option<u64>, now: Time) -> Option<Self> {
        estimate(runs, bytes, now)
    }
}

/// Estimates growth. Returns `None` for less than a day of data: a first backup is not growth.
fn estimate(runs: &[&RunRecord], bytes: Option<u64>, now: Time) -> Option<Growth> {
    let measured = runs.iter().filter_map(|run| Some((run.end?.sec, run.numbers.repository_bytes?)));
    let recent = measured.filter(|(at, _)| *at <= now.sec && *at > now.sec - DAYS * DAY);
    let points: Vec<(f64, f64)> = recent
        .chain(bytes.map(|bytes| (now.sec, bytes)))
        .map(|(at, bytes)| ((at - now.sec) as f64 / DAY as f64, bytes as f64))
        .collect();
    let first = points.iter().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let last = points.iter().map(|point| point.0).fold(f64::NEG_INFINITY, f64::max);
    let days = last - first;
    // Also covers the case without any points.
    if days.is_nan() || days < 1.0 || !days.is_finite() {
        return None;
    }
    let number = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / number;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let above: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let below: f64 = points.iter().map(|point| (point.0 - x) * (point.0 - x)).sum();
    (below > 0.0).then(|| Growth { bytes_per_day: above / below, days })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grown(points: &[(i64, u64)], bytes: Option<u64>) -> Option<Growth> {
        let now = Time { sec: 1_800_000_000, nanos: 0 };
        let runs: Vec<RunRecord> = points
            .iter()
            .map(|(hours, bytes)| {
                let mut run = RunRecord::new("backup", "/r");
                run.end = Some(Time { sec: now.sec - hours * 3600, nanos: 0 });
                run.numbers.repository_bytes = Some(*bytes);
                run
            })
            .collect();
        estimate(&runs.iter().collect::<Vec<_>>(), bytes, now)
    }

    #[test]
    fn growth_is_fitted_over_a_month() {
        let growth = grown(&[(48, 100), (24, 200), (2000, 999_999)], Some(300)).unwrap();
        assert!(
            (growth.bytes_per_day - 100.0).abs() < 1e-6 && (growth.days - 2.0).abs() < 1e-6,
            "{growth:?}"
        );
        let shrunk = grown(&[(48, 300), (24, 200)], Some(100)).unwrap();
        assert!((shrunk.bytes_per_day + 100.0).abs() < 1e-6);
    }

    #[test]
    fn less_than_a_day_gives_no_growth() {
        assert_eq!(grown(&[], None), None);
        assert_eq!(grown(&[], Some(5)), None);
        assert_eq!(grown(&[(2, 0), (1, 1 << 30)], Some(1 << 30)), None);
        assert_eq!(grown(&[(-48, 0), (1, 10)], Some(10)), None, "the future was not measured");
    }
}
