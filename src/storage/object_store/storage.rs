//! The [`Storage`] implementation for object stores.

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::{ObjectMeta, ObjectStoreExt, PutMode, PutPayload};
use percent_encoding::percent_decode_str;

use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::storage::object_store::failure::Rejection;
use crate::storage::object_store::{CloudStorage, MAX_WHOLE, ReadEvent};
use crate::storage::{
    CreateOutcome, Listed, ObjectKind, Storage, buffer, check_name, has_content, too_long, too_short,
};

impl CloudStorage {
    /// Returns a listed object, if it belongs to the kind.
    fn listed(&self, area: ObjectKind, meta: &ObjectMeta) -> Option<Listed> {
        let folder = self.path_of(area.folder());
        let inside = meta.location.as_ref().strip_prefix(folder.as_ref())?.strip_prefix('/')?;
        let (shard, name) = match area {
            area if area.is_spread() => inside.split_once('/')?,
            _ => ("", inside),
        };
        // An object in the wrong folder is ignored.
        let name = percent_decode_str(name).decode_utf8().ok()?.into_owned();
        if !name.starts_with(shard)
            || shard.len() != 2 && area.is_spread()
            || check_name(area, &name).is_err()
        {
            return None;
        }
        let (sec, nanos) = (meta.last_modified.timestamp(), meta.last_modified.timestamp_subsec_nanos());
        Some(Listed { name, len: meta.size, modified: Some(Time { sec, nanos }) })
    }

    /// Creates an object on a server without conditional writes: checks that the name is free, and afterwards
    /// that the object has the bytes written.
    fn create_unprotected(
        &self,
        area: ObjectKind,
        name: &str,
        payload: &PutPayload,
    ) -> Result<CreateOutcome> {
        let (path, what) = (self.path(area, name)?, area.path(name));
        if self.head(&path, &what)?.is_some() {
            return Ok(CreateOutcome::Exists);
        }
        self.put(&path, &what, payload, PutMode::Overwrite)?;
        // A pack's name determines its content.
        if area == ObjectKind::Packs || self.has_content(area, name, payload) {
            return Ok(CreateOutcome::New);
        }
        Ok(CreateOutcome::Exists)
    }

    fn create_whole(&self, area: ObjectKind, name: &str, payload: &PutPayload) -> Result<CreateOutcome> {
        if self.overwrites() {
            return self.create_unprotected(area, name, payload);
        }
        let (path, what) = (self.path(area, name)?, area.path(name));
        let (created, is_repeated) = self.put(&path, &what, payload, PutMode::Create)?;
        // The response to an earlier attempt was lost: the object may be the one that it wrote.
        if created == CreateOutcome::Exists && is_repeated && self.has_content(area, name, payload) {
            return Ok(CreateOutcome::New);
        }
        if created == CreateOutcome::New {
            self.probe_with(area, name, payload)?;
        }
        Ok(created)
    }

    /// Returns whether an object has these bytes.
    fn has_content(&self, area: ObjectKind, name: &str, payload: &PutPayload) -> bool {
        let parts: Vec<&[u8]> = payload.iter().map(AsRef::as_ref).collect();
        has_content(self, area, name, &parts)
    }
}

impl Storage for CloudStorage {
    fn location(&self) -> String {
        self.place.to_string()
    }

    fn list(&self, area: ObjectKind) -> Result<Vec<Listed>> {
        let folder = self.path_of(area.folder());
        let found = self.request("list", area.folder(), async |_| {
            let mut listed = Vec::new();
            let mut stream = self.store.list(Some(&folder));
            while let Some(meta) = stream.next().await {
                listed.extend(self.listed(area, &meta?));
            }
            Ok(listed)
        })?;
        let mut listed = found.map_err(|rejection| self.unexpected("list", area.folder(), &rejection))?;
        listed.sort();
        // A server that lists a folder while a file in it is replaced may return both.
        listed.dedup_by(|next, before| next.name == before.name);
        Ok(listed)
    }

    fn read(&self, area: ObjectKind, name: &str, limit: u64) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        self.read_with(area, name, None, |event| {
            match event {
                ReadEvent::Found { len, .. } if len > limit => {
                    return Err(too_long(area.path(name)));
                }
                ReadEvent::Found { len, .. } => {
                    all = buffer(len).map_err(Error::io("read", area.path(name)))?;
                }
                ReadEvent::Bytes(bytes) => all.extend_from_slice(bytes),
            }
            Ok(())
        })?;
        Ok(all)
    }

    fn read_range(&self, area: ObjectKind, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        let what = area.path(name);
        let possible = offset.checked_add(out.len() as u64).filter(|end| *end <= i64::MAX as u64);
        let Some(end) = possible.filter(|_| !out.is_empty()) else {
            // An empty range needs no request, but the object must exist.
            return match self.head(&self.path(area, name)?, &what)? {
                None => Err(Error::Missing { what }),
                Some(_) if out.is_empty() => Ok(()),
                Some(_) => Err(too_short(&what)),
            };
        };
        let (wanted, mut at) = (out.len() as u64, 0);
        self.read_with(area, name, Some(offset..end), |event| {
            match event {
                ReadEvent::Found { expected, .. } if expected != wanted => return Err(too_short(&what)),
                ReadEvent::Found { .. } => at = 0,
                ReadEvent::Bytes(bytes) => {
                    let place = out.get_mut(at..at + bytes.len()).ok_or_else(|| too_short(&what))?;
                    place.copy_from_slice(bytes);
                    at += bytes.len();
                }
            }
            Ok(())
        })
    }

    fn create(&self, area: ObjectKind, name: &str, parts: &[&[u8]]) -> Result<CreateOutcome> {
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        self.run_pending_probe()?;
        if len > MAX_WHOLE {
            return self.put_in_parts(&self.path(area, name)?, &area.path(name), parts, len);
        }
        self.create_whole(area, name, &parts.iter().map(|part| Bytes::copy_from_slice(part)).collect())
    }

    fn create_owned(&self, area: ObjectKind, name: &str, parts: Vec<Vec<u8>>) -> Result<CreateOutcome> {
        if parts.iter().map(|part| part.len() as u64).sum::<u64>() > MAX_WHOLE {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            return self.create(area, name, &parts);
        }
        self.run_pending_probe()?;
        self.create_whole(area, name, &parts.into_iter().map(Bytes::from).collect())
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn replace(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(area, name)?;
        let payload = PutPayload::from(Bytes::copy_from_slice(bytes));
        self.put(&path, &area.path(name), &payload, PutMode::Overwrite).map(drop)
    }

    fn is_held(&self, area: ObjectKind, name: &str) -> Result<Option<bool>> {
        let there = self.head(&self.path(area, name)?, &area.path(name))?;
        Ok(if there.is_some() { None } else { Some(false) })
    }

    fn weakness(&self) -> Result<Option<String>> {
        Ok(self.missing_guarantee()?.map(str::to_owned))
    }

    fn move_to(&self, from: (ObjectKind, &str), to: (ObjectKind, &str)) -> Result<CreateOutcome> {
        let (old, new) = (self.path(from.0, from.1)?, self.path(to.0, to.1)?);
        let (what, destination) = (from.0.path(from.1), to.0.path(to.1));
        let Some(there) = self.head(&old, &what)? else { return Err(Error::Missing { what }) };
        match self.head(&new, &destination)? {
            // If the target has the same bytes, an earlier move was interrupted.
            Some(taken) if taken.size != there.size => return Ok(CreateOutcome::Exists),
            Some(_) if self.read(to.0, to.1, there.size)? != self.read(from.0, from.1, there.size)? => {
                return Ok(CreateOutcome::Exists);
            }
            Some(_) => {}
            None => {
                let copied = self.request("move", &what, async |_| self.store.copy(&old, &new).await)?;
                copied.map_err(|rejection| self.unexpected("move", &what, &rejection))?;
            }
        }
        self.remove(from.0, from.1)?;
        Ok(CreateOutcome::New)
    }

    fn remove(&self, area: ObjectKind, name: &str) -> Result<()> {
        let (path, what) = (self.path(area, name)?, area.path(name));
        self.cancel_probe(area, name);
        match self.request("remove", &what, async |_| self.store.delete(&path).await)? {
            Ok(()) | Err(Rejection::Missing) => Ok(()),
            Err(rejection) => Err(self.unexpected("remove", &what, &rejection)),
        }
    }

    /// Does nothing: a request is durable when it is answered.
    fn sync(&self, _area: ObjectKind) -> Result<()> {
        Ok(())
    }
}
