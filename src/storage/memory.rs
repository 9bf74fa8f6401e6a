//! A repository in memory: for tests, which may also damage objects.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::storage::{
    CreateOutcome, Listed, LockGuard, ObjectKind, Storage, check_name, too_long, too_short,
};

type Objects = BTreeMap<(ObjectKind, String), Object>;

/// Bytes and their lock. As with a file, the lock of an object that is replaced or removed is lost.
#[derive(Debug, Default)]
struct Object {
    bytes: Vec<u8>,
    holder: Weak<()>,
    modified: Option<Time>,
}

impl Object {
    fn new(bytes: Vec<u8>, holder: Weak<()>) -> Self {
        Self { bytes, holder, modified: Some(Time::now()) }
    }
}

/// The object is locked while this is alive.
#[derive(Debug)]
struct MemoryLock {
    _alive: Arc<()>,
}

impl LockGuard for MemoryLock {}

/// Objects in a map. Nothing outlives the process.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    objects: Mutex<Objects>,
}

impl MemoryStorage {
    /// Returns the bytes of an object, if it exists.
    pub fn get(&self, area: ObjectKind, name: &str) -> Option<Vec<u8>> {
        self.objects.lock().get(&(area, name.to_owned())).map(|object| object.bytes.clone())
    }

    /// Sets the bytes of an object unconditionally, so that tests can damage it. Its lock is kept.
    pub fn put(&self, area: ObjectKind, name: &str, bytes: Vec<u8>) {
        self.objects.lock().entry((area, name.to_owned())).or_default().bytes = bytes;
    }

    /// Sets the modification time of an object, so that tests need not wait.
    pub fn date(&self, area: ObjectKind, name: &str, modified: Time) {
        if let Some(object) = self.objects.lock().get_mut(&(area, name.to_owned())) {
            object.modified = Some(modified);
        }
    }

    /// Inserts an object unless the name is taken.
    fn insert(&self, area: ObjectKind, name: &str, object: Object) -> Result<CreateOutcome> {
        check_name(area, name)?;
        let mut objects = self.objects.lock();
        let key = (area, name.to_owned());
        if objects.contains_key(&key) {
            return Ok(CreateOutcome::Exists);
        }
        objects.insert(key, object);
        Ok(CreateOutcome::New)
    }

    /// Calls `read` with the bytes of an object.
    fn read_with<T>(&self, area: ObjectKind, name: &str, read: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        check_name(area, name)?;
        match self.objects.lock().get(&(area, name.to_owned())) {
            Some(object) => read(&object.bytes),
            None => Err(Error::Missing { what: area.path(name) }),
        }
    }
}

impl Storage for MemoryStorage {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn list(&self, area: ObjectKind) -> Result<Vec<Listed>> {
        let objects = self.objects.lock();
        let of_area = objects.range((area, String::new())..).take_while(|((of, _), _)| *of == area);
        Ok(of_area
            .map(|((_, name), object)| Listed {
                name: name.clone(),
                len: object.bytes.len() as u64,
                modified: object.modified,
            })
            .collect())
    }

    fn read(&self, area: ObjectKind, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.read_with(area, name, |bytes| {
            if bytes.len() as u64 > limit {
                return Err(too_long(area.path(name)));
            }
            Ok(bytes.to_vec())
        })
    }

    fn read_range(&self, area: ObjectKind, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        self.read_with(area, name, |bytes| {
            if out.is_empty() {
                return Ok(());
            }
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let found = bytes.get(start..start.saturating_add(out.len()));
            out.copy_from_slice(found.ok_or_else(|| too_short(area.path(name)))?);
            Ok(())
        })
    }

    fn create(&self, area: ObjectKind, name: &str, parts: &[&[u8]]) -> Result<CreateOutcome> {
        self.insert(area, name, Object::new(parts.concat(), Weak::new()))
    }

    fn create_held(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<Box<dyn LockGuard>> {
        let alive = Arc::new(());
        let object = Object::new(bytes.to_vec(), Arc::downgrade(&alive));
        match self.insert(area, name, object)? {
            CreateOutcome::New => Ok(Box::new(MemoryLock { _alive: alive })),
            CreateOutcome::Exists => {
                Err(Error::io("create", area.path(name))(std::io::ErrorKind::AlreadyExists.into()))
            }
        }
    }

    fn replace(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<()> {
        check_name(area, name)?;
        let object = Object::new(bytes.to_vec(), Weak::new());
        self.objects.lock().insert((area, name.to_owned()), object);
        Ok(())
    }

    fn is_held(&self, area: ObjectKind, name: &str) -> Result<Option<bool>> {
        check_name(area, name)?;
        let objects = self.objects.lock();
        let object = objects.get(&(area, name.to_owned()));
        Ok(Some(object.is_some_and(|object| object.holder.strong_count() > 0)))
    }

    fn remove(&self, area: ObjectKind, name: &str) -> Result<()> {
        check_name(area, name)?;
        self.objects.lock().remove(&(area, name.to_owned()));
        Ok(())
    }

    fn sync(&self, _area: ObjectKind) -> Result<()> {
        Ok(())
    }
}
