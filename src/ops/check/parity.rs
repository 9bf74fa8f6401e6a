//! Checks whether packs have parity files and whether these are intact. A damaged parity file affects no
//! snapshot.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use crate::codec::pack::parity::Layout;
use crate::error::{Error, Result};
use crate::model::id::PackId;
use crate::ops::check::{Checker, Finding, Options, Remark};
use crate::repo::index::Index;
use crate::repo::pack::parity;
use crate::storage::ObjectKind;

impl Checker<'_> {
    /// Reports how many packs lack parity. Verifies existing parity files if packs are read as well.
    pub(super) fn check_parity(&mut self, index: &Index, options: &Options) -> Result<()> {
        let (storage, share) = (self.repo.storage(), self.repo.config().parity());
        let sidecars: HashMap<PackId, u64> = parity::list(storage)?.into_iter().collect();
        let repo_state = index.repo_state();
        let lacks = |(id, len): &&(PackId, u64)| {
            !sidecars.contains_key(id)
                && !repo_state.condemned.contains(id)
                && Layout::new(*id, *len, share).is_some()
        };
        let lacking = repo_state.packs.iter().filter(lacks).count();
        if lacking > 0 {
            let of = repo_state.packs.len();
            self.report.warnings.push(Remark::MissingParity { packs: lacking, of });
        }
        if !options.read_data {
            return Ok(());
        }
        for (id, len) in &repo_state.packs {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let Some(sidecar) = sidecars.get(id) else { continue };
            if let Some(finding) = finding_of(parity::verify(storage, (id, *len), *sidecar).map(|_| ()))? {
                self.error(finding);
            }
        }
        Ok(())
    }

    /// Reports packs that could be read only with their parity.
    pub(super) fn mended(&mut self, index: &Index) {
        for id in &index.healed {
            let source = crate::model::decode_error::DecodeError::because(
                "its tables can only be read with its parity",
            );
            self.pack_error(*id, &Error::Damaged { what: ObjectKind::Packs.path(&id.hex()), source });
        }
    }
}

/// Returns the finding about a parity file, if it is damaged.
///
/// # Errors
/// When the storage fails.
pub(super) fn finding_of(verified: Result<()>) -> Result<Option<Finding>> {
    match verified {
        Ok(()) => Ok(None),
        // Its pack was deleted by gc.
        Err(err) if err.is_missing() => Ok(None),
        Err(err) if err.is_damage() => Ok(Some(Finding::DamagedParity { message: err.chain() })),
        Err(err) => Err(err),
    }
}
