//! Determines which repository a call means, and its settings.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use snap_backup::{Error, Result};

use super::field::Named;
use super::model::RepositorySettings;
use super::{Config, Set, find, nearest};
use crate::args::global::Global;
use crate::password;

/// A named repository.
pub(crate) type Entry = Named<RepositorySettings>;

impl Entry {
    /// Returns its location, as for `-r`.
    pub(crate) fn location(&self) -> Option<&OsString> {
        self.settings.location.as_ref().map(|location| &location.0)
    }

    /// Returns whether the text, taken as a location, means this repository.
    pub(super) fn is_at(&self, named: &str) -> bool {
        let Some(location) = self.location() else { return false };
        if named.contains(':') || location.as_bytes().contains(&b':') {
            return location == named;
        }
        let absolute =
            |path: &Path| std::path::absolute(path).ok().map(|path| path.components().collect::<PathBuf>());
        absolute(Path::new(named)).is_some_and(|path| absolute(Path::new(location)) == Some(path))
    }
}

impl Config {
    /// Returns the default repository: that of the top level, or the only one in the file.
    pub(crate) fn default_repository(&self) -> Option<OsString> {
        let only = match self.repositories() {
            [only] => Some(OsString::from(&only.name)),
            _ => None,
        };
        self.model.repository.as_ref().map(|named| named.value.0.clone()).or(only)
    }

    /// Returns the repository with this name or location.
    pub(crate) fn entry(&self, named: &OsStr) -> Option<&Entry> {
        named.to_str().and_then(|named| self.repository(named))
    }

    /// Rejects a word that is not the name of a repository if the file names repositories. It was meant as a
    /// name; as a directory, its meaning would depend on the working directory.
    pub(crate) fn expect_name(&self, named: &OsStr) -> Result<()> {
        let is_place = named.as_bytes().iter().any(|byte| matches!(byte, b'/' | b':'));
        let is_place = is_place || [".", "..", "~"].iter().any(|known| named == *known);
        if is_place || self.repositories().is_empty() || self.entry(named).is_some() {
            return Ok(());
        }
        let named = named.to_string_lossy();
        let names = || self.repositories().iter().map(|entry| entry.name.as_str());
        let known = match nearest(&named, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
        };
        let file = self.file.as_deref().unwrap_or(Path::new(find::NAME)).display();
        Err(Error::Usage(format!(
            "there is no repository `{named}` in {file}: {known} (for a directory, write ./{named})"
        )))
    }

    /// Completes the options: settings of the file apply where flags and variables set nothing.
    pub(crate) fn complete(&self, given: &Global, set: Option<&Set>) -> Global {
        let mut global = given.clone();
        let named = given.repo().map(OsStr::to_owned);
        let named = named.or_else(|| set.and_then(Set::repository)).or_else(|| self.default_repository());
        if let Some(named) = named {
            let entry = self.entry(&named);
            let own = entry.map(|entry| entry.settings.clone()).unwrap_or_default();
            if entry.is_some() && !given.insecure_no_password && !password::is_given(given) {
                global.password_file = own.password_file.map(Into::into);
                global.password_command = own.password_command.map(|command| command.0.into());
            }
            global.limit_upload = given.limit_upload.or(own.limit_upload.map(|rate| rate.0));
            global.limit_download = given.limit_download.or(own.limit_download.map(|rate| rate.0));
            global.cacert = path(&given.cacert, own.cacert);
            global.tls_client_cert = path(&given.tls_client_cert, own.tls_client_cert);
            global.key_file = path(&given.key_file, own.key_file);
            global.repo = Some(own.location.map_or(named, |location| location.0));
        }
        let own = set.map(|set| set.settings.clone()).unwrap_or_default();
        global.threads = given.threads.or(own.threads.map(|number| number.0));
        global.nice = given.nice.or(own.nice.map(|nice| nice.0));
        global.io_idle |= own.io_idle;
        global.cache_dir = path(&given.cache_dir, self.model.cache_dir.clone());
        global.state_dir = path(&given.state_dir, self.model.state_dir.clone());
        global
    }
}

/// Returns the given path unless it is empty, as an unset variable is; otherwise that of the file.
fn path(given: &Option<OsString>, own: Option<PathBuf>) -> Option<OsString> {
    given.clone().filter(|path| !path.is_empty()).or_else(|| own.map(Into::into))
}
