//! A storage in memory that records every call, and runs hooks right before chosen ones.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{CreateOutcome, Listed, LockGuard, ObjectKind, Storage};
use snap_backup::{Error, Result};

/// An operation on an object, or on an area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    List,
    Read,
    Create,
    Replace,
    Remove,
    Sync,
}

/// One call; the name is empty for a listing.
pub type Call = (Act, ObjectKind, String);

type Work = Box<dyn FnOnce(&MemoryStorage, &str) + Send>;

/// Calls are passed to `inner`, which others may use as well without being recorded.
#[derive(Default)]
pub struct Hooked {
    pub inner: Arc<MemoryStorage>,
    /// It gives none of the guarantees for concurrent garbage collection.
    pub distrusted: AtomicBool,
    /// It is remote.
    pub far: AtomicBool,
    /// Nothing may be created there, or removed.
    pub closed: Mutex<Option<ObjectKind>>,
    /// A call of this kind fails, once, after so many others of its kind.
    pub failing: Mutex<Option<(Act, ObjectKind, usize)>>,
    /// A failing call violates an invariant.
    pub is_bug: AtomicBool,
    calls: Mutex<Vec<Call>>,
    hooks: Mutex<Vec<(Act, ObjectKind, Work)>>,
    /// Removed, and not made durable yet.
    unsynced: Mutex<Vec<(ObjectKind, String, Vec<u8>)>>,
}

impl Hooked {
    /// Right before the next call of this kind, once, `work` gets the storage and the name of the object. Of
    /// several hooks for one kind of call, each takes a call of its own, in the order in which they were set.
    pub fn before(
        &self,
        act: Act,
        area: ObjectKind,
        work: impl FnOnce(&MemoryStorage, &str) + Send + 'static,
    ) {
        self.hooks.lock().unwrap().push((act, area, Box::new(work)));
    }

    /// Returns the calls since the last call of this.
    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    /// A power cut: removed objects return unless their area was synced since. Everything else is durable
    /// when it is created.
    pub fn cut_power(&self) {
        for (area, name, bytes) in std::mem::take(&mut *self.unsynced.lock().unwrap()) {
            self.inner.create(area, &name, &[&bytes]).unwrap();
        }
    }

    /// Returns what a power cut would bring back.
    pub fn unsynced(&self) -> Vec<(ObjectKind, String)> {
        self.unsynced.lock().unwrap().iter().map(|(area, name, _)| (*area, name.clone())).collect()
    }

    /// Returns whether every hook has run.
    pub fn is_spent(&self) -> bool {
        self.hooks.lock().unwrap().is_empty()
    }

    fn admit(&self, act: Act, area: ObjectKind) -> Result<()> {
        let changes = matches!(act, Act::Create | Act::Remove);
        if changes && *self.closed.lock().unwrap() == Some(area) {
            return Err(Error::Refused(format!("{} is closed", area.folder())));
        }
        let mut failing = self.failing.lock().unwrap();
        match &mut *failing {
            Some((of, there, 0)) if (*of, *there) == (act, area) => {
                *failing = None;
                if self.is_bug.load(Ordering::Relaxed) {
                    return Err(Error::Bug { what: "a rule" });
                }
                Err(Error::Refused(format!("{} fails", area.folder())))
            }
            Some((of, there, after)) if (*of, *there) == (act, area) => {
                *after -= 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn note(&self, act: Act, area: ObjectKind, name: &str) {
        let due = {
            let mut hooks = self.hooks.lock().unwrap();
            let at = hooks.iter().position(|hook| (hook.0, hook.1) == (act, area));
            at.map(|at| hooks.remove(at).2)
        };
        if let Some(work) = due {
            work(&self.inner, name);
        }
        self.calls.lock().unwrap().push((act, area, name.to_owned()));
    }
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooked")
    }
}

impl Storage for Hooked {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn list(&self, area: ObjectKind) -> Result<Vec<Listed>> {
        self.note(Act::List, area, "");
        self.admit(Act::List, area)?;
        self.inner.list(area)
    }
    fn read(&self, area: ObjectKind, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.note(Act::Read, area, name);
        self.admit(Act::Read, area)?;
        self.inner.read(area, name, limit)
    }
    fn read_range(&self, area: ObjectKind, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        self.note(Act::Read, area, name);
        self.admit(Act::Read, area)?;
        self.inner.read_range(area, name, offset, out)
    }
    fn create(&self, area: ObjectKind, name: &str, parts: &[&[u8]]) -> Result<CreateOutcome> {
        self.note(Act::Create, area, name);
        self.admit(Act::Create, area)?;
        self.inner.create(area, name, parts)
    }
    fn create_held(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<Box<dyn LockGuard>> {
        self.note(Act::Create, area, name);
        self.admit(Act::Create, area)?;
        self.inner.create_held(area, name, bytes)
    }
    fn replace(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<()> {
        self.note(Act::Replace, area, name);
        self.admit(Act::Replace, area)?;
        self.inner.replace(area, name, bytes)
    }
    fn is_held(&self, area: ObjectKind, name: &str) -> Result<Option<bool>> {
        if self.distrusted.load(Ordering::Relaxed) { Ok(None) } else { self.inner.is_held(area, name) }
    }
    fn is_remote(&self) -> bool {
        self.far.load(Ordering::Relaxed)
    }
    fn weakness(&self) -> Result<Option<String>> {
        Ok(self.distrusted.load(Ordering::Relaxed).then(|| "a store of hearsay".to_owned()))
    }
    fn remove(&self, area: ObjectKind, name: &str) -> Result<()> {
        self.note(Act::Remove, area, name);
        self.admit(Act::Remove, area)?;
        let removed = self.inner.get(area, name).map(|bytes| (area, name.to_owned(), bytes));
        self.unsynced.lock().unwrap().extend(removed);
        self.inner.remove(area, name)
    }
    fn sync(&self, area: ObjectKind) -> Result<()> {
        self.note(Act::Sync, area, "");
        self.admit(Act::Sync, area)?;
        self.unsynced.lock().unwrap().retain(|(of, ..)| *of != area);
        self.inner.sync(area)
    }
}
