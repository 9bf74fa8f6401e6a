//! Receipts: a backup prints one to be kept elsewhere, so that another machine can detect later whether the
//! repository was rolled back to an older state.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::id::{SnapshotId, hex};
use crate::repo::repository::Repository;
use crate::repo::{audit, snapshots};

/// A receipt. It contains no secrets or keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Id of the repository.
    pub repository: String,
    /// Generation of its configuration.
    pub generation: u32,
    /// Epoch of its key.
    pub epoch: u32,
    /// Id of the snapshot.
    pub snapshot: String,
    /// Its number within its set.
    pub number: u64,
    /// Head of the set's hash chain, including this snapshot.
    pub chain: String,
    /// Start time of the snapshot in seconds since 1970.
    pub time: i64,
    /// Host of the set.
    pub host: String,
}

/// Returns the receipt of a snapshot.
///
/// # Errors
/// When the snapshot cannot be read, or was made by a version that does not number snapshots.
pub fn for_snapshot(repo: &Repository, id: &SnapshotId) -> Result<Receipt> {
    let gone = || Error::Missing { what: format!("snapshot {}", id.short()) };
    let snapshot = snapshots::load(repo, &id.hex())?.ok_or_else(gone)?;
    let lineage = snapshot.manifest.lineage();
    let lineage = lineage.ok_or_else(|| {
        Error::Refused(
            "the snapshot has no position in the history of its \
                                                        set"
            .into(),
        )
    })?;
    let config = repo.config();
    Ok(Receipt {
        repository: config.repo.hex(),
        generation: config.generation,
        epoch: config.epoch,
        snapshot: id.hex(),
        number: lineage.number,
        chain: hex(&lineage.chain),
        time: snapshot.manifest.started.sec,
        host: snapshot.manifest.host,
    })
}

/// Returns how the repository differs from the receipt; empty if it is as new or newer.
///
/// # Errors
/// When the storage fails, or the receipt belongs to another repository.
pub fn differences(repo: &Repository, receipt: &Receipt) -> Result<Vec<String>> {
    let config = repo.config();
    if receipt.repository != config.repo.hex() {
        return Err(Error::Usage(format!(
            "the receipt belongs to repository {}, but the repository at {} is {}",
            receipt.repository.chars().take(8).collect::<String>(),
            repo.location(),
            config.repo.short()
        )));
    }
    let mut all = Vec::new();
    if config.generation < receipt.generation {
        all.push(format!(
            "its newest intact configuration is config/{}, but the receipt records config/{}",
            config.generation, receipt.generation
        ));
    }
    if config.epoch < receipt.epoch {
        all.push(format!(
            "the newest epoch of its key is {}, but the receipt records {}",
            config.epoch, receipt.epoch
        ));
    }
    let id = SnapshotId::parse(&receipt.snapshot)
        .map_err(|_| Error::Usage("the receipt has no snapshot id".into()))?;
    let at = jiff::Timestamp::new(receipt.time, 0).map(|at| at.to_string()).unwrap_or_default();
    let what = format!("snapshot {} of {at} ({})", id.short(), receipt.host);
    let found = snapshots::list(repo)?.into_iter().find(|one| one.id == id);
    match found.map(|one| one.manifest.lineage()) {
        Some(Some(lineage)) if lineage.number == receipt.number && hex(&lineage.chain) == receipt.chain => {}
        Some(_) => all.push(format!("{what} is not the snapshot of the receipt")),
        None if audit::explains(repo, &id)? => {}
        None => all.push(format!("{what} is gone, and no audit record names who forgot it")),
    }
    Ok(all)
}

/// Parses a receipt.
///
/// # Errors
/// The text is not a receipt.
pub fn parse(text: &str) -> Result<Receipt> {
    serde_json::from_str(text).map_err(|why| Error::Usage(format!("this is not a receipt: {why}")))
}

/// Serializes a receipt.
///
/// # Errors
/// Serialization fails, which does not happen for this type.
pub fn text(receipt: &Receipt) -> Result<String> {
    serde_json::to_string_pretty(receipt)
        .map(|text| text + "\n")
        .map_err(|_| Error::Bug { what: "a receipt can be encoded as text" })
}
