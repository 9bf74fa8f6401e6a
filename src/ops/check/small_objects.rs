//! Checks the small objects. Each is read from the storage itself, even if a local cache has it.

use serde::Deserialize;

use crate::codec::crypto::sealed_object::Magic;
use crate::codec::crypto::{key_slot, sealed_object};
use crate::error::{Error, Result};
use crate::model::manifest::Manifest;
use crate::model::records::{AuditRecord, DamageRecord, GcRecord, Heartbeat, Seen, SessionRecord};
use crate::ops::check::{Checker, Finding, Remark, Subject};
use crate::repo::{keys, objects, snapshots};
use crate::storage::ObjectKind;

impl Checker<'_> {
    /// Checks configurations, key slots, manifests, trash entries, and the records of sessions, gc and
    /// damage.
    pub(super) fn check_small_objects(&mut self) -> Result<()> {
        let vanished = self.repo.vanished()?;
        self.report.warnings.extend(vanished.into_iter().map(|object| Remark::GoneObject { object }));
        self.check_key_slots()?;
        for found in self.repo.storage().list(ObjectKind::Config)? {
            self.report_damage(Subject::Config, self.repo.check_config(&found.name))?;
        }
        for found in self.repo.storage().list(ObjectKind::Snapshots)? {
            self.report_damage(Subject::Manifest, snapshots::verify(self.repo, &found.name))?;
        }
        for found in self.repo.storage().list(ObjectKind::Trash)? {
            let bound = found.name.split('.').next().unwrap_or_default().to_owned();
            self.check::<Manifest>(sealed_object::MANIFEST, ObjectKind::Trash, &found.name, &bound)?;
        }
        self.check_records()
    }

    fn check_key_slots(&mut self) -> Result<()> {
        if self.repo.slot().is_none() {
            return Ok(());
        }
        let slots = keys::slots(self.repo.storage(), self.repo.keyring())?;
        for (entry, slot) in slots.listed {
            let path = ObjectKind::Keys.path(&entry.id.hex());
            let label = slot.and_then(|(_, bytes)| {
                key_slot::label(&bytes, self.repo.suite()).map_err(Error::damaged(path.clone()))
            });
            match label {
                Err(err) if err.is_missing() => {
                    self.error(Finding::MissingKeySlot { object: path });
                }
                label => self.report_damage(Subject::KeySlot, label.map(drop))?,
            }
        }
        // Anybody who can write to the storage can put a file there. It opens nothing, so this is not damage.
        self.report.warnings.extend(slots.others.into_iter().map(|name| Remark::UnlistedKeySlot { name }));
        Ok(())
    }

    fn check_records(&mut self) -> Result<()> {
        let storage = self.repo.storage();
        for found in storage.list(ObjectKind::Gc)? {
            if found.name.ends_with(".done") {
                self.check::<()>(sealed_object::GC_DONE, ObjectKind::Gc, &found.name, &found.name)?
            } else {
                self.check::<GcRecord>(sealed_object::GC, ObjectKind::Gc, &found.name, &found.name)?
            }
        }
        for found in storage.list(ObjectKind::Damage)? {
            self.check::<DamageRecord>(sealed_object::DAMAGE, ObjectKind::Damage, &found.name, &found.name)?;
        }
        for found in storage.list(ObjectKind::Audit)? {
            self.check::<AuditRecord>(sealed_object::AUDIT, ObjectKind::Audit, &found.name, &found.name)?;
        }
        for found in storage.list(ObjectKind::Sessions)? {
            let (area, name) = (ObjectKind::Sessions, &found.name);
            match name.split_once('.').map(|(_, end)| end) {
                None => self.check::<SessionRecord>(sealed_object::SESSION, area, name, name)?,
                Some("beat" | "end") => self.volatile::<Heartbeat>(sealed_object::BEAT, name)?,
                Some("seen") => self.volatile::<Seen>(sealed_object::SEEN, name)?,
                Some(_) => {
                    let message = objects::unknown_name(area, name).chain();
                    self.error(Finding::DamagedObject { subject: Subject::Record, message });
                }
            }
        }
        Ok(())
    }

    /// Checks an object that a session rewrites repeatedly without waiting for the disk. A power failure may
    /// leave half of it, and readers treat an unreadable one as absent, so it is a warning and
    /// not damage.
    fn volatile<T>(&mut self, magic: Magic, name: &str) -> Result<()>
    where
        T: for<'a> Deserialize<'a>,
    {
        let (storage, suite) = (self.repo.storage(), self.repo.suite());
        let bytes = storage.read(ObjectKind::Sessions, name, sealed_object::MAX_OBJECT);
        match bytes
            .and_then(|bytes| objects::open::<T>(suite, magic, ObjectKind::Sessions, name, name, bytes))
        {
            Err(err @ Error::Damaged { .. }) => {
                self.report.warnings.push(Remark::UnreadableHeartbeat { message: err.chain() });
                Ok(())
            }
            other => self.report_damage(Subject::Record, other.map(|_| ())),
        }
    }

    fn check<T>(&mut self, magic: Magic, area: ObjectKind, name: &str, bound: &str) -> Result<()>
    where
        T: for<'a> Deserialize<'a>,
    {
        let (storage, suite) = (self.repo.storage(), self.repo.suite());
        let bytes = storage.read(area, name, sealed_object::MAX_OBJECT);
        let opened = bytes.and_then(|bytes| objects::open::<T>(suite, magic, area, name, bound, bytes));
        let subject = if area == ObjectKind::Trash { Subject::Manifest } else { Subject::Record };
        self.report_damage(subject, opened.map(|_| ()))
    }

    /// Records damage as a finding. An object that was removed after the listing is not damage.
    fn report_damage(&mut self, subject: Subject, read: Result<()>) -> Result<()> {
        match read {
            Err(err) if err.is_missing() => Ok(()),
            Err(err) if err.is_damage() || err.is_newer() => {
                self.error(Finding::DamagedObject { subject, message: err.chain() });
                Ok(())
            }
            other => other,
        }
    }
}
