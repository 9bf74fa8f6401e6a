//! Parses locations of repositories, as for `-r`, and opens their storage.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use snap_backup::storage::local::LocalStorage;
#[cfg(feature = "cloud")]
use snap_backup::storage::object_store::{self, CloudStorage};
#[cfg(feature = "rest")]
use snap_backup::storage::rest::{self, RestStorage};
#[cfg(feature = "rest")]
use snap_backup::storage::retry::RetryPolicy;
use snap_backup::storage::sftp::SftpStorage;
use snap_backup::storage::{Storage, sftp};
use snap_backup::{Error, Result};

use crate::args::global::Global;
use crate::args::location_advice;
use crate::terminal::output;

/// Returns the storage at a location. It need not contain a repository.
///
/// # Errors
/// The text is not a valid location, or the environment lacks settings to access it.
pub(crate) fn open(repo: &OsStr, global: &Global) -> Result<Arc<dyn Storage>> {
    let bytes = repo.as_bytes();
    if sftp::url::SftpUrl::is_meant(bytes) {
        let place = parse_url(repo, sftp::url::SftpUrl::parse)?;
        return Ok(Arc::new(SftpStorage::new(place, global.ssh_command()).limited(global.limits())));
    }
    #[cfg(feature = "cloud")]
    if object_store::url::ObjectStoreUrl::is_meant(bytes) {
        let place = parse_url(repo, object_store::url::ObjectStoreUrl::parse)?;
        return Ok(Arc::new(CloudStorage::new(place, cloud_options(global)?)?));
    }
    #[cfg(feature = "rest")]
    if rest::url::RestUrl::is_meant(bytes) {
        let (user, password) = rest_login()?;
        let place = parse_url(repo, rest::url::RestUrl::parse)?.with_login(user, password);
        return Ok(Arc::new(RestStorage::new(
            place,
            global.limits(),
            RetryPolicy::default(),
            &global.tls()?,
        )));
    }
    Ok(Arc::new(LocalStorage::new(local_path(repo)?)))
}

/// Returns whether opening this location sends a login unencrypted to another machine.
pub(crate) fn exposes_login(repo: &OsStr) -> bool {
    #[cfg(feature = "rest")]
    if let Some(place) = repo.to_str().and_then(|text| rest::url::RestUrl::parse(text).ok()) {
        return rest_login().is_ok_and(|(user, password)| place.with_login(user, password).exposes_login());
    }
    false
}

/// Returns user and password of a REST server from their variables.
#[cfg(feature = "rest")]
fn rest_login() -> Result<(Option<String>, Option<String>)> {
    let variable = |name: &str| match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Error::Usage(format!("{name} is not UTF-8"))),
    };
    Ok((variable("SNAP_REST_USERNAME")?, variable("SNAP_REST_PASSWORD")?))
}

fn parse_url<T>(repo: &OsStr, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T> {
    let place = repo.to_str().ok_or_else(|| "it is not UTF-8".to_owned()).and_then(parse);
    place.map_err(|why| {
        // The text may contain a password.
        let name = match bytes_before_login(repo.as_bytes()) {
            Some(scheme) => format!("{}...", output::path(scheme)),
            None => output::path(repo.as_bytes()),
        };
        Error::Usage(format!("{name} is not a repository location: {why}"))
    })
}

/// Returns the part before user and password, if there may be a password.
fn bytes_before_login(repo: &[u8]) -> Option<&[u8]> {
    let at = repo.iter().position(|byte| *byte == b'@')?;
    let scheme = repo.windows(3).position(|part| part == b"://")? + 3;
    repo.get(scheme..at)?.contains(&b':').then(|| repo.get(..scheme))?
}

#[cfg(feature = "cloud")]
fn cloud_options(global: &Global) -> Result<object_store::ObjectStoreOptions> {
    let text = |text: std::ffi::OsString| text.into_string().ok();
    let variables = std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?)));
    Ok(object_store::ObjectStoreOptions {
        variables: variables.collect(),
        limits: global.limits(),
        tls: global.tls()?,
        ..Default::default()
    })
}

/// Returns the directory of a local repository.
fn local_path(repo: &OsStr) -> Result<&Path> {
    if let Some(path) = repo.as_bytes().strip_prefix(b"file://") {
        // The part before the path is a host.
        let path = path.strip_prefix(b"localhost").filter(|path| path.starts_with(b"/")).unwrap_or(path);
        if path.starts_with(b"/") {
            return Ok(Path::new(OsStr::from_bytes(path)));
        }
        let (repo, path) = (output::path(repo.as_bytes()), output::path(path));
        return Err(Error::Usage(format!(
            "{repo} is not a repository location: file:// takes the absolute path of a local directory, as \
             in file:///srv/backup; write ./{path} for a relative path, or sftp://HOST/PATH for another \
             machine"
        )));
    }
    match location_advice::message(&repo.to_string_lossy()) {
        Some(message) => Err(Error::Usage(message)),
        None => Ok(Path::new(repo)),
    }
}
