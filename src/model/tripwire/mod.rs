//! Decides whether a backup differs so much from earlier ones of its set that it raises an alarm. Pure
//! functions: no clock, no repository.
//!
//! The baseline is the median of the set's earlier backups. Lost files, growth and renames are judged per
//! backup. Files that came to look random also accumulate over backups, so that a slow attack is detected,
//! too.

mod reason;

pub use reason::AlarmReason;

use crate::model::signs::{Signs, WHOLE, scale};

/// Half-life in days of the accumulated share.
const HALF_LIFE_DAYS: f64 = 30.0;
/// Half-life in days of the largest loss.
const PEAK_HALF_LIFE_DAYS: f64 = 365.0;
/// Multiple of the baseline at which a value becomes unusual.
const UNUSUAL_FACTOR: u64 = 8;
/// Maximum number of usual intervals that a long pause counts as: much may have changed in the meantime, but
/// not everything.
const MAX_SPANS: u64 = 30;
/// Limit in days of a constant daily share that accumulates and decays: the half-life divided by ln 2.
const ACCUMULATION_DAYS: u64 = 43;
/// Seconds of a day.
const DAY: u64 = 86_400;
/// Minimum number of affected files: in a small set, each file is a large share.
const MIN_FILES: u64 = 20;
/// The same for files that came to look random, which rarely happens otherwise.
const MIN_OPAQUE_FILES: u64 = 5;
/// Minimum growth in bytes.
const MIN_GROWTH: u64 = 1 << 30;
/// Age in seconds at which backups join the baseline of the accumulated share.
const BASELINE_AGE: u64 = 10 * DAY;
/// Minimum duration of silence in seconds, however often a set changes.
const MIN_SILENCE: u64 = 7 * DAY;

/// Thresholds; `None` turns one off. Shares are in millionths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Number of earlier backups that are required for judging.
    pub runs: usize,
    /// Files rewritten or removed by one backup.
    pub lost: Option<u64>,
    /// Files that came to look random.
    pub opaque: Option<u64>,
    /// Files that got a new suffix.
    pub renamed: Option<u64>,
    /// Growth by one backup.
    pub growth: Option<u64>,
    /// Whether a set that stops changing raises an alarm.
    pub silence: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            runs: 7,
            lost: Some(WHOLE / 2),
            opaque: Some(WHOLE / 20),
            renamed: Some(WHOLE / 20),
            growth: Some(2 * WHOLE),
            silence: true,
        }
    }
}

/// State of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmState {
    /// Not settled yet.
    Open,
    /// The change was intended: the backup is part of the baseline.
    Accepted,
    /// The damage was real and is repaired: the backup is not part of the baseline, and the next one is not
    /// judged.
    Cleared,
}

/// An earlier backup of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// Seconds since it started.
    pub age: u64,
    /// Its statistics.
    pub signs: Signs,
    /// State of its alarm, if it raised one.
    pub alarm: Option<AlarmState>,
}

impl Past {
    /// Returns whether it belongs to the baseline.
    fn is_usual(&self) -> bool {
        matches!(self.alarm, None | Some(AlarmState::Accepted))
    }
}

/// Returns the reasons for an alarm, and sets the accumulated fields of `now`. `past` is oldest first.
/// Without `limits`, for instance because a change was announced, there is no alarm.
pub fn evaluate(past: &[Past], now: &mut Signs, limits: Option<&Limits>) -> Vec<AlarmReason> {
    carry(past, now);
    let newest = past.last().and_then(|newest| newest.alarm);
    let Some(limits) = limits.filter(|_| newest != Some(AlarmState::Cleared)) else {
        now.level = 0;
        return Vec::new();
    };
    let usual = usual(past);
    if usual.len() < limits.runs || now.before == 0 {
        return Vec::new();
    }
    let found = [
        lost(&usual, now, limits),
        opaque(past, now, limits),
        renamed(&usual, now, limits),
        growth(&usual, now, limits),
    ];
    let found: Vec<AlarmReason> = found.into_iter().flatten().collect();
    // Reset, so that an ongoing attack raises the next alarm only for further files.
    if !found.is_empty() {
        now.level = 0;
    }
    found
}

/// Returns a reason if nothing has changed for too long. `seconds` is the age of the newest snapshot.
pub fn silence(past: &[Past], seconds: u64, limits: Option<&Limits>) -> Option<AlarmReason> {
    let limits = limits.filter(|limits| limits.silence)?;
    let usual = usual(past);
    // If nothing changed in the newest snapshot, the silence has been reported already.
    let newest = past.last().filter(|newest| newest.alarm.is_none())?;
    if usual.len() < limits.runs || newest.signs.lost() + newest.signs.new == 0 {
        return None;
    }
    let median = median(usual.iter().map(|signs| signs.span));
    let longest = usual.iter().map(|signs| signs.span).max()?;
    let limit = MIN_SILENCE.max(median.saturating_mul(10)).max(longest.saturating_mul(UNUSUAL_FACTOR));
    (seconds > limit).then_some(AlarmReason::Silence { seconds, median, longest })
}

/// Returns whether bit rot is the only reason.
pub fn is_only_rot(reasons: &[AlarmReason]) -> bool {
    reasons.iter().all(|reason| matches!(reason, AlarmReason::Rot { .. }))
}

/// Returns the statistics of the baseline.
fn usual(past: &[Past]) -> Vec<&Signs> {
    past.iter().filter(|past| past.is_usual()).map(|past| &past.signs).collect()
}

/// Joins the reasons of an alarm into one sentence.
pub fn sentence(reasons: &[AlarmReason]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Carries over the decaying values of the previous backup, and adds those of this one.
fn carry(past: &[Past], now: &mut Signs) {
    let Some(last) = past.last() else { return };
    let before = &last.signs;
    let days = now.span as f64 / DAY as f64;
    let left = |value: u64, half: f64| (value as f64 * 0.5_f64.powf(days / half)) as u64;
    now.level = left(before.level, HALF_LIFE_DAYS).saturating_add(now.share(now.scrambled()));
    let own = if last.is_usual() { before.share(before.lost()) } else { 0 };
    now.peak = left(before.peak, PEAK_HALF_LIFE_DAYS).max(own);
}

fn lost(usual: &[&Signs], now: &Signs, limits: &Limits) -> Option<AlarmReason> {
    let median = median(usual.iter().map(|signs| signs.share(signs.lost())));
    let spans = now.span / self::median(usual.iter().map(|signs| signs.span)).max(1);
    let expected = median.saturating_mul(spans.clamp(1, MAX_SPANS));
    let limit =
        limits.lost?.max(expected.saturating_mul(UNUSUAL_FACTOR)).max(now.peak.saturating_add(now.peak / 4));
    let lost = now.lost();
    (lost >= MIN_FILES && now.share(lost) > limit).then(|| AlarmReason::Lost {
        rewritten: now.rewritten,
        removed: lost - now.rewritten,
        of: now.before,
        median,
        limit,
    })
}

/// The baseline leaves out recent backups: a slow attack must not raise its own baseline.
fn opaque(past: &[Past], now: &Signs, limits: &Limits) -> Option<AlarmReason> {
    let detailed: Vec<&Past> =
        past.iter().filter(|past| past.is_usual() && !past.signs.has_only_counts).collect();
    if detailed.len() < limits.runs {
        return None;
    }
    let old = detailed.iter().take_while(|past| past.age >= BASELINE_AGE).count().max(limits.runs);
    let old: Vec<&Signs> = detailed.iter().take(old).map(|past| &past.signs).collect();
    // In a young set, the share still rises to the limit of its daily changes.
    let daily = median(old.iter().map(|signs| scale(signs.share(signs.scrambled()), DAY, signs.span)));
    let median = median(old.iter().map(|signs| signs.level)).max(daily.saturating_mul(ACCUMULATION_DAYS));
    let limit = limits.opaque?.saturating_add(median.saturating_mul(3));
    let files = (u128::from(now.level) * u128::from(now.before)).div_ceil(u128::from(WHOLE));
    let files = u64::try_from(files).unwrap_or(u64::MAX).min(now.before);
    // A backup without such files raises no alarm for those of earlier backups.
    let enough = now.scrambled() > 0 && (files >= MIN_OPAQUE_FILES || now.level >= WHOLE / 2);
    (enough && now.level > limit).then(|| AlarmReason::Opaque {
        now: now.scrambled(),
        files,
        of: now.before,
        median,
        limit,
    })
}

fn renamed(usual: &[&Signs], now: &Signs, limits: &Limits) -> Option<AlarmReason> {
    let detailed = || usual.iter().filter(|signs| !signs.has_only_counts);
    let shares = || detailed().map(|signs| signs.share(signs.renamed()));
    if shares().count() < limits.runs {
        return None;
    }
    let (median, most) = (median(shares()), shares().max().unwrap_or(0));
    let limit = limits.renamed?.max(median.saturating_mul(UNUSUAL_FACTOR)).max(most.saturating_add(most / 4));
    let files = now.renamed();
    (files >= MIN_FILES && now.share(files) > limit).then(|| AlarmReason::Renamed {
        files,
        of: now.before,
        suffix: now.suffix.clone(),
        median,
        limit,
    })
}

fn growth(usual: &[&Signs], now: &Signs, limits: &Limits) -> Option<AlarmReason> {
    let median = median(usual.iter().map(|signs| signs.growth()));
    let most = usual.iter().map(|signs| signs.growth()).max().unwrap_or(0);
    let limit =
        limits.growth?.max(median.saturating_mul(2 * UNUSUAL_FACTOR)).max(most.saturating_add(most / 4));
    let grown = now.bytes.saturating_sub(now.bytes_before);
    (grown >= MIN_GROWTH && now.growth() > limit).then_some(AlarmReason::Growth {
        from: now.bytes_before,
        to: now.bytes,
        median,
        limit,
    })
}

/// Returns the median; of an even number of values, the upper one.
fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
