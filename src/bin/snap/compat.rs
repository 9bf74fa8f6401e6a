//! The environment variables of the legacy backup script that snap replaces: repository, sources and days
//! of retention. As soon as one of them is set, the others have the script's defaults. snap's own flags and
//! variables take precedence. An empty variable counts as unset.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use snap_backup::fs::sources::{self, SourceNode};
use snap_backup::ops::forget::age::Age;
use snap_backup::ops::forget::policy::{Count, Rule};
use snap_backup::{Error, Result};

const REPOSITORY: (&str, &str) = ("INCREMENTAL_BACKUP_PATH", "./backups/incremental");
const SOURCES: [(&str, &str); 3] =
    [("APP_DATA_PATH", "./data"), ("UPLOADS_PATH", "./uploads"), ("LOGS_PATH", "./logs")];
/// Days after which incremental and differential snapshots expire: variable and default.
const RETENTION: (&str, &str) = ("BACKUP_RETENTION_DAYS", "7");

/// The settings of the variables.
#[derive(Debug)]
pub(crate) struct Legacy {
    /// Location of the repository.
    pub(crate) repository: OsString,
    /// Paths to back up.
    pub(crate) sources: Vec<PathBuf>,
    days: OsString,
    /// Whether the days were given, as opposed to the default.
    days_given: bool,
}

impl Legacy {
    /// Reads the variables of this process; `None` if none of them is set.
    pub(crate) fn from_environment() -> Option<Self> {
        Self::from_variables(|name| env::var_os(name))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let all = [REPOSITORY, RETENTION].into_iter().chain(SOURCES);
        if all.into_iter().all(|(name, _)| given(name).is_none()) {
            return None;
        }
        let or_default = |(name, default): (&str, &str)| given(name).unwrap_or_else(|| default.into());
        Some(Self {
            repository: or_default(REPOSITORY),
            sources: SOURCES.into_iter().map(|source| or_default(source).into()).collect(),
            days: or_default(RETENTION),
            days_given: given(RETENTION.0).is_some(),
        })
    }

    /// Returns the stored paths of sources that do not exist now.
    pub(crate) fn missing(&self) -> Result<Vec<Vec<u8>>> {
        let is_gone = |path: &&PathBuf| {
            path.symlink_metadata().is_err_and(|err| err.kind() == std::io::ErrorKind::NotFound)
        };
        self.sources.iter().filter(is_gone).map(|path| stored(path)).collect()
    }

    /// Returns the script's retention rules: incremental and differential snapshots expire after so many
    /// days; all full ones are kept, or the newest `fulls`. If `use_default` is false, because the repository
    /// is not the script's, the default number of days does not apply.
    pub(crate) fn rules(&self, fulls: Option<Count>, use_default: bool) -> Result<Vec<Rule>> {
        if !use_default && !self.days_given {
            return Ok(Vec::new());
        }
        let days = self.days.to_str().and_then(|text| text.trim().parse().ok()).ok_or_else(|| {
            Error::Usage(format!(
                "{}={} is not a number of days: set one, or unset it",
                RETENTION.0,
                self.days.display()
            ))
        })?;
        Ok(vec![Rule::Within(Age::days(days)), Rule::Full(fulls.unwrap_or(Count::All))])
    }
}

/// Returns the path of a source in the snapshot.
fn stored(path: &std::path::Path) -> Result<Vec<u8>> {
    let plan = sources::plan(&[path.to_path_buf()], None)?;
    let (mut place, mut names) = (&plan.root, Vec::new());
    while let SourceNode::Ancestor { below, .. } = place {
        let Some((name, next)) = below.first_key_value() else { break };
        names.push(name.as_slice());
        place = next;
    }
    Ok(names.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn legacy(set: &[(&str, &str)]) -> Option<Legacy> {
        Legacy::from_variables(|name| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn any_legacy_variable_enables_all_defaults() {
        assert!(legacy(&[]).is_none());
        assert!(legacy(&[("LOGS_PATH", "")]).is_none());
        let found = legacy(&[("LOGS_PATH", "/var/log/app")]).unwrap();
        assert_eq!(found.repository, "./backups/incremental");
        assert_eq!(found.sources, ["./data", "./uploads", "/var/log/app"].map(PathBuf::from));
        assert_eq!(found.rules(None, true).unwrap(), [Rule::Within(Age::days(7)), Rule::Full(Count::All)]);
        assert_eq!(found.rules(None, false).unwrap(), []);
    }

    #[test]
    fn days_that_are_not_a_number_are_refused() {
        let rules = |days| legacy(&[("BACKUP_RETENTION_DAYS", days)]).unwrap().rules(None, false);
        assert_eq!(rules("0").unwrap()[0], Rule::Within(Age::days(0)));
        assert!(["-1", "7d", "x", "7.5"].into_iter().all(|days| matches!(rules(days), Err(Error::Usage(_)))));
    }

    #[test]
    fn stored_paths_are_those_of_a_backup() {
        let stored = |path: &str| String::from_utf8(stored(path.as_ref()).unwrap()).unwrap();
        assert_eq!(stored("./data"), "data");
        assert_eq!(stored("/srv/app/data/"), "srv/app/data");
    }
}
