//! Arguments for rules per path.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use snap_backup::model::entry::Time;
use snap_backup::ops::forget::age::Age;
use snap_backup::ops::rewrite::expire::ExpiryRule;

use super::values;

/// Rules for paths in old snapshots.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Rules per path")]
pub(crate) struct PathRules {
    /// Remove what matches from snapshots that are at least this old: '**/Downloads/**=30d'; can be repeated
    #[arg(long, value_name = "PATTERN=AGE", value_parser = expiry_parser())]
    pub(crate) expire: Vec<Expiry>,
    /// Remove files from older snapshots if no snapshot within this time has them
    #[arg(long, value_name = "DURATION", value_parser = values::age)]
    pub(crate) keep_deleted: Option<Age>,
}

/// A pattern, and the age from which snapshots lose what it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expiry {
    pub(crate) pattern: OsString,
    pub(crate) after: Age,
}

impl PathRules {
    pub(crate) fn is_empty(&self) -> bool {
        self.expire.is_empty() && self.keep_deleted.is_none()
    }

    /// Returns the rules, with ages converted to times relative to `now`.
    pub(crate) fn at(&self, now: &ZonedDateTime) -> (Vec<ExpiryRule>, Option<Time>) {
        let rule = |one: &Expiry| ExpiryRule { pattern: one.pattern.clone(), before: one.after.before(now) };
        (self.expire.iter().map(rule).collect(), self.keep_deleted.map(|age| age.before(now)))
    }
}

/// Returns the current time, in the time zone that ages in days and months refer to.
pub(crate) fn now() -> ZonedDateTime {
    Timestamp::now().to_zoned_datetime(TimeZone::system())
}

fn expiry_parser() -> impl TypedValueParser<Value = Expiry> {
    OsStringValueParser::new().try_map(|text| expiry(&text))
}

/// Parses `PATTERN=AGE`. The pattern may contain `=`.
fn expiry(text: &OsStr) -> Result<Expiry, String> {
    let bytes = text.as_bytes();
    let at = bytes.iter().rposition(|byte| *byte == b'=');
    let (pattern, age) = at.map_or((bytes, &[][..]), |at| bytes.split_at(at));
    let age = age.strip_prefix(b"=").and_then(|age| std::str::from_utf8(age).ok());
    match age.map(values::age) {
        Some(Ok(after)) if !pattern.is_empty() => {
            Ok(Expiry { pattern: OsString::from_vec(pattern.to_vec()), after })
        }
        Some(Err(why)) => Err(format!("after the last '=': {why}")),
        _ => Err("a pattern, '=' and an age: '**/Downloads/**=30d' (for whole snapshots, use --expires of \
             rewrite)"
            .to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::expiry;

    #[test]
    fn last_equals_sign_ends_the_pattern() {
        let of = |text: &str| {
            expiry(OsStr::new(text)).map(|one| (one.pattern.into_string().unwrap(), one.after.to_string()))
        };
        assert_eq!(of("*.iso=30d"), Ok(("*.iso".to_owned(), "30d".to_owned())));
        assert_eq!(of("a=b=1y2m"), Ok(("a=b".to_owned(), "1y2m".to_owned())));
        assert!(
            ["30d", "*.iso", "=30d", "*.iso=", "*.iso=30", "*.iso=soon", ""]
                .iter()
                .all(|text| of(text).is_err())
        );
    }
}
