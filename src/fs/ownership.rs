//! Sets owners, modes and times of restored files, as far as this process may.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::fs::metadata::{self, UnsetXattrs, XattrTarget};
use crate::fs::xattr_choice::XattrChoice;
use crate::model::entry::{Meta, Time, Xattr, flags};
use crate::sys::fs::{
    Gid, Mode, Stat, Timespec, Timestamps, Uid, bits_of, fchmod, fchown, file_type, fstat, futimens, mode_of,
};
use crate::sys::io::Errno;
use crate::sys::process::{getegid, geteuid};
use crate::sys::users;

/// Numbers of files whose metadata could not be set because of missing privileges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SkippedMetadata {
    /// Owners or groups.
    pub owners: u64,
    /// Modes, or setuid and setgid bits of files whose owner differs from the snapshot's.
    pub modes: u64,
    /// Device nodes that were not created.
    pub devices: u64,
    /// Times of files that belong to another user.
    pub times: u64,
    /// Extended attributes, including ACLs.
    pub xattrs: u64,
    /// Files whose inode flags were not set.
    pub attrs: u64,
}

impl SkippedMetadata {
    /// Returns the sum of all numbers.
    pub fn total(&self) -> u64 {
        self.owners + self.modes + self.devices + self.times + self.xattrs + self.attrs
    }
}

/// The identity of this process, and the mapping of the snapshot's owners to this machine.
pub(crate) struct Owners {
    euid: u32,
    egid: u32,
    numeric: bool,
    wanted: bool,
    /// Which extended attributes are set.
    xattrs: XattrChoice,
    users: Mutex<HashMap<Arc<str>, Option<u32>>>,
    groups: Mutex<HashMap<Arc<str>, Option<u32>>>,
    skipped: Mutex<SkippedMetadata>,
}

/// Whether a file's user and group are now those of the snapshot.
#[derive(Clone, Copy)]
pub(crate) struct Matches {
    user: bool,
    group: bool,
}

impl Owners {
    pub(crate) fn new(numeric: bool, wanted: bool) -> Self {
        Self {
            euid: geteuid().as_raw(),
            egid: getegid().as_raw(),
            numeric,
            wanted,
            xattrs: XattrChoice::All,
            users: Mutex::default(),
            groups: Mutex::default(),
            skipped: Mutex::default(),
        }
    }

    /// Sets which extended attributes are set; others are left alone.
    pub(crate) fn with_xattrs(self, xattrs: XattrChoice) -> Self {
        Self { xattrs, ..self }
    }

    /// Returns whether a file has exactly these extended attributes, or attributes are to be left alone.
    pub(crate) fn has_xattrs(&self, target: XattrTarget<'_>, wanted: &[Xattr]) -> bool {
        matches!(self.xattrs, XattrChoice::None) || metadata::has_exactly(target, wanted, &self.xattrs)
    }

    pub(crate) fn is_root(&self) -> bool {
        self.euid == 0
    }

    /// Returns the owners of a file that this process creates in a directory without setgid.
    pub(crate) fn of_new_files(&self) -> (u32, u32) {
        (self.euid, self.egid)
    }

    pub(crate) fn skipped(&self) -> SkippedMetadata {
        *self.skipped.lock()
    }

    pub(crate) fn count_device(&self) {
        self.skipped.lock().devices += 1;
    }

    /// Sets the owners through `chown`, unless `current` are already right.
    pub(crate) fn set(
        &self,
        meta: &Meta,
        current: Option<(u32, u32)>,
        chown: impl Fn(Option<Uid>, Option<Gid>) -> Result<(), Errno>,
    ) -> Result<Matches, Errno> {
        let (uid, gid) = (self.uid(meta), self.gid(meta));
        if let Some((user, group)) = current {
            let matches = Matches { user: user == uid, group: group == gid };
            if !self.wanted || matches.user && matches.group {
                return Ok(matches);
            }
        } else if !self.wanted {
            return Ok(Matches { user: self.euid == uid, group: false });
        }
        let (user, group) = (settable(uid).map(Uid::from_raw), settable(gid).map(Gid::from_raw));
        match chown(user, group) {
            Ok(()) => return Ok(Matches { user: user.is_some(), group: group.is_some() }),
            Err(error) if !not_allowed(error) => return Err(error),
            Err(_) => {}
        }
        self.skipped.lock().owners += 1;
        // An unprivileged user may still change the group to one of their own.
        let group = group.is_some() && chown(None, group).is_ok();
        Ok(Matches { user: self.euid == uid, group })
    }

    /// Sets the mode through `chmod`. Setuid and setgid are set only if the owner is the snapshot's.
    pub(crate) fn set_mode(
        &self,
        meta: &Meta,
        matches: Matches,
        chmod: impl Fn(Mode) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let (mode, whole) = (mode_for(meta, matches), mode_of(meta.mode));
        let result = chmod(mode);
        if mode != whole || result.is_err_and(not_allowed) {
            self.skipped.lock().modes += 1;
        }
        result.or_else(ignore_expected)
    }

    /// Sets the times through `utimens`.
    pub(crate) fn set_times(
        &self,
        meta: &Meta,
        utimens: impl Fn(&Timestamps) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let time = timespec(meta.mtime);
        let result = utimens(&Timestamps { last_access: time, last_modification: time });
        if result.is_err_and(not_allowed) {
            self.skipped.lock().times += 1;
        }
        result.or_else(ignore_expected)
    }

    /// Returns whether `set_all` would change nothing. An owner that this user cannot set is counted as
    /// skipped.
    pub(crate) fn is_set(&self, found: &Stat, meta: &Meta) -> bool {
        let matches = Matches { user: found.st_uid == self.uid(meta), group: found.st_gid == self.gid(meta) };
        if self.wanted && !(matches.user && matches.group) {
            if self.is_root() {
                return false;
            }
            self.skipped.lock().owners += 1;
        }
        let is_link = file_type(found.st_mode).is_symlink();
        let mode = (found.st_mode & 0o7777) == bits_of(mode_for(meta, matches));
        let mtime = (found.st_mtime, u64::from(meta.mtime.nanos)) == (meta.mtime.sec, found.st_mtime_nsec);
        (mode || is_link) && (mtime || meta.flags & flags::ANCESTOR_ONLY != 0)
    }

    /// Sets extended attributes, and between them the mode through `chmod`: setting attributes needs a
    /// writable file, while an ACL must be set after the mode because it changes it. The owner must not
    /// change afterwards, because that would remove capabilities. Returns the attributes that the file cannot
    /// have, with reasons.
    pub(crate) fn set_xattrs_and_mode(
        &self,
        target: XattrTarget<'_>,
        meta: &Meta,
        matches: Matches,
        chmod: impl Fn(Mode) -> Result<(), Errno>,
    ) -> Result<Vec<String>, Errno> {
        if matches!(self.xattrs, XattrChoice::None) {
            return self.set_mode(meta, matches, chmod).map(|()| Vec::new());
        }
        let mut unset = UnsetXattrs::default();
        metadata::set_plain(target, &meta.xattrs, &self.xattrs, &mut unset)?;
        self.set_mode(meta, matches, chmod)?;
        metadata::set_acls(target, &meta.xattrs, &self.xattrs, &mut unset)?;
        self.skipped.lock().xattrs += unset.skipped;
        Ok(unset.unfit)
    }

    /// Sets the inode flags in `mask`.
    pub(crate) fn set_attrs(&self, fd: BorrowedFd<'_>, wanted: u32, mask: u32) -> Result<(), Errno> {
        let skipped = metadata::set_attrs(fd, wanted, mask)?;
        self.skipped.lock().attrs += skipped;
        Ok(())
    }

    /// Sets owner, extended attributes, mode and, if `times`, times of an open file or directory. Returns the
    /// attributes that the file cannot have, with reasons.
    pub(crate) fn set_all(
        &self,
        fd: BorrowedFd<'_>,
        meta: &Meta,
        current: Option<(u32, u32)>,
        times: bool,
    ) -> Result<Vec<String>, Errno> {
        let matches = self.set(meta, current, |user, group| fchown(fd, user, group))?;
        let chmod = |mode| fchmod(fd, mode);
        let mut notes = self.set_xattrs_and_mode(XattrTarget::Open(fd), meta, matches, chmod)?;
        if times {
            self.set_times(meta, |times| futimens(fd, times))?;
            notes.extend(note_on_time(fd, meta)?);
        }
        Ok(notes)
    }

    /// Returns the id of the entry's user on this machine.
    pub(crate) fn uid(&self, meta: &Meta) -> u32 {
        self.by_name(&self.users, meta.user.as_ref(), users::user_id).unwrap_or(meta.uid)
    }

    /// Returns the id of the entry's group on this machine.
    pub(crate) fn gid(&self, meta: &Meta) -> u32 {
        self.by_name(&self.groups, meta.group.as_ref(), users::group_id).unwrap_or(meta.gid)
    }

    fn by_name(
        &self,
        cache: &Mutex<HashMap<Arc<str>, Option<u32>>>,
        name: Option<&Arc<str>>,
        look_up: impl FnOnce(&str) -> Option<u32>,
    ) -> Option<u32> {
        let name = name.filter(|_| !self.numeric)?;
        let mut cache = cache.lock();
        if let Some(number) = cache.get(name) {
            return *number;
        }
        let number = look_up(name);
        cache.insert(Arc::clone(name), number);
        number
    }
}

/// Times, in seconds since 1970, that every file system can store: FAT begins in 1980, and old ones end in
/// 2038.
const STORABLE_EVERYWHERE: std::ops::Range<i64> = 315_619_200..0x7fff_ffff;

/// Returns a note if the file system has stored another time than the one that was set: without an error, it
/// stores the nearest time that it can. Differences of up to two seconds, the resolution of FAT, are not
/// noted.
fn note_on_time(fd: BorrowedFd<'_>, meta: &Meta) -> Result<Option<String>, Errno> {
    let wanted = meta.mtime.sec;
    if STORABLE_EVERYWHERE.contains(&wanted) {
        return Ok(None);
    }
    let found = fstat(fd)?.st_mtime;
    let shown =
        |sec| jiff::Timestamp::from_second(sec).map_or_else(|_| format!("{sec} s"), |at| at.to_string());
    let note = || {
        format!("this file system cannot store its mtime {}: it was set to {}", shown(wanted), shown(found))
    };
    Ok((found.abs_diff(wanted) > 2).then(note))
}

/// Returns the mode to set. Setuid and setgid are kept only if the owner is the snapshot's.
fn mode_for(meta: &Meta, matches: Matches) -> Mode {
    let mut mode = mode_of(meta.mode);
    if !matches.user {
        mode.remove(Mode::SUID);
    }
    if !matches.group {
        mode.remove(Mode::SGID);
    }
    mode
}

/// Returns the id of a user (true) or group of this machine.
pub fn id_of(user: bool, name: &str) -> Option<u32> {
    if user { users::user_id(name) } else { users::group_id(name) }
}

/// Filters out the id with all bits set, which means "do not change" to `chown`.
fn settable(id: u32) -> Option<u32> {
    (id != u32::MAX).then_some(id)
}

/// Returns whether an error means that this user may not do this, or the file system cannot.
fn not_allowed(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::NOTSUP)
}

/// Converts errors that are to be ignored to success.
fn ignore_expected(error: Errno) -> Result<(), Errno> {
    if not_allowed(error) { Ok(()) } else { Err(error) }
}

/// Converts a time. Values outside the range of nanoseconds are replaced by 0, because some have a special
/// meaning for the kernel.
fn timespec(time: Time) -> Timespec {
    let nanos = if time.nanos < 1_000_000_000 { time.nanos } else { 0 };
    Timespec { tv_sec: time.sec, tv_nsec: nanos.into() }
}
