//! Rebuilds damaged packs from parity while they are read: each pack once, with one warning.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::codec::crypto::suite::CipherSuite;
use crate::codec::pack::Table;
use crate::error::{Error, Result};
use crate::model::decode_error::DecodeError;
use crate::model::id::PackId;
use crate::progress::Control;
use crate::repo::pack::packs;
use crate::repo::pack::parity::HealedPack;
use crate::storage::Storage;

/// Maximum bytes of rebuilt data that are kept, for the packs rebuilt last.
const KEPT_BYTES: usize = 64 << 20;

/// Rebuilds damaged data that reads encounter. Shared by all readers of a repository.
#[derive(Debug, Default)]
pub struct PackHealer(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// In the order of rebuilding, the most recent last.
    mended: Vec<(PackId, Arc<HealedPack>)>,
    /// Packs that cannot be rebuilt, and why, if they have a sidecar.
    hopeless: HashMap<PackId, Option<DecodeError>>,
}

impl PackHealer {
    /// Returns the rebuilt data of a damaged pack. `met` is the error that the caller encountered; only
    /// errors about stored data are handled.
    ///
    /// # Errors
    /// `met`, extended by the reason if the pack has a sidecar that does not help.
    pub(crate) fn heal(
        &self,
        storage: &dyn Storage,
        control: &Control<'static>,
        pack: &PackId,
        met: Error,
    ) -> Result<Arc<HealedPack>> {
        if !met.is_damage() || met.is_missing() {
            return Err(met);
        }
        // One at a time: each rebuild takes as much memory as the pack has bytes.
        let mut known = self.0.lock();
        if let Some((_, mended)) = known.mended.iter().find(|(id, _)| id == pack) {
            return Ok(Arc::clone(mended));
        }
        if let Some(why) = known.hopeless.get(pack) {
            return Err(with(met, why.clone()));
        }
        match HealedPack::rebuild(storage, pack) {
            Ok(mended) => {
                let mended = Arc::new(mended);
                known.keep(*pack, &mended);
                control.warn(format!(
                    "{}: the damaged bytes were rebuilt from parity for this run only; \
                     `Repository::repair_packs({})` repairs the pack",
                    met.chain(),
                    pack.short()
                ));
                Ok(mended)
            }
            Err(err) => {
                // A failed request may succeed later, damage stays.
                let is_final = err.is_damage() || err.is_newer();
                let why = match err {
                    Error::Damaged { source, .. } | Error::NeedsNewer { source, .. } => Some(source),
                    _ => None,
                };
                if is_final {
                    known.hopeless.insert(*pack, why.clone());
                }
                Err(with(met, why))
            }
        }
    }

    /// Returns a pack's table, rebuilt from parity if necessary, and whether it was rebuilt.
    ///
    /// # Errors
    /// When it is damaged and cannot be rebuilt, or cannot be read.
    pub(crate) fn read_table(
        &self,
        storage: &dyn Storage,
        control: &Control<'static>,
        suite: &CipherSuite,
        (pack, len): (&PackId, u64),
    ) -> Result<(Table, bool)> {
        let met = match packs::read_table(storage, suite, pack, len) {
            Ok(table) => return Ok((table, false)),
            Err(err) => err,
        };
        let mended = self.heal(storage, control, pack, met)?;
        let read = |at, out: &mut [u8]| mended.read(storage, at, out);
        Ok((packs::read_table_with(&read, suite, pack, mended.pack_len(), false)?, true))
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

/// Adds the reason why an existing sidecar does not help to the error of the damage.
fn with(met: Error, why: Option<DecodeError>) -> Error {
    match (met, why) {
        (Error::Damaged { what, source }, Some(why)) => Error::Damaged {
            what,
            source: DecodeError::with(format!("{source}; its parity cannot repair it: {why}")),
        },
        (met, _) => met,
    }
}
