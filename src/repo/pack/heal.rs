//! Readers and damaged packs: what they come upon is rebuilt from its parity, each pack once, and said once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::codec::crypto::cipher::CipherSuite;
use crate::codec::pack::Table;
use crate::error::{Error, Result};
use crate::model::decode_error::DecodeError;
use crate::model::id::PackId;
use crate::repo::pack::packs;
use crate::repo::pack::parity::HealedPack;
use crate::repo::repository::Warnings;
use crate::storage::Storage;

/// Rebuilt bytes that are kept, of the packs that were rebuilt last.
const KEPT_BYTES: usize = 64 << 20;

/// Rebuilds what reads come upon. All readers of a repository share one.
#[derive(Debug, Default)]
pub struct PackHealer(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The last one was rebuilt last.
    mended: Vec<(PackId, Arc<HealedPack>)>,
    /// Packs for which there is no help, and why, if they have a sidecar.
    hopeless: HashMap<PackId, Option<DecodeError>>,
}

impl PackHealer {
    /// What was rebuilt of a damaged pack; where that cannot be, the error that was met, and why it cannot be. The caller
    /// has met `met`; other errors than of what is stored there are no case for this.
    ///
    /// # Errors
    /// `met`.
    pub(crate) fn heal(
        &self,
        storage: &dyn Storage,
        warnings: &Warnings,
        pack: &PackId,
        met: Error,
    ) -> Result<Arc<HealedPack>> {
        if !met.is_damage() || met.is_missing() {
            return Err(met);
        }
        // One at a time: each takes as much memory as the pack has bytes.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, mended)) = known.mended.iter().find(|(id, _)| id == pack) {
            return Ok(Arc::clone(mended));
        }
        if let Some(why) = known.hopeless.get(pack) {
            return Err(with(met, why.clone()));
        }
        match HealedPack::of(storage, pack) {
            Ok(mended) => {
                let mended = Arc::new(mended);
                known.keep(*pack, &mended);
                warnings.add(format!(
                    "{}: what is damaged was rebuilt from its parity for this run; `snap repair packs {}` saves it for good",
                    met.chain(),
                    pack.short()
                ));
                Ok(mended)
            }
            Err(err) => {
                // What the store refused now it may give later.
                let is_final = err.is_damage();
                let why = if let Error::Damaged { source, .. } = err { Some(source) } else { None };
                if is_final {
                    known.hopeless.insert(*pack, why.clone());
                }
                Err(with(met, why))
            }
        }
    }

    /// A pack's table, rebuilt if there is no other way.
    ///
    /// # Errors
    /// When it is damaged and cannot be rebuilt, or cannot be read. True: it was rebuilt.
    pub(crate) fn table(
        &self,
        storage: &dyn Storage,
        warnings: &Warnings,
        suite: &CipherSuite,
        (pack, len): (&PackId, u64),
    ) -> Result<(Table, bool)> {
        let met = match packs::read_table(storage, suite, pack, len) {
            Ok(table) => return Ok((table, false)),
            Err(err) => err,
        };
        let mended = self.heal(storage, warnings, pack, met)?;
        let read = |at, out: &mut [u8]| mended.read(storage, at, out);
        Ok((packs::table_by(&read, suite, pack, mended.pack_len(), false)?, true))
    }
}

impl Known {
    fn keep(&mut self, pack: PackId, mended: &Arc<HealedPack>) {
        self.mended.push((pack, Arc::clone(mended)));
        while self.mended.len() > 1
            && self.mended.iter().map(|(_, mended)| mended.bytes()).sum::<usize>() > KEPT_BYTES
        {
            self.mended.remove(0);
        }
    }
}

/// Damage for which there is a sidecar that does not help.
fn with(met: Error, why: Option<DecodeError>) -> Error {
    match (met, why) {
        (Error::Damaged { what, source }, Some(why)) => Error::Damaged {
            what,
            source: DecodeError::with(format!("{source}, and its parity cannot help: {why}")),
        },
        (met, _) => met,
    }
}
