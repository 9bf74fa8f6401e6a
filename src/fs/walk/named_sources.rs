//! Sources that the user named: those inside others are reached, and those that are missing, empty or only a
//! link are reported.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crate::fs::filter::{EntryPath, ExcludingPattern, FilterVerdict};
use crate::fs::stat::{self, Inode};
use crate::fs::walk::WalkEvent;
use crate::fs::walk::walker::{ReceiverGone, Walker};
use crate::sys::fs::CWD;

/// Sources inside other sources.
impl Walker {
    pub(super) fn leads_to_source(&self, place: &Path) -> bool {
        self.nested.range(place.to_path_buf()..).next().is_some_and(|next| next.starts_with(place))
    }

    /// Returns the names in the current directory that lead to nested sources.
    pub(super) fn names_to_sources(&self) -> BTreeSet<Vec<u8>> {
        if self.nested.is_empty() {
            return BTreeSet::new();
        }
        let place = self.path_stack.place();
        let below = self.nested.range(place.to_path_buf()..).map_while(|path| path.strip_prefix(place).ok());
        let first = below.filter_map(|rest| rest.components().next());
        first.map(|name| name.as_os_str().as_bytes().to_vec()).collect()
    }

    /// Reports nested sources that do not exist, or lie below something that could not be entered.
    pub(super) fn report_unreached(&mut self) -> Result<(), ReceiverGone> {
        if self.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        for path in std::mem::take(&mut self.nested) {
            let why = match stat::stat(CWD, &path) {
                Err(err) => err.to_string(),
                Ok(_) => "not saved: a directory above it could not be read".to_owned(),
            };
            self.problem(path.as_os_str().as_bytes(), why)?;
        }
        Ok(())
    }
}

/// Reports about sources.
impl Walker {
    /// Returns the stored path of the current directory, or its file system path if that is empty.
    pub(super) fn current_path(&self) -> Vec<u8> {
        match self.path_stack.stored() {
            b"" => self.path_stack.place().as_os_str().as_bytes().to_vec(),
            stored => stored.to_vec(),
        }
    }

    /// Reports a source of which everything was excluded. If the filter excludes everything regardless of the
    /// contents, it contradicts the source, which is a problem. If it only excludes the current contents,
    /// that is a warning.
    pub(super) fn report_empty_source(&mut self) -> Result<(), ReceiverGone> {
        // No name contains a NUL, so only a pattern that matches every name matches this one.
        let any =
            EntryPath { dir: self.path_stack.place(), stored_dir: self.path_stack.stored(), name: b"\0" };
        let verdict = self.options.filter.decide(FilterVerdict::default(), any);
        let may_contain_some = !self.options.filter.excludes(verdict, any, false, 0);
        let path = self.current_path();
        let why = "nothing of this source is saved: all its contents are excluded";
        if may_contain_some {
            return self.send(WalkEvent::Warning(format!("{}: {why}", String::from_utf8_lossy(&path))));
        }
        self.problem(&path, format!("{why} (set `BackupOptions::allow_empty` if this is intended)"))
    }

    pub(super) fn report_own_dir(&mut self, stored: &[u8]) -> Result<(), ReceiverGone> {
        let path = if stored.is_empty() { self.current_path() } else { stored.to_vec() };
        let why = "not saved: snap itself writes here during the backup (it is the open repository, or \
                   snap's cache or state directory)";
        self.problem(&path, why.to_owned())
    }

    /// Reports a rule that would exclude a source, had it not been named.
    pub(super) fn warn_excluded(
        &mut self,
        path: &Path,
        stored: &[u8],
        found: &Inode,
    ) -> Result<(), ReceiverGone> {
        match self.options.filter.pattern_against(path, stored) {
            Some(ExcludingPattern { pattern, by_name: false }) => {
                let why = format!(
                    "the pattern '{pattern}' excludes a directory above this source: it is saved, because \
                     it was given by name; remove one of the two"
                );
                let path = if stored.is_empty() { path.as_os_str().as_bytes() } else { stored };
                return self.problem(path, why);
            }
            Some(ExcludingPattern { pattern, by_name: true }) => {
                let path = path.display();
                let text = format!(
                    "{path} is saved, because it was given by name, although the pattern '{pattern}' matches it"
                );
                return self.send(WalkEvent::Warning(text));
            }
            None => {}
        }
        if let Some(why) = self.options.filter.rule_against(path, found.is_dir(), found.size) {
            let path = path.display();
            return self.send(WalkEvent::Warning(format!(
                "{path} is saved, because it was given by name, although {why}"
            )));
        }
        Ok(())
    }

    /// Warns that only the link is saved: most users who give a link mean its target.
    pub(super) fn warn_link(
        &mut self,
        path: &Path,
        stored: &[u8],
        target: &[u8],
    ) -> Result<(), ReceiverGone> {
        let real = std::fs::canonicalize(path).ok();
        let is_saved = |real: &PathBuf| {
            let others = self.sources.iter().filter(|source| *source != path);
            others
                .filter_map(|source| std::fs::canonicalize(source).ok())
                .any(|source| real.starts_with(source))
        };
        if real.as_ref().is_some_and(is_saved) {
            return Ok(());
        }
        let (stored, target) = (String::from_utf8_lossy(stored), String::from_utf8_lossy(target));
        let instead = match real {
            Some(real) if real.is_dir() => format!(" (give {stored}/ to save the target)"),
            Some(real) => format!(" (give {} to save the target)", real.display()),
            None => String::new(),
        };
        self.send(WalkEvent::Warning(format!(
            "{stored} is a symbolic link: the link is saved, not its target {target}{instead}"
        )))
    }
}
