//! The [`Storage`] implementation for SFTP.

use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::storage::sftp::connection::{Channel, RequestError};
use crate::storage::sftp::protocol::{FileAttributes, Request};
use crate::storage::sftp::transfer::File;
use crate::storage::sftp::{ABANDONED, AttemptError, Reply, SftpStorage, TEMP, protocol, transfer};
use crate::storage::{
    Capacity, CreateOutcome, Listed, ObjectKind, Storage, buffer, check_name, too_long, too_short,
};

impl SftpStorage {
    /// Returns the folders that hold a kind's objects: one, unless they are spread.
    fn folders(&self, channel: &Channel, area: ObjectKind) -> Result<Vec<String>, RequestError> {
        let folder = self.folder(area);
        if !area.is_spread() {
            return Ok(vec![folder]);
        }
        let shards = transfer::list(channel, std::slice::from_ref(&folder))?.into_iter().flatten();
        let shards = shards.filter(|(name, found)| found.is_folder() && !name.starts_with(b"."));
        let names = shards.filter_map(|(name, _)| String::from_utf8(name).ok());
        Ok(names.map(|name| format!("{folder}/{name}")).collect())
    }

    /// Returns the time by the clock of the server's file system, if the server reports times. This machine's
    /// clock may differ by days.
    fn now(&self) -> Result<Option<u64>> {
        let path = format!("{}/now", self.folder(ObjectKind::Sessions));
        self.retry("tidy", ObjectKind::Sessions.folder(), |channel, _| {
            let (_file, temp) = self.create_temp(channel, &path, &[])?;
            let found = channel.request(&Request::Stat { path: &temp });
            drop(channel.send(&Request::Remove { path: &temp }));
            match found? {
                Reply::Attributes(found) => Ok(found.modified.map(u64::from)),
                _ => Ok(None),
            }
        })
    }
}

impl Storage for SftpStorage {
    fn location(&self) -> String {
        self.place.to_string()
    }

    fn list(&self, area: ObjectKind) -> Result<Vec<Listed>> {
        let entries = self.retry("list", area.folder(), |channel, _| {
            let folders = self.folders(channel, area)?;
            let mut found = transfer::list(channel, &folders)?;
            if area.is_spread() {
                for (shard, entries) in folders.iter().zip(&mut found) {
                    // Packs in the wrong folder are not objects.
                    let shard = shard.rsplit_once('/').map_or("", |(_, shard)| shard).as_bytes();
                    entries.retain(|(name, _)| name.get(..2) == Some(shard));
                }
            }
            Ok(found)
        })?;
        let mut listed = Vec::new();
        for (name, found) in entries.into_iter().flatten().filter(|(_, found)| found.is_file()) {
            let Ok(name) = String::from_utf8(name) else { continue };
            if check_name(area, &name).is_err() {
                continue;
            }
            let FileAttributes { size: Some(len), modified, .. } = found else {
                return Err(self.refused("list", area.folder(), 0, "the server does not report file sizes"));
            };
            let modified = modified.map(|sec| Time { sec: i64::from(sec), nanos: 0 });
            listed.push(Listed { name, len, modified });
        }
        listed.sort();
        Ok(listed)
    }

    fn read(&self, area: ObjectKind, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.read_with(area, name, |file| {
            let len = file.len()?;
            if len > limit {
                return Err(too_long(area.path(name)).into());
            }
            let mut bytes = buffer(len).map_err(Error::io("read", area.path(name)))?;
            bytes.resize(len as usize, 0);
            if file.read(0, &mut bytes)? {
                Ok(bytes)
            } else {
                Err(Error::because(area.path(name), "it became shorter while it was read").into())
            }
        })
    }

    fn read_range(&self, area: ObjectKind, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        // A server may report an offset that no file can have as a failure of its own.
        let possible = offset.checked_add(out.len() as u64).is_some_and(|end| end <= i64::MAX as u64);
        self.read_with(area, name, |file| {
            if out.is_empty() || possible && file.read(offset, out)? {
                return Ok(());
            }
            Err(too_short(area.path(name)).into())
        })
    }

    fn create(&self, area: ObjectKind, name: &str, parts: &[&[u8]]) -> Result<CreateOutcome> {
        let (path, what) = (self.path(area, name)?, area.path(name));
        // Tested before a repository is created that would depend on it.
        if area == ObjectKind::Config && !self.is_exclusive()? {
            let why = format!(
                "the server at {} overwrites existing files when another file is renamed",
                self.place
            );
            return Err(Error::Refused(why));
        }
        let mut is_repeated = false;
        let created = self.retry("write", &what, |channel, again| {
            let (file, temp) = self.create_temp(channel, &path, parts)?;
            let renamed =
                file.sync().map_err(AttemptError::from).and_then(|()| self.rename(channel, &temp, &path));
            match renamed {
                Ok(CreateOutcome::New) => file.sync()?,
                _ => drop(channel.send(&Request::Remove { path: &temp })),
            }
            is_repeated = again;
            renamed
        })?;
        // The connection was lost in between: the object may be the one that an earlier attempt wrote.
        if created == CreateOutcome::Exists && is_repeated {
            let len = parts.iter().map(|part| part.len() as u64).sum();
            let there = self.read(area, name, len);
            if there.is_ok_and(|there| there == parts.concat()) {
                return Ok(CreateOutcome::New);
            }
        }
        Ok(created)
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn replace(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(area, name)?;
        self.retry("write", &area.path(name), |channel, _| {
            let (_file, temp) = self.create_temp(channel, &path, &[bytes])?;
            let replaced = channel.run(&Request::Replace { from: &temp, to: &path });
            Ok(replaced.inspect_err(|_| drop(channel.send(&Request::Remove { path: &temp })))?)
        })
    }

    fn is_held(&self, area: ObjectKind, name: &str) -> Result<Option<bool>> {
        let path = self.path(area, name)?;
        let there = self.retry("check for", &area.path(name), |channel, _| self.exists(channel, &path))?;
        Ok(if there { None } else { Some(false) })
    }

    fn weakness(&self) -> Result<Option<String>> {
        Ok((!self.is_exclusive()?).then(|| "an SFTP server whose renames overwrite".to_owned()))
    }

    fn move_to(&self, from: (ObjectKind, &str), to: (ObjectKind, &str)) -> Result<CreateOutcome> {
        let (old, new) = (self.path(from.0, from.1)?, self.path(to.0, to.1)?);
        self.retry("move", &from.0.path(from.1), |channel, again| {
            if !self.exists(channel, &old)? {
                return if again && self.exists(channel, &new)? {
                    Ok(CreateOutcome::New)
                } else {
                    Err(Error::Missing { what: from.0.path(from.1) }.into())
                };
            }
            self.ensure_folder(channel, new.rsplit_once('/').map_or("", |(folder, _)| folder))?;
            let created = match self.rename(channel, &old, &new) {
                // Another process was faster.
                Err(AttemptError::Request(RequestError::Status { .. })) if !self.exists(channel, &old)? => {
                    return Err(Error::Missing { what: from.0.path(from.1) }.into());
                }
                other => other?,
            };
            File::open(channel, &new, protocol::READ)?.sync()?;
            Ok(created)
        })
    }

    fn remove(&self, area: ObjectKind, name: &str) -> Result<()> {
        let path = self.path(area, name)?;
        self.retry("remove", &area.path(name), |channel, _| {
            match channel.run(&Request::Remove { path: &path }) {
                Err(RequestError::Status { code: protocol::NO_SUCH_FILE, .. }) => Ok(()),
                removed => Ok(removed?),
            }
        })
    }

    fn capacity(&self) -> Option<Capacity> {
        self.capacity_by(&*self.channel().ok()?)
    }

    fn remove_stale_temp_files(&self) -> Result<()> {
        // If the server reports no times, nothing counts as old.
        let Some(now) = self.now()? else { return Ok(()) };
        let oldest = now.saturating_sub(ABANDONED.as_secs());
        for area in ObjectKind::ALL {
            self.retry("tidy", area.folder(), |channel, _| {
                let folders = self.folders(channel, area)?;
                for (folder, entries) in folders.iter().zip(transfer::list(channel, &folders)?) {
                    for (name, found) in entries {
                        let old = found.modified.is_some_and(|at| u64::from(at) < oldest) && found.is_file();
                        let name = String::from_utf8_lossy(&name);
                        if old && name.starts_with(TEMP) {
                            let _ = channel.run(&Request::Remove { path: &format!("{folder}/{name}") });
                        }
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Creates and syncs a new file: a journal that contains it also contains everything before it.
    fn sync(&self, area: ObjectKind) -> Result<()> {
        let path = format!("{}/sync", self.folder(area));
        self.retry("sync", area.folder(), |channel, _| {
            let (file, temp) = self.create_temp(channel, &path, &[])?;
            let synced = file.sync();
            drop(channel.send(&Request::Remove { path: &temp }));
            Ok(synced?)
        })
    }
}
