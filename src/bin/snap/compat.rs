//! The environment of the script that snap takes the place of: a repository, sources and days of retention by
//! variables, each with the script's default once any of them is set. snap's own flags and variables win. An empty
//! variable counts as none.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use snap_backup::fs::sources;
use snap_backup::fs::sources::SourceNode;
use snap_backup::ops::forget::age::Age;
use snap_backup::ops::forget::policy::{Count, Rule};
use snap_backup::{Error, Result};

const REPOSITORY: (&str, &str) = ("INCREMENTAL_BACKUP_PATH", "./backups/incremental");
const SOURCES: [(&str, &str); 3] =
    [("APP_DATA_PATH", "./data"), ("UPLOADS_PATH", "./uploads"), ("LOGS_PATH", "./logs")];
/// Days after which an incremental or a differential goes.
const RETENTION: (&str, &str) = ("BACKUP_RETENTION_DAYS", "7");

/// What the variables say.
#[derive(Debug)]
pub(crate) struct Legacy {
    /// The repository.
    pub(crate) repository: OsString,
    /// What is saved.
    pub(crate) sources: Vec<PathBuf>,
    days: OsString,
    /// The days were given, not only assumed.
    days_given: bool,
}

impl Legacy {
    /// What this process's variables say; `None` when none of them is set.
    pub(crate) fn from_environment() -> Option<Self> {
        Self::of(|name| env::var_os(name))
    }

    fn of(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
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

    /// Stored paths of the sources that are not there now.
    pub(crate) fn missing(&self) -> Result<Vec<Vec<u8>>> {
        let is_gone = |path: &&PathBuf| {
            path.symlink_metadata().is_err_and(|err| err.kind() == std::io::ErrorKind::NotFound)
        };
        self.sources.iter().filter(is_gone).map(|path| stored(path)).collect()
    }

    /// The script's rule: incrementals and differentials go when they have aged so many days, fulls stay, or so many
    /// of them. Where the repository is not the script's, `assume` is false: then only days that were given count.
    pub(crate) fn rules(&self, fulls: Option<Count>, assume: bool) -> Result<Vec<Rule>> {
        if !assume && !self.days_given {
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

/// Where a source stands in the snapshot.
fn stored(path: &std::path::Path) -> Result<Vec<u8>> {
    let plan = sources::plan(&[path.to_path_buf()], None)?;
    let (mut place, mut names) = (&plan.root, Vec::new());
    while let SourceNode::Passage { below, .. } = place {
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
        Legacy::of(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn any_variable_brings_the_defaults_of_all() {
        assert!(legacy(&[]).is_none());
        assert!(legacy(&[("LOGS_PATH", "")]).is_none());
        let found = legacy(&[("LOGS_PATH", "/var/log/app")]).unwrap();
        assert_eq!(found.repository, "./backups/incremental");
        assert_eq!(found.sources, ["./data", "./uploads", "/var/log/app"].map(PathBuf::from));
        assert_eq!(found.rules(None, true).unwrap(), [Rule::Within(Age::days(7)), Rule::Full(Count::All)]);
        assert_eq!(found.rules(None, false).unwrap(), []);
    }

    #[test]
    fn days_that_are_no_number_are_refused() {
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
