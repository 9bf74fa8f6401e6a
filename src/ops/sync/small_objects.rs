//! Copies small objects: keys, configurations, manifests, parity files, audit records. Names do not suffice
//! to compare them, since an object in the destination may be truncated, or be a fence. Keys and
//! configurations are always read and verified, manifests are compared byte by byte if their lengths differ
//! or the destination is not remote, and parity files by their lengths. An object is replaced only if the
//! source's is intact.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use crate::codec::crypto::sealed_object;
use crate::error::{Error, Result};
use crate::model::config::{Config, Role, SlotEntry};
use crate::model::id::PackId;
use crate::ops::sync::{ExistingObject, Run};
use crate::repo::pack::parity;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::RepoState;
use crate::repo::{config, keys, snapshots};
use crate::storage::{CreateOutcome, Listed, ObjectKind, Storage, names};

impl Run<'_> {
    /// Copies key slots. The name of a slot is derived from its content, so one that does not match is
    /// damaged.
    pub(super) fn copy_keys(&mut self, to: &dyn Storage) -> Result<()> {
        let in_destination: HashMap<String, bool> =
            keys::list_slots(to)?.into_iter().map(|(name, slot)| (name, slot.is_ok())).collect();
        for (name, slot) in keys::list_slots(self.from.storage())? {
            match (slot, in_destination.get(&name)) {
                (_, Some(true)) => {}
                (Ok((_, bytes)), found) => self.put(to, ObjectKind::Keys, &name, &bytes, found.is_some())?,
                (Err(err), _) => self.record_source_damage(ObjectKind::Keys, &name, err)?,
            }
        }
        Ok(())
    }

    /// Copies generations of the configuration. If both repositories have an intact one of the same number,
    /// each keeps its own.
    pub(super) fn copy_configurations(&mut self, to: &dyn Storage) -> Result<()> {
        let in_destination: HashSet<String> =
            names::list(to, ObjectKind::Config)?.into_iter().map(|found| found.name).collect();
        for found in self.from.storage().list(ObjectKind::Config)? {
            let name = &found.name;
            let read_intact = |storage: &dyn Storage| {
                let bytes = storage.read(ObjectKind::Config, name, sealed_object::MAX_OBJECT)?;
                self.from.is_its_config(name, &bytes).map(|()| bytes)
            };
            let exists = in_destination.contains(name);
            if exists && read_intact(to).map_or_else(keep_unless_damaged, |_| Ok(true))? {
                continue;
            }
            match read_intact(self.from.storage()) {
                Ok(bytes) => self.put(to, ObjectKind::Config, name, &bytes, exists)?,
                Err(err) => self.record_source_damage(ObjectKind::Config, name, err)?,
            }
        }
        Ok(())
    }

    /// Adds the slots and the epoch of the source to the configuration of the destination: that may have a
    /// higher number than the one that was copied. Slots that only the destination has stay valid.
    pub(super) fn merge_slots(&mut self, to: &dyn Storage) -> Result<()> {
        if !self.from.config().is_encrypted() {
            return Ok(());
        }
        let keyring = self.from.keyring();
        let source = match self.from.current_config() {
            // The source's configuration was damaged after this run had read it.
            Err(err) if err.is_damage() => self.from.config().clone(),
            other => other?,
        };
        let destination = config::current(to, keyring)?;
        let is_listed = |entry: &SlotEntry| destination.slots.iter().any(|other| other.id == entry.id);
        let retired = destination.retired();
        let all_retired = source.retired().iter().all(|writer| retired.contains(writer));
        if destination.epoch >= source.epoch && source.slots.iter().all(is_listed) && all_retired {
            return Ok(());
        }
        let merge = |config: &mut Config| {
            let mut slots = source.slots.clone();
            for entry in &config.slots {
                if !slots.iter().any(|other| other.id == entry.id) {
                    let role = Role::from_byte(entry.role).ok_or_else(|| keys::unknown_kind(&entry.id))?;
                    let sealed = keyring.seal_to(&config.repo, entry.id, entry.public, role);
                    slots.push(sealed.map_err(Error::making("a key slot's keys"))?);
                }
            }
            (config.epoch, config.slots) = (source.epoch, slots);
            config.handovers.clone_from(&source.handovers);
            config.adopt_writers(&source);
            Ok(true)
        };
        config::change_slots(to, keyring, keyring, &merge).map(drop)
    }

    /// Replaces damaged configurations of the destination before it is opened, if it has a key, a manifest or
    /// a pack with the same name as in the source. These names are random or hashes, so it is then a copy.
    pub(super) fn restore_configurations(&mut self, to: &dyn Storage) -> Result<()> {
        let mut damaged = false;
        for found in names::list(to, ObjectKind::Config)? {
            let read = to.read(ObjectKind::Config, &found.name, sealed_object::MAX_OBJECT);
            match read.and_then(|bytes| self.from.is_its_config(&found.name, &bytes)) {
                Err(err) if err.is_damage() => damaged = true,
                other => other?,
            }
        }
        if damaged && self.is_copy(to)? { self.copy_configurations(to) } else { Ok(()) }
    }

    fn is_copy(&self, to: &dyn Storage) -> Result<bool> {
        for kind in [ObjectKind::Snapshots, ObjectKind::Keys, ObjectKind::Packs] {
            let in_source: HashSet<String> =
                self.from.storage().list(kind)?.into_iter().map(|found| found.name).collect();
            if names::list(to, kind)?.iter().any(|found| in_source.contains(&found.name)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns manifests that the destination lacks, or has with different bytes.
    pub(super) fn missing_manifests(
        &mut self,
        to: Option<&dyn Storage>,
    ) -> Result<Vec<(Listed, Option<ExistingObject>)>> {
        let listed = to.map_or_else(|| Ok(Vec::new()), |to| to.list(ObjectKind::Snapshots))?;
        let in_destination: HashMap<&str, u64> =
            listed.iter().map(|found| (found.name.as_str(), found.len)).collect();
        let mut missing = Vec::new();
        for found in self.from.storage().list(ObjectKind::Snapshots)? {
            let len = in_destination.get(found.name.as_str()).copied();
            let Some((to, len)) = to.zip(len) else {
                if self.read_manifest(&found.name)?.is_some() {
                    missing.push((found, None));
                }
                continue;
            };
            if len == found.len && to.is_remote() {
                continue;
            }
            let Some(in_source) = self.read_manifest(&found.name)? else { continue };
            let in_destination = match to.read(ObjectKind::Snapshots, &found.name, sealed_object::MAX_OBJECT)
            {
                // It is too long for a manifest, or cannot be read.
                Err(err) if err.is_damage() && !err.is_missing() => Vec::new(),
                Err(err) if err.is_missing() => continue,
                read => read?,
            };
            if in_destination != in_source {
                let is_fence = in_destination.starts_with(&sealed_object::FENCE);
                missing.push((
                    found,
                    Some(if is_fence { ExistingObject::Fence } else { ExistingObject::Other }),
                ));
            }
        }
        Ok(missing)
    }

    /// Reads a manifest of the source. Returns `None` if it is a fence, was forgotten in the meantime, or is
    /// damaged, which is recorded.
    fn read_manifest(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let bytes = match self.from.storage().read(ObjectKind::Snapshots, name, sealed_object::MAX_OBJECT) {
            Err(err) if err.is_missing() => return Ok(None),
            Err(err) => return self.record_source_damage(ObjectKind::Snapshots, name, err).map(|()| None),
            Ok(bytes) if bytes.starts_with(&sealed_object::FENCE) => return Ok(None),
            Ok(bytes) => bytes,
        };
        match snapshots::verify_bytes(self.from, name, bytes.clone()) {
            Ok(()) => Ok(Some(bytes)),
            // A manifest in a newer format cannot be verified, and is copied as it is.
            Err(err) if err.is_newer() => Ok(Some(bytes)),
            Err(err) => self.record_source_damage(ObjectKind::Snapshots, name, err).map(|()| None),
        }
    }

    pub(super) fn copy_manifests(
        &mut self,
        to: &Repository,
        missing: &[(Listed, Option<ExistingObject>)],
    ) -> Result<()> {
        for (found, existing) in missing {
            let Some(bytes) = self.read_manifest(&found.name)? else { continue };
            let (storage, name) = (to.storage(), &found.name);
            match existing {
                None => {
                    if storage.create(ObjectKind::Snapshots, name, &[&bytes])? == CreateOutcome::Exists {
                        continue;
                    }
                }
                Some(ExistingObject::Fence) => {
                    storage.remove(ObjectKind::Snapshots, name)?;
                    storage.create(ObjectKind::Snapshots, name, &[&bytes])?;
                }
                Some(ExistingObject::Other) => {
                    self.put(storage, ObjectKind::Snapshots, name, &bytes, true)?
                }
            }
            to.cache().note(&ObjectKind::Snapshots.path(name), true);
            if *existing != Some(ExistingObject::Other) {
                self.report.snapshots += 1;
            }
        }
        Ok(())
    }

    /// Copies parity files of packs that the destination has; gc there would remove others. A file of a
    /// different length is replaced if the source's is intact.
    pub(super) fn copy_parity(&mut self, to: &Repository) -> Result<()> {
        let (from, stop) = (self.from.storage(), self.stop);
        let sidecars = parity::list(from)?;
        if sidecars.is_empty() {
            return Ok(());
        }
        let in_destination: HashMap<PackId, u64> = parity::list(to.storage())?.into_iter().collect();
        let packs: HashMap<PackId, u64> = RepoState::packs(to.storage())?.into_iter().collect();
        for (id, len) in &sidecars {
            let Some(pack_len) = packs.get(id) else { continue };
            if in_destination.get(id) == Some(len) {
                continue;
            }
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let exists = in_destination.contains_key(id);
            let read = if exists { parity::verify(from, (id, *pack_len), *len).map(drop) } else { Ok(()) };
            match read.and_then(|()| from.read(ObjectKind::Parity, &id.hex(), *len)) {
                Ok(bytes) => {
                    if exists {
                        to.storage().remove(ObjectKind::Parity, &id.hex())?;
                        self.report.objects_healed += 1;
                    }
                    to.storage().create(ObjectKind::Parity, &id.hex(), &[&bytes]).map(drop)?;
                }
                // The source's parity is damaged. gc or `repair parity` writes it again in each repository.
                Err(err) if err.is_damage() => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    /// Copies audit records, which explain why snapshots are missing.
    pub(super) fn copy_audit_records(&mut self, to: &Repository) -> Result<()> {
        let in_destination: HashSet<String> =
            to.storage().list(ObjectKind::Audit)?.into_iter().map(|found| found.name).collect();
        let mut in_source = names::list(self.from.storage(), ObjectKind::Audit)?;
        // The destination orders them by their time of creation there, so they are copied in order.
        in_source.sort_by(|a, b| (a.modified, &a.name).cmp(&(b.modified, &b.name)));
        for found in in_source.iter().filter(|found| !in_destination.contains(&found.name)) {
            match self.from.storage().read(ObjectKind::Audit, &found.name, sealed_object::MAX_OBJECT) {
                Ok(bytes) => self.put(to.storage(), ObjectKind::Audit, &found.name, &bytes, false)?,
                Err(err) => self.record_source_damage(ObjectKind::Audit, &found.name, err)?,
            }
        }
        Ok(())
    }

    /// Writes an object to the destination. If one of the same name `exists`, it is damaged and is first
    /// moved to quarantine.
    fn put(
        &mut self,
        to: &dyn Storage,
        kind: ObjectKind,
        name: &str,
        bytes: &[u8],
        exists: bool,
    ) -> Result<()> {
        if exists {
            match to.move_to((kind, name), (ObjectKind::Quarantine, name)) {
                // The quarantine already has an object of this name.
                Ok(CreateOutcome::Exists) => to.remove(kind, name)?,
                Ok(CreateOutcome::New) => {}
                Err(err) if err.is_missing() => {}
                // Some storages move by copying, which fails if the object cannot be read.
                Err(err) if err.is_damage() => to.remove(kind, name)?,
                Err(err) => return Err(err),
            }
            self.report.objects_healed += 1;
        }
        to.create(kind, name, &[bytes]).map(drop)
    }

    /// Records an object that is damaged in the source and is not copied. Other errors are returned.
    fn record_source_damage(&mut self, kind: ObjectKind, name: &str, err: Error) -> Result<()> {
        if err.is_missing() {
            return Ok(());
        }
        if !err.is_damage() {
            return Err(err);
        }
        let what = kind.path(name);
        if self.report.objects_damaged.iter().all(|(other, _)| *other != what) {
            self.report.objects_damaged.push((what, err));
        }
        Ok(())
    }
}

/// Returns false if the error is damage, so that the object is replaced; otherwise returns the error.
fn keep_unless_damaged(err: Error) -> Result<bool> {
    if err.is_damage() { Ok(false) } else { Err(err) }
}
