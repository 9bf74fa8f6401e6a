//! Metadata from another program that its mount does not show: a mount may lack ACLs or device numbers, and
//! names of owners belong to the machine that was backed up.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::Result;
use crate::model::entry::{Entry, Kind, Time, Xattr, XattrValue};

/// Maximum total bytes of xattr values that are stored in the entry itself; ACLs and flags are short.
const INLINE: usize = 512;

/// Metadata of one entry. Where a field is `None` or empty, the value from the file system applies, except
/// for names of owners.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Name of the user.
    pub user: Option<Arc<str>>,
    /// Name of the group.
    pub group: Option<Arc<str>>,
    /// When the content last changed.
    pub mtime: Option<Time>,
    /// Major and minor number of a device.
    pub device: Option<(u32, u32)>,
    /// Inode flags.
    pub attrs: Option<u32>,
    /// More extended attributes, in the kernel's form.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Metadata of the entries of a state, by their paths in the snapshot. Entries that are missing here have no
/// names of owners, because those of this machine would be wrong.
#[derive(Debug, Clone, Default)]
pub struct Supplement(HashMap<Box<[u8]>, Facts>);

impl Supplement {
    /// Adds metadata. `path` is the path in the snapshot without a leading slash.
    pub fn insert(&mut self, path: &[u8], facts: Facts) {
        self.0.insert(path.into(), facts);
    }

    /// Returns the metadata of a path.
    pub fn get(&self, path: &[u8]) -> Option<&Facts> {
        self.0.get(path)
    }

    /// Returns the metadata of a path for modification.
    pub fn get_mut(&mut self, path: &[u8]) -> Option<&mut Facts> {
        self.0.get_mut(path)
    }

    /// Replaces metadata of an entry, except for its extended attributes.
    pub(in crate::ops::backup) fn amend(&self, path: &[u8], entry: &mut Entry) {
        let facts = self.0.get(path);
        entry.meta.user = facts.and_then(|facts| facts.user.clone());
        entry.meta.group = facts.and_then(|facts| facts.group.clone());
        let Some(facts) = facts else { return };
        entry.meta.mtime = facts.mtime.unwrap_or(entry.meta.mtime);
        entry.meta.attrs = facts.attrs.unwrap_or(entry.meta.attrs);
        if let (Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor }, Some(device)) =
            (&mut entry.kind, facts.device)
        {
            (*major, *minor) = device;
        }
    }

    /// Adds extended attributes to those that were read. Returns a message about attributes that are too long
    /// and left out.
    pub(in crate::ops::backup) fn add_xattrs(&self, path: &[u8], entry: &mut Entry) -> Option<String> {
        let facts = self.0.get(path)?;
        let mut left_out = None;
        for (name, value) in &facts.xattrs {
            let inline = |xattr: &Xattr| match &xattr.value {
                XattrValue::Inline(bytes) => bytes.len(),
                XattrValue::Content { .. } => 0,
            };
            let xattrs = &mut entry.meta.xattrs;
            xattrs.retain(|xattr| xattr.name != *name);
            if xattrs.iter().map(inline).sum::<usize>() + value.len() > INLINE {
                left_out = Some(format!(
                    "its extended attribute {} is too long and was not saved",
                    String::from_utf8_lossy(name)
                ));
                continue;
            }
            let at = xattrs.partition_point(|xattr| xattr.name < *name);
            xattrs.insert(at, Xattr { name: name.clone(), value: XattrValue::Inline(value.clone()) });
        }
        left_out
    }
}

/// Checks whether what was read of a state is reliable. Called before its snapshot is committed.
#[derive(Clone)]
pub struct Check(Arc<dyn Fn() -> Result<()> + Send + Sync>);

impl Check {
    /// Creates a check from a function.
    pub fn new(check: impl Fn() -> Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }

    /// Runs the check.
    ///
    /// # Errors
    /// What was read is not reliable, and why.
    pub fn ask(&self) -> Result<()> {
        (self.0)()
    }
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Check")
    }
}
