//! Times as RFC 3339 in UTC, because people read these files, too.

use jiff::Timestamp;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

use crate::model::entry::Time;

fn text(time: Time) -> Option<String> {
    Timestamp::new(time.sec, i32::try_from(time.nanos).ok()?).ok().map(|stamp| stamp.to_string())
}

fn time(text: &str) -> Result<Time, jiff::Error> {
    let stamp: Timestamp = text.parse()?;
    // Before 1970 jiff counts nanoseconds backwards; no run is that old.
    Ok(Time { sec: stamp.as_second(), nanos: u32::try_from(stamp.subsec_nanosecond()).unwrap_or(0) })
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
pub(super) fn serialize<S: Serializer>(at: &Time, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&text(*at).ok_or_else(|| S::Error::custom("a time out of range"))?)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Time, D::Error> {
    time(&String::deserialize(from)?).map_err(D::Error::custom)
}

/// Serializes an optional time.
pub(super) mod maybe {
    use super::{Deserialize, Deserializer, Serializer, Time};

    #[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
    pub(in crate::run_log) fn serialize<S: Serializer>(at: &Option<Time>, to: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => super::serialize(at, to),
            None => to.serialize_none(),
        }
    }

    pub(in crate::run_log) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Time>, D::Error> {
        use serde::de::Error as _;
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| super::time(&text)).transpose().map_err(D::Error::custom)
    }
}
