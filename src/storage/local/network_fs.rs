//! Detects network file systems, and works around their caches.

use std::io;
use std::path::Path;

use crate::error::{Error, Result};
use crate::storage::local::LocalStorage;
use crate::storage::local::files::Temp;
use crate::sys::volume;

impl LocalStorage {
    /// Returns the network file system that the directory is on, if any; `None` before the directory exists.
    pub(super) fn network(&self) -> Result<Option<&str>> {
        if let Some(known) = self.network.get() {
            return Ok(known.as_deref());
        }
        match volume::network_kind(&self.root) {
            Ok(kind) => Ok(self.network.get_or_init(|| kind).as_deref()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("determine the file system of", &self.root)(error)),
        }
    }

    /// Makes a network client refresh its cached listing, by changing the folder. Without write permission,
    /// the cached listing is used.
    pub(super) fn refresh(&self, folder: &Path) -> Result<()> {
        if self.network()?.is_some() && folder.is_dir() {
            drop(Temp::new(folder, self.modes()));
        }
        Ok(())
    }
}
