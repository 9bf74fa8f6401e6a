//! Sets extended attributes and inode flags of restored files, as far as this process may.

use std::os::fd::BorrowedFd;

use crate::fs::xattr::read_whole;
use crate::fs::xattr_choice::XattrChoice;
use crate::model::entry::{Xattr, XattrValue, attrs};
use crate::sys::fs::{flags_of, set_flags};
use crate::sys::io::{Errno, NO_ATTRIBUTE};
use crate::sys::xattr::{self, Unopened, is_acl, is_of_this_system, is_removable};

/// The file on which attributes are set.
#[derive(Clone, Copy)]
pub(crate) enum XattrTarget<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// An entry that is not opened; a symbolic link is not followed.
    Unopened(&'a Unopened),
}

/// Attributes that could not be set.
#[derive(Default)]
pub(crate) struct UnsetXattrs {
    /// Number of attributes that this user may not set or that the file system does not support.
    pub(crate) skipped: u64,
    /// Attributes that this file cannot have, with the reason. Their loss is reported as a problem of the
    /// file.
    pub(crate) unfit: Vec<String>,
}

impl UnsetXattrs {
    /// Records the failure to set or remove an attribute; an unexpected error is returned.
    fn record(&mut self, name: &[u8], result: Result<(), Errno>) -> Result<(), Errno> {
        match result {
            Ok(()) | Err(NO_ATTRIBUTE) => {}
            Err(Errno::PERM | Errno::ACCESS | Errno::NOTSUP | Errno::NOSYS) => self.skipped += 1,
            Err(errno @ (Errno::INVAL | Errno::NOSPC | Errno::TOOBIG | Errno::RANGE | Errno::DQUOT)) => {
                let (name, why) = (String::from_utf8_lossy(name), std::io::Error::from(errno));
                self.unfit.push(format!("cannot set the extended attribute {name}: {why}"));
            }
            Err(errno) => return Err(errno),
        }
        Ok(())
    }
}

/// Removes unwanted attributes and sets those that must be set before the mode.
pub(crate) fn set_plain(
    target: XattrTarget<'_>,
    wanted: &[Xattr],
    choice: &XattrChoice,
    unset: &mut UnsetXattrs,
) -> Result<(), Errno> {
    let chosen = || wanted.iter().filter(|xattr| choice.takes(&xattr.name));
    let there = match target.list() {
        Err(Errno::NOTSUP | Errno::NOSYS) => {
            unset.skipped += chosen().count() as u64;
            return Ok(());
        }
        other => other?,
    };
    for name in there.iter().filter(|name| is_removable(name) && choice.takes(name)) {
        if !wanted.iter().any(|xattr| xattr.name == **name) {
            unset.record(name, target.remove(name))?;
        }
    }
    for xattr in chosen().filter(|xattr| !is_acl(&xattr.name)) {
        let value = value(xattr)?;
        // An equal attribute is not set again: this user might not be allowed to.
        if !there.contains(&xattr.name) || !target.get(&xattr.name).is_ok_and(|found| found == value) {
            unset.record(&xattr.name, target.set(&xattr.name, value))?;
        }
    }
    Ok(())
}

/// Sets the ACLs, after the mode has been set.
pub(crate) fn set_acls(
    target: XattrTarget<'_>,
    wanted: &[Xattr],
    choice: &XattrChoice,
    unset: &mut UnsetXattrs,
) -> Result<(), Errno> {
    for xattr in wanted.iter().filter(|xattr| is_acl(&xattr.name) && choice.takes(&xattr.name)) {
        unset.record(&xattr.name, target.set(&xattr.name, value(xattr)?))?;
    }
    Ok(())
}

/// Returns whether a file has exactly these attributes, apart from those that the system maintains or that
/// are not chosen.
pub(crate) fn has_exactly(target: XattrTarget<'_>, wanted: &[Xattr], choice: &XattrChoice) -> bool {
    let mut chosen = wanted.iter().filter(|xattr| choice.takes(&xattr.name));
    let Ok(there) = target.list() else { return chosen.next().is_none() };
    let known = |name: &[u8]| wanted.iter().any(|xattr| xattr.name == name);
    let is_right = |xattr: &Xattr| {
        value(xattr).is_ok_and(|value| target.get(&xattr.name).is_ok_and(|found| found == value))
    };
    there.iter().all(|name| known(name) || !is_removable(name) || !choice.takes(name)) && chosen.all(is_right)
}

/// Returns an inline value. Values in chunks must have been loaded by a caller that knows the repository.
fn value(xattr: &Xattr) -> Result<&[u8], Errno> {
    match &xattr.value {
        XattrValue::Inline(bytes) => Ok(bytes),
        XattrValue::Content { .. } => Err(Errno::INVAL),
    }
}

impl XattrTarget<'_> {
    fn list(self) -> Result<Vec<Vec<u8>>, Errno> {
        let names = read_whole(&|buffer| match self {
            Self::Open(fd) => xattr::list(fd, buffer),
            // The entry exists, so this means that `/proc` is not mounted.
            Self::Unopened(entry) => entry.list(buffer).map_err(|err| match err {
                Errno::NOENT => Errno::NOSYS,
                other => other,
            }),
        })?;
        Ok(names.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
    }

    fn get(self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        read_whole(&|buffer| match self {
            Self::Open(fd) => xattr::get(fd, name, buffer),
            Self::Unopened(entry) => entry.get(name, buffer),
        })
    }

    fn set(self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        match self {
            _ if !is_of_this_system(name) => Err(Errno::NOTSUP),
            Self::Open(fd) => xattr::set(fd, name, value),
            Self::Unopened(entry) => entry.set(name, value),
        }
    }

    fn remove(self, name: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => xattr::remove(fd, name),
            Self::Unopened(entry) => entry.remove(name),
        }
    }
}

/// Sets the inode flags in `mask` to those in `wanted`. Returns how many could not be set because of
/// permissions or the file system.
pub(crate) fn set_attrs(fd: BorrowedFd<'_>, wanted: u32, mask: u32) -> Result<u64, Errno> {
    let mask = mask & attrs::KNOWN;
    let set = flags_of(fd).and_then(|there| {
        let next = there & !mask | wanted & mask;
        if next == there { Ok(()) } else { set_flags(fd, next) }
    });
    match set {
        Err(Errno::NOTTY | Errno::PERM | Errno::ACCESS | Errno::NOTSUP | Errno::INVAL | Errno::NOSYS) => {
            Ok(u64::from(wanted & mask != 0))
        }
        other => other.map(|()| 0),
    }
}
