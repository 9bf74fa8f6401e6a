//! Tests a server's guarantees instead of trusting them: whether a taken name is rejected, and whether a
//! listing contains what was just written.

use object_store::{PutMode, PutPayload};

use crate::codec::crypto::cipher;
use crate::error::{Error, Result};
use crate::storage::object_store::CloudStorage;
use crate::storage::{CreateOutcome, ObjectKind, Storage};

/// Larger objects are not written twice for a test.
const MAX_PROBE: usize = 64 << 10;

/// A server on which the last of several writers wins.
const OVERWRITES: &str = "an object store that overwrites existing objects (it has no create-if-absent)";
/// A server with delayed listings.
const DELAYED_LISTINGS: &str = "an object store whose listings lack objects that were just written";

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

    /// Runs the test with a small object that was just created, unless it was run before. With a session, the
    /// test is postponed: a process that only reads creates nothing else, and needs no test.
    pub(super) fn probe_with(&self, area: ObjectKind, name: &str, payload: &PutPayload) -> Result<()> {
        if self.lacks.get().is_some() || payload.content_length() > MAX_PROBE {
            return Ok(());
        }
        let probe = StorageProbe { area, name: name.to_owned(), payload: payload.clone() };
        if area != ObjectKind::Sessions {
            return self.run_probe(&probe);
        }
        *self.pending_probe.lock() = Some(probe);
        Ok(())
    }

    /// Runs the test, if it is pending, before another object is created.
    pub(super) fn run_pending_probe(&self) -> Result<()> {
        let probe = if self.lacks.get().is_some() { None } else { self.pending_probe.lock().take() };
        probe.map_or(Ok(()), |probe| self.run_probe(&probe))
    }

    /// Cancels a pending test with an object that is removed.
    pub(super) fn cancel_probe(&self, area: ObjectKind, name: &str) {
        self.pending_probe.lock().take_if(|probe| probe.area == area && probe.name == name);
    }

    /// Tests with an object that this process has created: writing the same bytes under the same name must be
    /// rejected, and is harmless if it is not.
    fn run_probe(&self, probe: &StorageProbe) -> Result<()> {
        let StorageProbe { area, name, payload } = probe;
        let path = self.path(*area, name)?;
        let (again, _) = self.put(&path, &area.path(name), payload, PutMode::Create)?;
        let lacks = match again {
            CreateOutcome::New => Some(OVERWRITES),
            CreateOutcome::Exists => {
                let listed = self.list(*area)?.iter().any(|found| found.name == *name);
                (!listed).then_some(DELAYED_LISTINGS)
            }
        };
        let _ = self.lacks.set(lacks);
        Ok(())
    }

    /// Returns the guarantee that the server lacks. If nothing was written yet, writes an object and removes
    /// it.
    pub(super) fn missing_guarantee(&self) -> Result<Option<&'static str>> {
        self.run_pending_probe()?;
        if self.lacks.get().is_none() {
            let mut random = [0; 8];
            cipher::random(&mut random).map_err(Error::making("a name to try"))?;
            let name = format!("probe-{:016x}", u64::from_le_bytes(random));
            self.create(ObjectKind::Quarantine, &name, &[b"snap"])?;
            self.remove(ObjectKind::Quarantine, &name)?;
        }
        Ok(self.lacks.get().copied().flatten())
    }
}
