//! Determines which repository a call means, and its settings.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use snap_backup::{Error, Result};

use super::node::Table;
use super::{Config, Set, find, keys};
use crate::args::global::Global;
use crate::password;

/// A named repository.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Its location, as for `-r`.
    pub(crate) location: Option<OsString>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) password_command: Option<OsString>,
    pub(crate) key_file: Option<PathBuf>,
    /// The authorities to trust, and the certificate to show.
    certificates: [Option<OsString>; 2],
    /// Whether a backup creates it if it does not exist.
    pub(crate) init: bool,
    /// Whether it is created without encryption.
    pub(crate) no_encryption: bool,
    pub(crate) compression: Option<i32>,
    /// Rate limits in bytes per second: upload, download.
    limits: [Option<u64>; 2],
}

impl Entry {
    pub(super) fn new(name: &str, table: &Table) -> Self {
        Self {
            name: name.to_owned(),
            location: table.location("location"),
            password_file: table.path("password-file").map(Path::to_path_buf),
            password_command: table.text("password-command").map(OsString::from),
            key_file: table.path("key-file").map(Path::to_path_buf),
            certificates: ["cacert", "tls-client-cert"].map(|name| table.path(name).map(OsString::from)),
            init: table.bool("init").unwrap_or_default(),
            no_encryption: table.bool("no-encryption").unwrap_or_default(),
            compression: table.level("compression"),
            limits: ["limit-upload", "limit-download"].map(|name| table.number(name)),
        }
    }

    /// Returns whether the text, taken as a location, means this repository.
    pub(super) fn is_at(&self, named: &str) -> bool {
        let Some(location) = &self.location else { return false };
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
        self.root.location("repository").or(only)
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
        let known = match keys::nearest(&named, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
        };
        let file = self.file.as_deref().unwrap_or(Path::new(find::NAME)).display();
        Err(Error::Usage(format!(
            "no repository is called `{named}` in {file}: {known} (a directory is written ./{named})"
        )))
    }

    /// Completes the options: settings of the file apply where flags and variables set nothing.
    pub(crate) fn complete(&self, given: &Global, set: Option<&Set>) -> Global {
        let mut global = given.clone();
        let named = given.repo.clone().filter(|repo| !repo.is_empty());
        let named = named.or_else(|| set.and_then(Set::repository)).or_else(|| self.default_repository());
        if let Some(named) = named {
            let entry = self.entry(&named);
            global.repo = Some(entry.and_then(|entry| entry.location.clone()).unwrap_or(named));
            let [up, down] = entry.map(|entry| entry.limits).unwrap_or_default();
            global.limit_upload = given.limit_upload.or(up);
            global.limit_download = given.limit_download.or(down);
            let [authorities, client] = entry.map(|entry| entry.certificates.clone()).unwrap_or_default();
            // An empty variable counts as unset.
            let set = |value: &Option<OsString>| value.clone().filter(|value| !value.is_empty());
            global.cacert = set(&given.cacert).or(authorities);
            global.tls_client_cert = set(&given.tls_client_cert).or(client);
            if given.key_file().is_none() {
                global.key_file = entry.and_then(|entry| entry.key_file.clone()).map(Into::into);
            }
            if let Some(entry) = entry.filter(|_| !given.insecure_no_password && !password::is_given(given)) {
                global.password_file = entry.password_file.clone().map(Into::into);
                global.password_command = entry.password_command.clone();
            }
        }
        global.threads = given.threads.or_else(|| set.and_then(Set::threads));
        global.nice = given.nice.or_else(|| set.and_then(Set::nice));
        global.io_idle |= set.and_then(|set| set.table.bool("io-idle")).unwrap_or_default();
        let path = |name: &str| self.root.path(name).map(|path| path.as_os_str().to_owned());
        global.cache_dir = global.cache_dir.filter(|dir| !dir.is_empty()).or_else(|| path("cache-dir"));
        global.state_dir = global.state_dir.filter(|dir| !dir.is_empty()).or_else(|| path("state-dir"));
        global
    }
}
