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
    /// The most recently rebuilt last.
    healed: Vec<(PackId, Arc<HealedPack>)>,
    /// Packs that cannot be rebuilt; with the reason, if they have a sidecar.
    unrepairable: HashMap<PackId, Option<DecodeError>>,
}

impl PackHealer {
    /// Returns the rebuilt data of a damaged pack. `cause` is the error of the read that found the damage;
    /// other errors are returned unchanged.
    ///
    /// # Errors
    /// `cause`, with the reason added if the pack has a sidecar that does not help.
    pub(crate) fn heal(
        &self,
        storage: &dyn Storage,
        control: &Control<'static>,
        pack: &PackId,
        cause: Error,
    ) -> Result<Arc<HealedPack>> {
        if !cause.is_damage() || cause.is_missing() {
            return Err(cause);
        }
        // One at a time: each rebuild takes as much memory as the pack has bytes.
        let mut known = self.0.lock();
        if let Some((_, healed)) = known.healed.iter().find(|(id, _)| id == pack) {
            return Ok(Arc::clone(healed));
        }
        if let Some(why) = known.unrepairable.get(pack) {
            return Err(with_reason(cause, why.clone()));
        }
        match HealedPack::rebuild(storage, pack) {
            Ok(healed) => {
                let healed = Arc::new(healed);
                known.cache(*pack, &healed);
                control.warn(format!(
                    "{}: the damaged bytes were rebuilt from parity for this run only; \
                     `Repository::repair_packs({})` repairs the pack",
                    cause.chain(),
                    pack.short()
                ));
                Ok(healed)
            }
            Err(err) => {
                // A failed request may succeed later. Damage is permanent.
                let is_final = err.is_damage() || err.is_newer();
                let why = match err {
                    Error::Damaged { source, .. } | Error::NeedsNewer { source, .. } => Some(source),
                    _ => None,
                };
                if is_final {
                    known.unrepairable.insert(*pack, why.clone());
                }
                Err(with_reason(cause, why))
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
        let cause = match packs::read_table(storage, suite, pack, len) {
            Ok(table) => return Ok((table, false)),
            Err(err) => err,
        };
        let healed = self.heal(storage, control, pack, cause)?;
        let read = |at, out: &mut [u8]| healed.read(storage, at, out);
        Ok((packs::read_table_with(&read, suite, pack, healed.pack_len(), false)?, true))
    }
}

impl Known {
    fn cache(&mut self, pack: PackId, healed: &Arc<HealedPack>) {
        self.healed.push((pack, Arc::clone(healed)));
        while self.healed.len() > 1
            && self.healed.iter().map(|(_, healed)| healed.bytes()).sum::<usize>() > KEPT_BYTES
        {
            self.healed.remove(0);
        }
    }
}

/// Adds the reason why an existing sidecar does not help to the error of the damage.
fn with_reason(cause: Error, why: Option<DecodeError>) -> Error {
    match (cause, why) {
        (Error::Damaged { what, source }, Some(why)) => Error::Damaged {
            what,
            source: DecodeError::with(format!("{source}; its parity cannot repair it: {why}")),
        },
        (cause, _) => cause,
    }
}
