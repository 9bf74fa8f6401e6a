//! Reasons for an alarm, with numbers.

use std::fmt;

use crate::model::signs::WHOLE;

/// Maximum number of files with bit rot that a message names.
const MAX_NAMED: usize = 5;

/// A reason for an alarm. Medians and limits are in millionths; those of silence are in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlarmReason {
    /// Many files were rewritten or removed.
    Lost {
        /// Number of rewritten files.
        rewritten: u64,
        /// Number of files removed and not moved.
        removed: u64,
        /// Number of files before.
        of: u64,
        /// The usual share.
        median: u64,
        /// The highest permitted share.
        limit: u64,
    },
    /// Many files came to look random.
    Opaque {
        /// Number of files in this backup.
        now: u64,
        /// Number of files in this and earlier backups.
        files: u64,
        /// Number of files before.
        of: u64,
        /// The usual share.
        median: u64,
        /// The highest permitted share.
        limit: u64,
    },
    /// Many files were replaced by files with a new suffix.
    Renamed {
        /// Number of such files.
        files: u64,
        /// Number of files before.
        of: u64,
        /// The new suffix.
        suffix: Vec<u8>,
        /// The usual share.
        median: u64,
        /// The highest permitted share.
        limit: u64,
    },
    /// The set grew considerably.
    Growth {
        /// Bytes before.
        from: u64,
        /// Bytes now.
        to: u64,
        /// The usual growth.
        median: u64,
        /// The highest permitted growth.
        limit: u64,
    },
    /// Bit rot: files differ from the previous snapshot although their size and times are the same.
    Rot {
        /// Number of such files.
        files: u64,
        /// Stored paths of the first such files.
        first: Vec<Vec<u8>>,
    },
    /// A set that used to change does not.
    Silence {
        /// Seconds since the last change.
        seconds: u64,
        /// The usual time between changes.
        median: u64,
        /// The longest time between changes so far.
        longest: u64,
    },
}

impl fmt::Display for AlarmReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { rewritten, removed, of, median, limit } => {
                let share = percent(*rewritten + *removed, *of);
                write!(f, "{rewritten} files rewritten and {removed} removed of {of} ({share}; ")?;
                write!(f, "{} is usual, up to {} allowed)", millionths(*median), millionths(*limit))
            }
            Self::Opaque { now, files, of, median, limit } => {
                let share = percent(*files, *of);
                write!(f, "{now} files newly look encrypted, {files} of {of} with those of earlier runs ")?;
                write!(f, "({share}; ")?;
                write!(f, "{} is usual, up to {} allowed)", millionths(*median), millionths(*limit))
            }
            Self::Renamed { files, of, suffix, median, limit } => {
                let (share, suffix) = (percent(*files, *of), String::from_utf8_lossy(suffix));
                write!(
                    f,
                    "{files} of {of} files reappeared with the extension .{suffix}, which no file had \
                     before ({share}; "
                )?;
                write!(f, "{} is usual, up to {} allowed)", millionths(*median), millionths(*limit))
            }
            Self::Growth { from, to, median, limit } => {
                let share = percent(to.saturating_sub(*from), *from);
                write!(f, "grew from {} to {} MiB ({share} more; ", from >> 20, to >> 20)?;
                write!(f, "{} is usual, up to {} allowed)", millionths(*median), millionths(*limit))
            }
            Self::Rot { files, first } => {
                let (word, have) = if *files == 1 { ("file", "has") } else { ("files", "have") };
                write!(f, "silent corruption (bit rot): {files} {word} {have} different bytes than in the ")?;
                write!(f, "previous snapshot, but the same size and times: ")?;
                let named = first.iter().take(MAX_NAMED).map(|path| String::from_utf8_lossy(path));
                write!(f, "{}", named.collect::<Vec<_>>().join(", "))?;
                match files.saturating_sub(first.len().min(MAX_NAMED) as u64) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Self::Silence { seconds, median, longest } => {
                let [seconds, median, longest] = [*seconds, *median, *longest].map(duration);
                write!(f, "nothing changed for {seconds}; usually something changes every {median}, ")?;
                write!(f, "and the longest pause so far was {longest}")
            }
        }
    }
}

fn percent(part: u64, whole: u64) -> String {
    tenths(u128::from(part) * 1000 / u128::from(whole.max(1)))
}

fn millionths(share: u64) -> String {
    tenths(u128::from(share) * 1000 / u128::from(WHOLE))
}

/// Formats tenths of a percent.
fn tenths(tenths: u128) -> String {
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} %"),
        (whole, rest) => format!("{whole}.{rest} %"),
    }
}

fn duration(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3600, seconds / 60) {
        (days @ 2.., ..) => format!("{days} days"),
        (_, hours @ 2.., _) => format!("{hours} hours"),
        (.., minutes) => format!("{minutes} minutes"),
    }
}
