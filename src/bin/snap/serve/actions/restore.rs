//! Restores to a new directory on the server, if `--allow restore` permits it.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::StatusCode;
use snap_backup::ops::restore::{self, Options, Report};
use snap_backup::{Control, Error};
use tokio::task::spawn_blocking;

use crate::serve::app_state::AppState;
use crate::serve::downloads::Part;
use crate::serve::response::HttpError;
use crate::serve::sessions::SharedSession;
use crate::terminal::output;

/// Maximum length of the new directory's name in bytes.
const LONGEST: usize = 200;

/// Starts restoring a part to the new directory `to`. Returns the number of the job.
///
/// # Errors
/// It is not allowed, the name is invalid, or another job is running.
pub(super) fn start(
    site: &Arc<AppState>,
    visit: Arc<SharedSession>,
    part: Part,
    to: &[u8],
) -> Result<u64, HttpError> {
    let Some(dir) = &site.allow.restore else {
        let why = "this server was started without `--allow restore`, so it cannot restore";
        return Err(HttpError::new(StatusCode::FORBIDDEN, why));
    };
    let name = name(to)?;
    let title = format!("Restore of {} to {}", part.id.short(), output::path(to));
    let Some(job) = site.jobs.begin(title) else {
        return Err(HttpError::new(StatusCode::CONFLICT, "another job is running: wait until it has ended"));
    };
    let target = match make(dir, &name) {
        Ok(target) => target,
        Err(refusal) => {
            job.ended(false, vec![refusal.why.clone()]);
            return Err(refusal);
        }
    };
    let (site, id) = (Arc::clone(site), job.id);
    spawn_blocking(move || {
        let options = options(&site, &part, &target);
        let done = restore::run(visit.repo(), &options, &Control::new(&*job).with_cancel(&site.jobs.stop));
        match done {
            Ok(summary) => job.ended(summary.problems.is_empty(), report(&summary, &target)),
            Err(error) => job.ended(false, vec![HttpError::from(error).why]),
        }
        site.session_pool.pass_on_warnings();
    });
    Ok(id)
}

/// Checks that this is a single path component and returns it.
fn name(to: &[u8]) -> Result<PathBuf, HttpError> {
    let is_odd = |byte: &u8| *byte == b'/' || *byte < b' ' || *byte == 0x7f;
    if to.is_empty() || to.len() > LONGEST || to.starts_with(b".") || to.iter().any(is_odd) {
        let why = format!(
            "the new directory needs a name of at most {LONGEST} bytes, without slashes and without a dot at its beginning"
        );
        return Err(HttpError::new(StatusCode::BAD_REQUEST, why));
    }
    Ok(PathBuf::from(std::ffi::OsString::from_vec(to.to_vec())))
}

/// Creates the directory. Fails if anything exists there; `mkdir` checks that atomically.
fn make(dir: &Path, name: &Path) -> Result<PathBuf, HttpError> {
    let target = dir.join(name);
    match DirBuilder::new().mode(0o700).create(&target) {
        Ok(()) => Ok(target),
        Err(err) if err.kind() == ErrorKind::AlreadyExists => {
            let why = format!("{} exists: this page restores only to a new directory", target.display());
            Err(HttpError::new(StatusCode::CONFLICT, why))
        }
        Err(err) => Err(Error::io("create the directory", &target)(err).into()),
    }
}

/// Returns options that are safe for a restore from the browser: set-user-ID bits and devices are left out,
/// and the files are read back.
fn options(site: &AppState, part: &Part, target: &Path) -> Options {
    let pattern = |name: &Vec<u8>| std::ffi::OsString::from_vec(crate::serve::pages::pattern(name));
    Options {
        selector: part.id.hex(),
        below: (!part.path.is_empty()).then(|| part.path.clone()),
        target: target.to_owned(),
        include: part.names.iter().flatten().map(pattern).collect(),
        count_ahead: true,
        no_devices: true,
        no_setuid: true,
        protected: site.allow.protected.clone(),
        verify: true,
        ..Options::default()
    }
}

fn report(summary: &Report, target: &Path) -> Vec<String> {
    let entries = output::entries(summary.files, summary.dirs, summary.others);
    let mut lines = vec![format!(
        "{entries} ({}) restored to {} in {}, and read back.",
        output::size(summary.bytes_written),
        output::printable(&target.display().to_string()),
        output::duration(summary.duration.as_secs_f64())
    )];
    if summary.left_out > 0 {
        let number =
            output::count(summary.left_out, "owner, mode or attribute", "owners, modes or attributes");
        lines.push(format!(
            "{number} not restored: the user of this server may not set them, or the file system does not support them."
        ));
    }
    if !summary.problems.is_empty() {
        lines.push(format!("{}:", output::count(summary.problems.len() as u64, "problem", "problems")));
    }
    if summary.damage {
        lines.push("Stored data is damaged: `snap check --read-data` lists what is affected.".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_new_name_below_the_directory_is_accepted() {
        for bad in ["", ".", "..", "../x", "a/b", "/etc", "a\0b", ".hidden", "a\n", &"x".repeat(201)] {
            assert_eq!(
                name(bad.as_bytes()).err().map(|err| err.status),
                Some(StatusCode::BAD_REQUEST),
                "{bad:?}"
            );
        }
        let dir = tempfile::tempdir().unwrap();
        let made = make(dir.path(), &name(b"new one").unwrap()).unwrap();
        assert!(made.is_dir() && made.parent() == Some(dir.path()));
        std::os::unix::fs::symlink("/tmp", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("dangling")).unwrap();
        for there in ["new one", "link", "dangling"] {
            assert_eq!(
                make(dir.path(), Path::new(there)).err().map(|err| err.status),
                Some(StatusCode::CONFLICT),
                "{there}"
            );
        }
    }
}
