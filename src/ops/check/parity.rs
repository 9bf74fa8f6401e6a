//! Sidecars: whether packs have theirs, and whether these are what was written. What is wrong with one touches no file.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use crate::codec::pack::parity::Layout;
use crate::error::{Error, Result};
use crate::model::id::PackId;
use crate::ops::check::{Checker, Options, Subject};
use crate::repo::index::Index;
use crate::repo::pack::parity;
use crate::storage::ObjectKind;

impl Checker<'_> {
    /// Says how many packs lack theirs. Reads those that are there, where packs are read.
    pub(super) fn parity(&mut self, index: &Index, options: &Options) -> Result<()> {
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
            self.report.warnings.push(format!(
                "parity is missing for {lacking} of {} packs: the next `snap gc` writes some of it, `snap repair parity` all",
                repo_state.packs.len()
            ));
        }
        if !options.read_data {
            return Ok(());
        }
        for (id, len) in &repo_state.packs {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let Some(sidecar) = sidecars.get(id) else { continue };
            if let Some(wrong) = wrong(parity::verify(storage, (id, *len), *sidecar).map(|_| ()))? {
                self.error(Subject::Parity, wrong);
            }
        }
        Ok(())
    }

    /// Packs that could be read only with the help of their parity.
    pub(super) fn mended(&mut self, index: &Index) {
        for id in &index.mended {
            let source = crate::model::decode_error::DecodeError::because(
                "neither of its tables can be read without its parity",
            );
            self.pack_error(*id, &Error::Damaged { what: ObjectKind::Packs.path(&id.hex()), source });
        }
    }
}

/// What is to be told of a sidecar, and what to do about it.
///
/// # Errors
/// When the store fails.
pub(super) fn wrong(verified: Result<()>) -> Result<Option<String>> {
    match verified {
        Ok(()) => Ok(None),
        // Its pack was collected.
        Err(err) if err.is_missing() => Ok(None),
        Err(err) if err.is_damage() => {
            Ok(Some(format!("{}: no file is touched; `snap repair parity` writes it anew", err.chain())))
        }
        Err(err) => Err(err),
    }
}
