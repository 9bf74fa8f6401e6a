//! Tests a server's guarantees instead of trusting them: whether a taken name is rejected, and whether a
//! listing contains what was just written.

use object_store::{PutMode, PutPayload};
use parking_lot::MutexGuard;

use crate::error::Result;
use crate::storage::object_store::CloudStorage;
use crate::storage::{CreateOutcome, ObjectKind, Storage};

/// Larger objects are not written twice for a test.
const MOST_TRIED: usize = 64 << 10;

/// A server on which the last of several writers wins.
const OVERWRITES: &str = "an object store that overwrites existing objects (it has no create-if-absent)";
/// A server with delayed listings.
const LATE: &str = "an object store whose listings lack objects that were just written";

/// An object to test with.
pub(super) struct StorageProbe {
    area: ObjectKind,
    name: String,
    payload: PutPayload,
}

impl CloudStorage {
    /// Returns whether a second writer may have replaced an object, as far as is known.
    pub(super) fn overwrites(&self) -> bool {
        self.lacks.get().is_some_and(|lacks| *lacks == Some(OVERWRITES))
    }

    /// Runs the test with a small object that was just created, unless it was run before. A session is only
    /// remembered for a later test: a process that only reads creates nothing else, and needs no test.
    pub(super) fn created(&self, area: ObjectKind, name: &str, payload: &PutPayload) -> Result<()> {
        if self.lacks.get().is_some() || payload.content_length() > MOST_TRIED {
            return Ok(());
        }
        let tried = StorageProbe { area, name: name.to_owned(), payload: payload.clone() };
        if area != ObjectKind::Sessions {
            return self.probe(&tried);
        }
        *self.tried() = Some(tried);
        Ok(())
    }

    /// Runs the test, if it is pending, before another object is created.
    pub(super) fn creating(&self) -> Result<()> {
        let tried = if self.lacks.get().is_some() { None } else { self.tried().take() };
        tried.map_or(Ok(()), |tried| self.probe(&tried))
    }

    /// Cancels a pending test with an object that is removed.
    pub(super) fn removing(&self, area: ObjectKind, name: &str) {
        self.tried().take_if(|tried| tried.area == area && tried.name == name);
    }

    fn tried(&self) -> MutexGuard<'_, Option<StorageProbe>> {
        self.tried.lock()
    }

    /// Tests with an object that this process has created: writing the same bytes under the same name must be
    /// rejected, and is harmless if it is not.
    fn probe(&self, tried: &StorageProbe) -> Result<()> {
        let StorageProbe { area, name, payload } = tried;
        let path = self.path(*area, name)?;
        let (again, _) = self.put(&path, &area.path(name), payload, PutMode::Create)?;
        let lacks = match again {
            CreateOutcome::New => Some(OVERWRITES),
            CreateOutcome::Exists => {
                let listed = self.list(*area)?.iter().any(|found| found.name == *name);
                (!listed).then_some(LATE)
            }
        };
        let _ = self.lacks.set(lacks);
        Ok(())
    }

    /// Returns the guarantee that the server lacks. If nothing was written yet, writes an object and removes
    /// it.
    pub(super) fn lacks(&self) -> Result<Option<&'static str>> {
        self.creating()?;
        if self.lacks.get().is_none() {
            let mut lot = [0; 8];
            let random = crate::codec::crypto::cipher::random(&mut lot);
            random.map_err(crate::error::Error::damaged("a name to try"))?;
            let name = format!("probe-{:016x}", u64::from_le_bytes(lot));
            self.create(ObjectKind::Quarantine, &name, &[b"snap"])?;
            self.remove(ObjectKind::Quarantine, &name)?;
        }
        Ok(self.lacks.get().copied().flatten())
    }
}
