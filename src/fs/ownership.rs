//! Owners, modes and times of restored things, as far as this process may set them.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FileType, Gid, Mode, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::fs::metadata;
use crate::fs::metadata::{Lacking, XattrTarget};
use crate::model::entry::{Meta, Time, Xattr, flags};

/// How many things could not be given what the snapshot says, because this user may not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SkippedMetadata {
    /// Owners or groups.
    pub owners: u64,
    /// Modes, or the setuid and setgid bits of one whose owner does not match.
    pub modes: u64,
    /// Device nodes, not made at all.
    pub devices: u64,
    /// Times of things that belong to somebody else.
    pub times: u64,
    /// Extended attributes, ACLs among them.
    pub xattrs: u64,
    /// Inode flags of so many things.
    pub attrs: u64,
}

impl SkippedMetadata {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.owners + self.modes + self.devices + self.times + self.xattrs + self.attrs
    }
}

/// Counts for [`SkippedMetadata`].
#[derive(Default)]
pub(crate) struct Counters {
    owners: AtomicU64,
    modes: AtomicU64,
    devices: AtomicU64,
    times: AtomicU64,
    xattrs: AtomicU64,
    attrs: AtomicU64,
}

/// Who this process is, and who the snapshot's owners are here.
pub(crate) struct Owners {
    euid: u32,
    egid: u32,
    numeric: bool,
    wanted: bool,
    /// Extended attributes are set, not left alone.
    xattrs: bool,
    users: Mutex<HashMap<Arc<str>, Option<u32>>>,
    groups: Mutex<HashMap<Arc<str>, Option<u32>>>,
    counters: Counters,
}

/// Which of a thing's owners are now what the snapshot says.
#[derive(Clone, Copy)]
pub(crate) struct Matches {
    user: bool,
    group: bool,
}

impl Owners {
    pub(crate) fn new(numeric: bool, wanted: bool) -> Self {
        Self {
            euid: rustix::process::geteuid().as_raw(),
            egid: rustix::process::getegid().as_raw(),
            numeric,
            wanted,
            xattrs: true,
            users: Mutex::default(),
            groups: Mutex::default(),
            counters: Counters::default(),
        }
    }

    /// Sets extended attributes, or leaves them alone.
    pub(crate) fn with_xattrs(self, xattrs: bool) -> Self {
        Self { xattrs, ..self }
    }

    /// Whether a thing has just these extended attributes, as far as they matter.
    pub(crate) fn has_xattrs(&self, thing: XattrTarget<'_>, wanted: &[Xattr]) -> bool {
        !self.xattrs || metadata::has(thing, wanted)
    }

    pub(crate) fn is_root(&self) -> bool {
        self.euid == 0
    }

    /// Owners of something this process just made in a directory without setgid.
    pub(crate) fn fresh(&self) -> (u32, u32) {
        (self.euid, self.egid)
    }

    pub(crate) fn left_out(&self) -> SkippedMetadata {
        let Counters { owners, modes, devices, times, xattrs, attrs } = &self.counters;
        SkippedMetadata {
            owners: owners.load(Ordering::Relaxed),
            modes: modes.load(Ordering::Relaxed),
            devices: devices.load(Ordering::Relaxed),
            times: times.load(Ordering::Relaxed),
            xattrs: xattrs.load(Ordering::Relaxed),
            attrs: attrs.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn count_device(&self) {
        self.counters.devices.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the owners through `chown`, unless `current` are the right ones.
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
        let (user, group) = (known(uid).map(Uid::from_raw), known(gid).map(Gid::from_raw));
        match chown(user, group) {
            Ok(()) => return Ok(Matches { user: user.is_some(), group: group.is_some() }),
            Err(error) if !not_allowed(error) => return Err(error),
            Err(_) => {}
        }
        self.counters.owners.fetch_add(1, Ordering::Relaxed);
        // An ordinary user may still hand a file to a group of their own.
        let group = group.is_some() && chown(None, group).is_ok();
        Ok(Matches { user: self.euid == uid, group })
    }

    /// Sets the mode through `chmod`; setuid and setgid only where the owner is the snapshot's.
    pub(crate) fn set_mode(
        &self,
        meta: &Meta,
        matches: Matches,
        chmod: impl Fn(Mode) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let (mode, whole) = (mode_for(meta, matches), Mode::from_bits_truncate(meta.mode & 0o7777));
        let result = chmod(mode);
        if mode != whole || result.is_err_and(not_allowed) {
            self.counters.modes.fetch_add(1, Ordering::Relaxed);
        }
        result.or_else(pardon)
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
            self.counters.times.fetch_add(1, Ordering::Relaxed);
        }
        result.or_else(pardon)
    }

    /// Whether nothing is left to set of what `set_all` would. An owner that this user cannot give is counted.
    pub(crate) fn is_set(&self, found: &Stat, meta: &Meta) -> bool {
        let matches = Matches { user: found.st_uid == self.uid(meta), group: found.st_gid == self.gid(meta) };
        if self.wanted && !(matches.user && matches.group) {
            if self.is_root() {
                return false;
            }
            self.counters.owners.fetch_add(1, Ordering::Relaxed);
        }
        let is_link = FileType::from_raw_mode(found.st_mode).is_symlink();
        let mode = (found.st_mode & 0o7777) == mode_for(meta, matches).bits();
        let mtime = (found.st_mtime, u64::from(meta.mtime.nanos)) == (meta.mtime.sec, found.st_mtime_nsec);
        (mode || is_link) && (mtime || meta.flags & flags::PASSAGE != 0)
    }

    /// Sets extended attributes, and the mode through `chmod` between them: attributes need a file that may be
    /// written to, and an ACL has the last word on the mode. Nothing changes the owner after this: that would take
    /// capabilities away. Returns what does not fit the file system, and why.
    pub(crate) fn set_xattrs_and_mode(
        &self,
        thing: XattrTarget<'_>,
        meta: &Meta,
        matches: Matches,
        chmod: impl Fn(Mode) -> Result<(), Errno>,
    ) -> Result<Vec<String>, Errno> {
        if !self.xattrs {
            return self.set_mode(meta, matches, chmod).map(|()| Vec::new());
        }
        let mut lacking = Lacking::default();
        metadata::set_plain(thing, &meta.xattrs, &mut lacking)?;
        self.set_mode(meta, matches, chmod)?;
        metadata::set_acls(thing, &meta.xattrs, &mut lacking)?;
        self.counters.xattrs.fetch_add(lacking.left_out, Ordering::Relaxed);
        Ok(lacking.unfit)
    }

    /// Sets the inode flags that `mask` names.
    pub(crate) fn set_attrs(&self, fd: BorrowedFd<'_>, wanted: u32, mask: u32) -> Result<(), Errno> {
        let left_out = metadata::set_attrs(fd, wanted, mask)?;
        self.counters.attrs.fetch_add(left_out, Ordering::Relaxed);
        Ok(())
    }

    /// Owner, extended attributes, mode and, if `times`, times of an open file or directory. Returns what does not fit
    /// the file system, and why.
    pub(crate) fn set_all(
        &self,
        fd: BorrowedFd<'_>,
        meta: &Meta,
        current: Option<(u32, u32)>,
        times: bool,
    ) -> Result<Vec<String>, Errno> {
        let matches = self.set(meta, current, |user, group| rustix::fs::fchown(fd, user, group))?;
        let chmod = |mode| rustix::fs::fchmod(fd, mode);
        let notes = self.set_xattrs_and_mode(XattrTarget::Open(fd), meta, matches, chmod)?;
        if times {
            self.set_times(meta, |times| rustix::fs::futimens(fd, times))?;
        }
        Ok(notes)
    }

    /// The number of its user here.
    pub(crate) fn uid(&self, meta: &Meta) -> u32 {
        self.by_name(&self.users, meta.user.as_ref(), |name| {
            uzers::get_user_by_name(name).map(|user| user.uid())
        })
        .unwrap_or(meta.uid)
    }

    /// The number of its group here.
    pub(crate) fn gid(&self, meta: &Meta) -> u32 {
        self.by_name(&self.groups, meta.group.as_ref(), |name| {
            uzers::get_group_by_name(name).map(|group| group.gid())
        })
        .unwrap_or(meta.gid)
    }

    fn by_name(
        &self,
        cache: &Mutex<HashMap<Arc<str>, Option<u32>>>,
        name: Option<&Arc<str>>,
        ask: impl FnOnce(&str) -> Option<u32>,
    ) -> Option<u32> {
        let name = name.filter(|_| !self.numeric)?;
        let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = cache.get(name) {
            return *number;
        }
        let number = ask(name);
        cache.insert(Arc::clone(name), number);
        number
    }
}

/// Setuid and setgid count only where the owner is the snapshot's.
fn mode_for(meta: &Meta, matches: Matches) -> Mode {
    let mut mode = Mode::from_bits_truncate(meta.mode & 0o7777);
    if !matches.user {
        mode.remove(Mode::SUID);
    }
    if !matches.group {
        mode.remove(Mode::SGID);
    }
    mode
}

/// The number of a user (true) or group of this machine.
pub fn id_of(user: bool, name: &str) -> Option<u32> {
    if user {
        uzers::get_user_by_name(name).map(|found| found.uid())
    } else {
        uzers::get_group_by_name(name).map(|found| found.gid())
    }
}

/// The all-ones id means "leave as is" to the system, so nothing can be given to it.
fn known(id: u32) -> Option<u32> {
    (id != u32::MAX).then_some(id)
}

/// Errors that mean that this user, or this file system, cannot have it so.
fn not_allowed(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::OPNOTSUPP)
}

/// Turns those into success.
fn pardon(error: Errno) -> Result<(), Errno> {
    if not_allowed(error) { Ok(()) } else { Err(error) }
}

/// For the system, which gives some values beyond the nanoseconds a special meaning.
fn timespec(time: Time) -> Timespec {
    let nanos = if time.nanos < 1_000_000_000 { time.nanos } else { 0 };
    Timespec { tv_sec: time.sec, tv_nsec: nanos.into() }
}
