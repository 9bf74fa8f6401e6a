//! Syncs small objects: keys, configurations, manifests, parity files. Equal names do not suffice: an object
//! in the destination may be truncated, or be a fence. Lengths are always compared. Bytes are compared where
//! reading them costs no network request, and always for keys and configurations. An object that differs is
//! replaced only if the source's is intact.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use crate::codec::crypto::sealed_object;
use crate::error::{Error, Result};
use crate::model::config::{Config, Role, SlotEntry};
use crate::model::id::PackId;
use crate::ops::sync::{InPlace, Run};
use crate::repo::pack::parity;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::RepoState;
use crate::repo::{config, keys, snapshots};
use crate::storage::{CreateOutcome, Listed, ObjectKind, Storage, names};

impl Run<'_> {
    /// Copies key slots. A slot is named by its content, so one that does not match its name is damaged.
    pub(super) fn keys(&mut self, to: &dyn Storage) -> Result<()> {
        let there: HashMap<String, bool> =
            keys::list_slots(to)?.into_iter().map(|(name, slot)| (name, slot.is_ok())).collect();
        for (name, slot) in keys::list_slots(self.from.storage())? {
            match (slot, there.get(&name)) {
                (_, Some(true)) => {}
                (Ok((_, bytes)), found) => self.put(to, ObjectKind::Keys, &name, &bytes, found.is_some())?,
                (Err(err), _) => self.damaged_here(ObjectKind::Keys, &name, err)?,
            }
        }
        Ok(())
    }

    /// Copies generations of the configuration. If both repositories have an intact one of the same number,
    /// each keeps its own.
    pub(super) fn configurations(&mut self, to: &dyn Storage) -> Result<()> {
        let there: HashSet<String> =
            names::list(to, ObjectKind::Config)?.into_iter().map(|found| found.name).collect();
        for found in self.from.storage().list(ObjectKind::Config)? {
            let name = &found.name;
            let whole = |storage: &dyn Storage| {
                let bytes = storage.read(ObjectKind::Config, name, sealed_object::MAX_OBJECT)?;
                self.from.is_its_config(name, &bytes).map(|()| bytes)
            };
            let stands = there.contains(name);
            if stands && whole(to).map_or_else(keep_unless_damaged, |_| Ok(true))? {
                continue;
            }
            match whole(self.from.storage()) {
                Ok(bytes) => self.put(to, ObjectKind::Config, name, &bytes, stands)?,
                Err(err) => self.damaged_here(ObjectKind::Config, name, err)?,
            }
        }
        Ok(())
    }

    /// Makes the slots and the epoch of the source valid in the destination, whose own configuration may have
    /// the highest number. Its own slots stay valid.
    pub(super) fn slot_list(&mut self, to: &dyn Storage) -> Result<()> {
        if !self.from.config().is_encrypted() {
            return Ok(());
        }
        let keyring = self.from.keyring();
        let ours = match self.from.current_config() {
            // The source has lost its last intact configuration since this run started.
            Err(err) if err.is_damage() => self.from.config().clone(),
            other => other?,
        };
        let there = config::current(to, keyring)?;
        let lists = |entry: &SlotEntry| there.slots.iter().any(|other| other.id == entry.id);
        let retired = there.retired();
        let knows = ours.retired().iter().all(|writer| retired.contains(writer));
        if there.epoch >= ours.epoch && ours.slots.iter().all(lists) && knows {
            return Ok(());
        }
        let adopt = |config: &mut Config| {
            let mut slots = ours.slots.clone();
            for entry in &config.slots {
                if !slots.iter().any(|other| other.id == entry.id) {
                    let role = Role::from_byte(entry.role).ok_or_else(|| keys::unknown_kind(&entry.id))?;
                    let sealed = keyring.seal_to(&config.repo, entry.id, entry.public, role);
                    slots.push(sealed.map_err(Error::making("a key slot's keys"))?);
                }
            }
            (config.epoch, config.slots) = (ours.epoch, slots);
            config.handovers.clone_from(&ours.handovers);
            config.adopt_writers(&ours);
            Ok(true)
        };
        config::change_slots(to, keyring, keyring, &adopt).map(drop)
    }

    /// Replaces damaged configurations in the destination before they are needed. Requires other evidence
    /// that the destination is a copy: a key, a manifest or a pack with the same name as in the source, as
    /// these names are random.
    pub(super) fn restore_configurations(&mut self, to: &dyn Storage) -> Result<()> {
        let mut damaged = false;
        for found in names::list(to, ObjectKind::Config)? {
            let read = to.read(ObjectKind::Config, &found.name, sealed_object::MAX_OBJECT);
            match read.and_then(|bytes| self.from.is_its_config(&found.name, &bytes)) {
                Err(err) if err.is_damage() => damaged = true,
                other => other?,
            }
        }
        if damaged && self.is_copy(to)? { self.configurations(to) } else { Ok(()) }
    }

    fn is_copy(&self, to: &dyn Storage) -> Result<bool> {
        for area in [ObjectKind::Snapshots, ObjectKind::Keys, ObjectKind::Packs] {
            let here: HashSet<String> =
                self.from.storage().list(area)?.into_iter().map(|found| found.name).collect();
            if names::list(to, area)?.iter().any(|found| here.contains(&found.name)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns manifests that the destination lacks, or has with different bytes.
    pub(super) fn lacking_manifests(
        &mut self,
        to: Option<&dyn Storage>,
    ) -> Result<Vec<(Listed, Option<InPlace>)>> {
        let listed = to.map_or_else(|| Ok(Vec::new()), |to| to.list(ObjectKind::Snapshots))?;
        let there: HashMap<&str, u64> = listed.iter().map(|found| (found.name.as_str(), found.len)).collect();
        let mut lacking = Vec::new();
        for found in self.from.storage().list(ObjectKind::Snapshots)? {
            let len = there.get(found.name.as_str()).copied();
            let Some((to, len)) = to.zip(len) else {
                if self.manifest(&found.name)?.is_some() {
                    lacking.push((found, None));
                }
                continue;
            };
            if len == found.len && to.is_remote() {
                continue;
            }
            let Some(here) = self.manifest(&found.name)? else { continue };
            let there = match to.read(ObjectKind::Snapshots, &found.name, sealed_object::MAX_OBJECT) {
                // Too long to be a manifest, or unreadable.
                Err(err) if err.is_damage() && !err.is_missing() => Vec::new(),
                Err(err) if err.is_missing() => continue,
                read => read?,
            };
            if there != here {
                let is_fence = there.starts_with(&sealed_object::FENCE);
                lacking.push((found, Some(if is_fence { InPlace::Fence } else { InPlace::Other })));
            }
        }
        Ok(lacking)
    }

    /// Reads a manifest of the source. Returns `None` for a fence, a manifest that was forgotten in the
    /// meantime, or a damaged one, which is recorded.
    fn manifest(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let bytes = match self.from.storage().read(ObjectKind::Snapshots, name, sealed_object::MAX_OBJECT) {
            Err(err) if err.is_missing() => return Ok(None),
            Err(err) => return self.damaged_here(ObjectKind::Snapshots, name, err).map(|()| None),
            Ok(bytes) if bytes.starts_with(&sealed_object::FENCE) => return Ok(None),
            Ok(bytes) => bytes,
        };
        match snapshots::verify_bytes(self.from, name, bytes.clone()) {
            Ok(()) => Ok(Some(bytes)),
            // It may be in a newer format, and is copied unchanged.
            Err(err) if err.is_newer() => Ok(Some(bytes)),
            Err(err) => self.damaged_here(ObjectKind::Snapshots, name, err).map(|()| None),
        }
    }

    pub(super) fn manifests(&mut self, to: &Repository, lacking: &[(Listed, Option<InPlace>)]) -> Result<()> {
        for (found, in_place) in lacking {
            let Some(bytes) = self.manifest(&found.name)? else { continue };
            let (storage, name) = (to.storage(), &found.name);
            match in_place {
                None => {
                    if storage.create(ObjectKind::Snapshots, name, &[&bytes])? == CreateOutcome::Exists {
                        continue;
                    }
                }
                Some(InPlace::Fence) => {
                    storage.remove(ObjectKind::Snapshots, name)?;
                    storage.create(ObjectKind::Snapshots, name, &[&bytes])?;
                }
                Some(InPlace::Other) => self.put(storage, ObjectKind::Snapshots, name, &bytes, true)?,
            }
            to.cache().note(&ObjectKind::Snapshots.path(name), true);
            if *in_place != Some(InPlace::Other) {
                self.report.snapshots += 1;
            }
        }
        Ok(())
    }

    /// Copies parity files of packs that the destination has; gc there removes those without a pack. A file
    /// of a different length is replaced if the source's is intact.
    pub(super) fn sidecars(&mut self, to: &Repository) -> Result<()> {
        let (from, stop) = (self.from.storage(), self.stop);
        let sidecars = parity::list(from)?;
        if sidecars.is_empty() {
            return Ok(());
        }
        let there: HashMap<PackId, u64> = parity::list(to.storage())?.into_iter().collect();
        let packs: HashMap<PackId, u64> = RepoState::packs(to.storage())?.into_iter().collect();
        for (id, len) in &sidecars {
            let Some(pack_len) = packs.get(id) else { continue };
            if there.get(id) == Some(len) {
                continue;
            }
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let stands = there.contains_key(id);
            let read = if stands { parity::verify(from, (id, *pack_len), *len).map(drop) } else { Ok(()) };
            match read.and_then(|()| from.read(ObjectKind::Parity, &id.hex(), *len)) {
                Ok(bytes) => {
                    if stands {
                        to.storage().remove(ObjectKind::Parity, &id.hex())?;
                        self.report.objects_healed += 1;
                    }
                    to.storage().create(ObjectKind::Parity, &id.hex(), &[&bytes]).map(drop)?;
                }
                // A damaged one is rewritten in both repositories by gc or `repair parity`.
                Err(err) if err.is_damage() => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    /// Copies audit records, so that the copy also explains which snapshots were forgotten.
    pub(super) fn audit_records(&mut self, to: &Repository) -> Result<()> {
        let there: HashSet<String> =
            to.storage().list(ObjectKind::Audit)?.into_iter().map(|found| found.name).collect();
        let mut here = names::list(self.from.storage(), ObjectKind::Audit)?;
        // The destination orders them by arrival, so they are copied in order.
        here.sort_by(|a, b| (a.modified, &a.name).cmp(&(b.modified, &b.name)));
        for found in here.iter().filter(|found| !there.contains(&found.name)) {
            match self.from.storage().read(ObjectKind::Audit, &found.name, sealed_object::MAX_OBJECT) {
                Ok(bytes) => self.put(to.storage(), ObjectKind::Audit, &found.name, &bytes, false)?,
                Err(err) => self.damaged_here(ObjectKind::Audit, &found.name, err)?,
            }
        }
        Ok(())
    }

    /// Writes an object to the destination. A damaged one of the same name is moved to quarantine first.
    fn put(
        &mut self,
        to: &dyn Storage,
        area: ObjectKind,
        name: &str,
        bytes: &[u8],
        stands: bool,
    ) -> Result<()> {
        if stands {
            match to.move_to((area, name), (ObjectKind::Quarantine, name)) {
                // The quarantine has an object of this name already.
                Ok(CreateOutcome::Exists) => to.remove(area, name)?,
                Ok(CreateOutcome::New) => {}
                Err(err) if err.is_missing() => {}
                // Moving means copying, which fails for an unreadable object as well.
                Err(err) if err.is_damage() => to.remove(area, name)?,
                Err(err) => return Err(err),
            }
            self.report.objects_healed += 1;
        }
        to.create(area, name, &[bytes]).map(drop)
    }

    /// Records an object that is damaged in the source and is not copied. Other errors are returned.
    fn damaged_here(&mut self, area: ObjectKind, name: &str, err: Error) -> Result<()> {
        if err.is_missing() {
            return Ok(());
        }
        if !err.is_damage() {
            return Err(err);
        }
        let what = area.path(name);
        if self.report.objects_damaged.iter().all(|(other, _)| *other != what) {
            self.report.objects_damaged.push((what, err));
        }
        Ok(())
    }
}

/// Returns false for damage, so that an object in the destination is replaced; fails for other errors.
fn keep_unless_damaged(err: Error) -> Result<bool> {
    if err.is_damage() { Ok(false) } else { Err(err) }
}
