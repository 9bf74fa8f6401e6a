//! Verifies header bundles against the tables of the packs.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;

use crate::codec::crypto::hash::sha256;
use crate::codec::pack::Table;
use crate::error::{Error, Result};
use crate::model::id::PackId;
use crate::repo::pack::header_bundles::{describe, open_all};
use crate::repo::repository::Repository;
use crate::storage::ObjectKind;

/// The tables in all header bundles, by hash.
#[derive(Debug, Default)]
pub struct BundleVerifier {
    claims: HashMap<PackId, Vec<Claim>>,
    wrong: Mutex<BTreeMap<String, String>>,
}

#[derive(Debug)]
struct Claim {
    bundle: String,
    pack_len: u64,
    table_hash: [u8; 32],
}

impl BundleVerifier {
    /// Reads all header bundles. Those that cannot be read are reported as wrong.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn of(repo: &Repository) -> Result<Self> {
        let mut verifier = Self::default();
        for (name, opened) in open_all(repo)? {
            match opened.and_then(|bundle| bundle.tables(repo, |_| true)) {
                Ok(tables) => {
                    for (part, table) in &tables {
                        let table_hash = table_hash(table)?;
                        let claim = Claim { bundle: name.clone(), pack_len: part.pack_len, table_hash };
                        verifier.claims.entry(part.pack).or_default().push(claim);
                    }
                }
                Err(err) if err.is_missing() => {}
                Err(err) if err.is_newer() => return Err(err),
                Err(err) => verifier.report(&name, describe(&name, &err)),
            }
        }
        Ok(verifier)
    }

    fn report(&self, bundle: &str, why: String) {
        let mut wrong = self.wrong.lock();
        wrong.entry(bundle.to_owned()).or_insert(why);
    }

    /// Compares the bundles' copies with a pack's own table.
    ///
    /// # Errors
    /// A bug.
    pub fn compare(&self, pack: &PackId, len: u64, table: &Table) -> Result<()> {
        let Some(claims) = self.claims.get(pack) else { return Ok(()) };
        let own = table_hash(table)?;
        for claim in claims.iter().filter(|claim| claim.pack_len != len || claim.table_hash != own) {
            let path = ObjectKind::Index.path(&claim.bundle);
            self.report(&claim.bundle, format!("{path} contradicts pack {}", pack.short()));
        }
        Ok(())
    }

    /// Returns the wrong header bundles and what is wrong with each.
    pub fn wrong(self) -> BTreeMap<String, String> {
        self.wrong.into_inner()
    }
}

fn table_hash(table: &Table) -> Result<[u8; 32]> {
    let rule = |_| Error::Bug { what: "a decoded table can be encoded" };
    table.to_cached().map(|bytes| sha256(&bytes)).map_err(rule)
}
