//! The tripwire: whether a run is unlike the set's own past. Pure: no clock, no repository.
//!
//! What is usual is the median of the set's past runs. A share of rewritten and removed files, a growth or a rename is
//! measured by its own run; what came to look random also adds up over runs, so that what happens slowly is met as well.

mod reason;

pub use reason::Reason;

use crate::model::signs::{Signs, WHOLE};

/// Days in which half of what adds up is forgotten.
const HALF_LIFE: f64 = 30.0;
/// Days in which half of the largest loss is forgotten.
const PEAK_HALF_LIFE: f64 = 365.0;
/// How many times the usual is unusual.
const TIMES: u64 = 8;
/// As often as usual in seconds, at most: after a long pause much may have changed, but not anything.
const MOST_SPANS: u64 = 30;
/// Days like one that the level comes to: the half-life by the logarithm of two.
const ADDS_UP_TO: u64 = 43;
const DAY: u64 = 86_400;
/// Files that must be touched before a share of them counts: of few files each is a large share.
const FEW: u64 = 20;
/// The same for what looks random, which hardly happens by itself.
const FEW_OPAQUE: u64 = 5;
/// Bytes that a set must grow by.
const LITTLE: u64 = 1 << 30;
/// Seconds after which what adds up is no longer of now.
const LONG_AGO: u64 = 10 * 86_400;
/// Seconds that a set may be silent, however busy it is.
const QUIET: u64 = 7 * 86_400;

/// From where on something is unusual; `None`: never. Shares are millionths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Runs that must have been, before any is weighed.
    pub runs: usize,
    /// Files rewritten or removed by one run.
    pub lost: Option<u64>,
    /// Files that came to look random.
    pub opaque: Option<u64>,
    /// Files that came under a new suffix while others went.
    pub renamed: Option<u64>,
    /// Growth by one run.
    pub growth: Option<u64>,
    /// Whether silence counts.
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

/// What became of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nobody has looked at it.
    Open,
    /// The change was meant: it belongs to the set's past.
    Accepted,
    /// The harm was real and is repaired: it belongs to no past, and the run after it is not weighed.
    Cleared,
}

/// A run of the set, as its manifest tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// Seconds since it began.
    pub age: u64,
    /// What it saw.
    pub signs: Signs,
    /// The alarm that it gave.
    pub alarm: Option<State>,
}

impl Past {
    /// Whether it tells what is usual.
    fn is_usual(&self) -> bool {
        matches!(self.alarm, None | Some(State::Accepted))
    }
}

/// Completes what a run saw by what adds up over runs, and says what is unusual about it; `past` is oldest first. A
/// change that was announced is never unusual.
pub fn judge(past: &[Past], now: &mut Signs, limits: Option<&Limits>) -> Vec<Reason> {
    carry(past, now);
    let newest = past.last().and_then(|newest| newest.alarm);
    let Some(limits) = limits.filter(|_| newest != Some(State::Cleared)) else {
        now.level = 0;
        return Vec::new();
    };
    let usual: Vec<&Signs> = past.iter().filter(|one| one.is_usual()).map(|one| &one.signs).collect();
    if usual.len() < limits.runs || now.before == 0 {
        return Vec::new();
    }
    let found = [
        lost(&usual, now, limits),
        opaque(past, now, limits),
        renamed(&usual, now, limits),
        growth(&usual, now, limits),
    ];
    let found: Vec<Reason> = found.into_iter().flatten().collect();
    // The next alarm is one for what comes on top.
    if !found.is_empty() {
        now.level = 0;
    }
    found
}

/// Whether nothing changed for too long: `seconds` have passed since the newest snapshot.
pub fn silence(past: &[Past], seconds: u64, limits: Option<&Limits>) -> Option<Reason> {
    let limits = limits.filter(|limits| limits.silence)?;
    let usual: Vec<&Signs> = past.iter().filter(|one| one.is_usual()).map(|one| &one.signs).collect();
    // A snapshot in which nothing changed tells of silence already.
    let newest = past.last().filter(|newest| newest.alarm.is_none())?;
    if usual.len() < limits.runs || newest.signs.lost() + newest.signs.new == 0 {
        return None;
    }
    let median = median(usual.iter().map(|signs| signs.span));
    let longest = usual.iter().map(|signs| signs.span).max()?;
    let limit = QUIET.max(median.saturating_mul(10)).max(longest.saturating_mul(TIMES));
    (seconds > limit).then_some(Reason::Silence { seconds, median, longest })
}

/// Returns whether bit rot is all that the reasons say.
pub fn is_only_rot(reasons: &[Reason]) -> bool {
    reasons.iter().all(|reason| matches!(reason, Reason::Rot { .. }))
}

/// The reasons of an alarm, in one sentence.
pub fn sentence(reasons: &[Reason]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What adds up: the level of the run before, less by the time between, and what this one adds.
fn carry(past: &[Past], now: &mut Signs) {
    let Some(Past { signs: before, alarm, .. }) = past.last() else { return };
    let days = now.span as f64 / 86_400.0;
    let left = |value: u64, half: f64| (value as f64 * 0.5_f64.powf(days / half)) as u64;
    now.level = left(before.level, HALF_LIFE).saturating_add(now.share(now.scrambled()));
    let own = if matches!(alarm, None | Some(State::Accepted)) { before.share(before.lost()) } else { 0 };
    now.peak = left(before.peak, PEAK_HALF_LIFE).max(own);
}

fn lost(usual: &[&Signs], now: &Signs, limits: &Limits) -> Option<Reason> {
    let median = median(usual.iter().map(|signs| signs.share(signs.lost())));
    let spans = now.span / self::median(usual.iter().map(|signs| signs.span)).max(1);
    let expected = median.saturating_mul(spans.clamp(1, MOST_SPANS));
    let limit = limits.lost?.max(expected.saturating_mul(TIMES)).max(now.peak.saturating_add(now.peak / 4));
    let lost = now.lost();
    (lost >= FEW && now.share(lost) > limit).then(|| Reason::Lost {
        rewritten: now.rewritten,
        removed: lost - now.rewritten,
        of: now.before,
        median,
        limit,
    })
}

/// The usual level is that of some time ago: what goes on slowly must not become usual while it goes on.
fn opaque(past: &[Past], now: &Signs, limits: &Limits) -> Option<Reason> {
    let seeing: Vec<&Past> = past.iter().filter(|one| one.is_usual() && !one.signs.is_blind).collect();
    if seeing.len() < limits.runs {
        return None;
    }
    let old = seeing.iter().take_while(|one| one.age >= LONG_AGO).count().max(limits.runs);
    let old: Vec<&Signs> = seeing.iter().take(old).map(|one| &one.signs).collect();
    // In a young set the level still rises to what such days add up to.
    let daily = median(old.iter().map(|signs| portion(signs.share(signs.scrambled()), DAY, signs.span)));
    let median = median(old.iter().map(|signs| signs.level)).max(daily.saturating_mul(ADDS_UP_TO));
    let limit = limits.opaque?.saturating_add(median.saturating_mul(3));
    let files = (u128::from(now.level) * u128::from(now.before)).div_ceil(u128::from(WHOLE));
    let files = u64::try_from(files).unwrap_or(u64::MAX).min(now.before);
    // A run that adds nothing gives no alarm for what others did.
    let enough = now.scrambled() > 0 && (files >= FEW_OPAQUE || now.level >= WHOLE / 2);
    (enough && now.level > limit).then(|| Reason::Opaque {
        now: now.scrambled(),
        files,
        of: now.before,
        median,
        limit,
    })
}

fn renamed(usual: &[&Signs], now: &Signs, limits: &Limits) -> Option<Reason> {
    let shares = || usual.iter().filter(|signs| !signs.is_blind).map(|signs| signs.share(signs.renamed()));
    if shares().count() < limits.runs {
        return None;
    }
    let (median, most) = (median(shares()), shares().max().unwrap_or(0));
    let limit = limits.renamed?.max(median.saturating_mul(TIMES)).max(most.saturating_add(most / 4));
    let files = now.renamed();
    (files >= FEW && now.share(files) > limit).then(|| Reason::Renamed {
        files,
        of: now.before,
        suffix: now.suffix.clone(),
        median,
        limit,
    })
}

fn growth(usual: &[&Signs], now: &Signs, limits: &Limits) -> Option<Reason> {
    let median = median(usual.iter().map(|signs| signs.growth()));
    let most = usual.iter().map(|signs| signs.growth()).max().unwrap_or(0);
    let limit = limits.growth?.max(median.saturating_mul(2 * TIMES)).max(most.saturating_add(most / 4));
    let grown = now.bytes.saturating_sub(now.bytes_before);
    (grown >= LITTLE && now.growth() > limit).then_some(Reason::Growth {
        from: now.bytes_before,
        to: now.bytes,
        median,
        limit,
    })
}

/// `value` in `unit` where it came in `span`.
fn portion(value: u64, unit: u64, span: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(unit) / u128::from(span.max(1))).unwrap_or(u64::MAX)
}

/// The middle one; the larger of two.
fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
