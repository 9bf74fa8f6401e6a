//! What a server promises is tried, not believed: whether a name that is taken is refused, and whether a listing holds
//! what was just written.

use object_store::PutMode;
use object_store::PutPayload;
use object_store::path::Path;

use crate::error::Result;
use crate::store::cloud::CloudStorage;
use crate::store::storage::Area;
use crate::store::storage::Created;
use crate::store::storage::Storage;

/// Larger objects are not written twice only to see whether the second time is refused.
const MOST_TRIED: usize = 64 << 10;

/// A server that lets the last of several writers win.
const OVERWRITES: &str = "an object store that overwrites what should stand (no create-if-absent)";
/// A server whose listings come late.
const LATE: &str = "an object store whose listings lack what was just written";

impl CloudStorage {
    /// Whether a second writer of a name may have won, as far as is known.
    pub(super) fn overwrites(&self) -> bool {
        self.lacks.get().is_some_and(|lacks| *lacks == Some(OVERWRITES))
    }

    /// With an object that this process has just created: the same bytes under the same name must be refused, and do no
    /// harm where they are not.
    pub(super) fn probe(&self, area: Area, name: &str, path: &Path, payload: &PutPayload) -> Result<()> {
        if self.lacks.get().is_some() || payload.content_length() > MOST_TRIED {
            return Ok(());
        }
        let (again, _) = self.put(path, &area.path(name), payload, PutMode::Create)?;
        let lacks = match again {
            Created::New => Some(OVERWRITES),
            Created::Exists => {
                let listed = self.list(area)?.iter().any(|found| found.name == name);
                (!listed).then_some(LATE)
            }
        };
        let _ = self.lacks.set(lacks);
        Ok(())
    }

    /// What the server lacks. Where nothing was written yet, something is, and removed again.
    pub(super) fn lacks(&self) -> Result<Option<&'static str>> {
        if self.lacks.get().is_none() {
            let mut lot = [0; 8];
            let random = crate::codec::cipher::random(&mut lot);
            random.map_err(crate::error::Error::damaged("a name to try"))?;
            let name = format!("probe-{:016x}", u64::from_le_bytes(lot));
            self.create(Area::Quarantine, &name, &[b"snap"])?;
            self.remove(Area::Quarantine, &name)?;
        }
        Ok(self.lacks.get().copied().flatten())
    }
}
