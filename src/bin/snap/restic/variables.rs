//! Converts restic's global flags and environment variables to those of the rest of the program.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use snap_backup::{Error, Result};

use super::codes::refused;
use super::flags::{Filters, From};
use super::{cli, place};
use crate::args::global::Global;

const PASSWORD: &str = "RESTIC_PASSWORD";
const FROM_PASSWORD: &str = "RESTIC_FROM_PASSWORD";

/// Returns a variable, unless it is empty.
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn text(name: &str) -> Option<String> {
    variable(name).and_then(|value| value.into_string().ok())
}

/// Returns the global options of a run.
///
/// # Errors
/// When flags contradict each other, or a file cannot be read.
pub(super) fn global(given: &cli::Global) -> Result<Global> {
    let file = given.password_file.clone().or_else(|| variable("RESTIC_PASSWORD_FILE"));
    let command = given.password_command.clone().or_else(|| variable("RESTIC_PASSWORD_COMMAND"));
    if file.is_some() && command.is_some() {
        return Err(Error::Usage("Password file and command are mutually exclusive options".to_owned()));
    }
    Ok(Global {
        with_write_key: false,
        config: None,
        profile: None,
        repo: repository(given)?,
        password_file: file,
        password_command: command,
        key_file: variable("SNAP_KEY_FILE"),
        ssh_command: text("SNAP_SSH_COMMAND"),
        cacert: given.cacert.clone().or_else(|| variable("RESTIC_CACERT")),
        tls_client_cert: given.tls_client_cert.clone().or_else(|| variable("RESTIC_TLS_CLIENT_CERT")),
        limit_upload: given.limit_upload,
        limit_download: given.limit_download,
        password_variable: PASSWORD,
        key: None,
        threads: None,
        nice: None,
        io_idle: false,
        insecure_no_password: given.insecure_no_password,
        cache_dir: given
            .cache_dir
            .clone()
            .or_else(|| variable("RESTIC_CACHE_DIR"))
            .or_else(|| variable("SNAP_CACHE_DIR")),
        state_dir: variable("SNAP_STATE_DIR"),
        quiet: given.quiet,
        verbose: given.verbose,
        json: given.json,
    })
}

/// Returns the global options for the repository to copy from.
///
/// # Errors
/// When it is not named, or a file cannot be read.
pub(super) fn other(global: &Global, from: &From) -> Result<Global> {
    let file =
        from.from_repository_file.clone().or_else(|| variable("RESTIC_FROM_REPOSITORY_FILE").map(Into::into));
    let named = from.from_repo.clone().or_else(|| variable("RESTIC_FROM_REPOSITORY"));
    let repo = match (named, file) {
        (Some(repo), None) => repo,
        (None, Some(file)) => line_of(&file)?,
        (None, None) => {
            return Err(Error::Usage(
                "Please specify a source repository location (--from-repo or --from-repository-file)"
                    .to_owned(),
            ));
        }
        (Some(_), Some(_)) => return Err(Error::Usage(
            "Options --from-repo and --from-repository-file are mutually exclusive, please specify only one"
                .to_owned(),
        )),
    };
    Ok(Global {
        repo: Some(place::to_snap_syntax(&repo)),
        password_file: from.from_password_file.clone().or_else(|| variable("RESTIC_FROM_PASSWORD_FILE")),
        password_command: from
            .from_password_command
            .clone()
            .or_else(|| variable("RESTIC_FROM_PASSWORD_COMMAND")),
        password_variable: FROM_PASSWORD,
        insecure_no_password: from.from_insecure_no_password,
        ..global.clone()
    })
}

/// Returns the repository from flags and variables, if one is given.
fn repository(given: &cli::Global) -> Result<Option<OsString>> {
    let named = given.repo.clone().or_else(|| variable("RESTIC_REPOSITORY"));
    let file = given.repository_file.clone().or_else(|| variable("RESTIC_REPOSITORY_FILE").map(Into::into));
    match (named, file) {
        (Some(_), Some(_)) if given.repo.is_none() || given.repository_file.is_none() => {
            // A flag takes precedence over a variable.
            let repo = given
                .repo
                .clone()
                .map_or_else(|| given.repository_file.as_deref().map(line_of), |repo| Some(Ok(repo)));
            match repo {
                Some(repo) => Ok(Some(place::to_snap_syntax(&repo?))),
                None => Err(both()),
            }
        }
        (Some(_), Some(_)) => Err(both()),
        (Some(repo), None) => Ok(Some(place::to_snap_syntax(&repo))),
        (None, Some(file)) => Ok(Some(place::to_snap_syntax(&line_of(&file)?))),
        (None, None) => Ok(None),
    }
}

fn both() -> Error {
    Error::Usage(
        "Options -r and --repository-file are mutually exclusive, please specify only one".to_owned(),
    )
}

fn line_of(file: &Path) -> Result<OsString> {
    let bytes = std::fs::read(file).map_err(Error::io("read", file))?;
    Ok(OsStr::from_bytes(bytes.trim_ascii()).to_owned())
}

/// Returns the host that backups record and filters use.
pub(super) fn host() -> Option<String> {
    text("RESTIC_HOST")
}

impl Filters {
    /// Returns the given hosts, or that of the variable. Empty ones are ignored.
    pub(super) fn hosts(&self) -> Vec<String> {
        let given = if self.host.is_empty() { host().into_iter().collect() } else { self.host.clone() };
        given.into_iter().filter(|host| !host.is_empty()).collect()
    }
}

/// Returns the compression level; `None` means the repository's.
///
/// # Errors
/// When restic has no such mode.
pub(super) fn level(given: &cli::Global) -> Result<Option<i32>> {
    let word = given.compression.clone().or_else(|| text("RESTIC_COMPRESSION"));
    let level = |name: &str| crate::args::values::level(name).map(Some).map_err(Error::Usage);
    match word.as_deref() {
        None | Some("auto") => Ok(None),
        Some("off") => level("none"),
        Some("fastest") => level("fast"),
        Some("better") => level("9"),
        Some("max") => level("best"),
        Some(word) => Err(Error::Usage(format!(
            "invalid argument \"{word}\" for \"--compression\" flag: invalid compression mode \"{word}\", must be one \
             of (auto|off|fastest|better|max)"
        ))),
    }
}

/// Refuses flags and variables that have no equivalent and would change the result.
///
/// # Errors
/// When one is set.
pub(super) fn refuse(given: &cli::Global) -> Result<()> {
    if given.insecure_tls {
        return Err(refused(
            "--insecure-tls",
            "certificates are always verified: trust the server's own with --cacert",
        ));
    }
    match variable("RESTIC_FEATURES") {
        Some(_) => Err(refused("RESTIC_FEATURES", "there are no feature flags")),
        None => Ok(()),
    }
}

/// Splits a list of names that are terminated by NUL.
pub(super) fn raw_names(bytes: &[u8]) -> Vec<OsString> {
    let names = bytes.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| OsString::from_vec(name.to_vec())).collect()
}
