//! Sessions: how writers, readers and collectors see each other (rules W1 and W2 of docs/design.md).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::codec::cipher;
use crate::codec::cipher::Ring;
use crate::codec::envelope;
use crate::error::Error;
use crate::error::Result;
use crate::model::entry::Time;
use crate::model::id::PackId;
use crate::model::id::SnapshotId;
use crate::model::record::Beat;
use crate::model::record::DamageRecord;
use crate::model::record::Damaged;
use crate::model::record::GcRecord;
use crate::model::record::SessionKind;
use crate::model::record::SessionRecord;
use crate::store::objects;
use crate::store::storage::Area;
use crate::store::storage::Hold;
use crate::store::storage::Storage;

/// Five minutes: a tenth of the time after which a collector may take a silent session for dead.
const BEAT_EVERY: Duration = Duration::from_secs(300);

/// This machine's name.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The name of whoever runs this.
pub fn user_name() -> String {
    let uid = rustix::process::getuid().as_raw();
    uzers::get_user_by_uid(uid)
        .map_or_else(|| uid.to_string(), |user| user.name().to_string_lossy().into_owned())
}

/// A new random id.
///
/// # Errors
/// When the system gives no randomness.
pub fn new_id() -> Result<SnapshotId> {
    let mut bytes = [0u8; 16];
    cipher::random(&mut bytes).map_err(Error::damaged("a new session"))?;
    Ok(SnapshotId::new(bytes))
}

/// What of a repository may be used: the fresh listing of packs, less what is condemned or damaged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sight {
    /// The highest collection there is.
    pub gc_seen: u64,
    /// Packs of unfinished collections.
    pub condemned: HashSet<PackId>,
    /// Roots of each unfinished collection.
    pub roots: Vec<Vec<SnapshotId>>,
    /// Packs found damaged.
    pub damaged: HashSet<PackId>,
    /// Whether any damage record stands.
    pub any_damage: bool,
    /// All listed packs with their lengths.
    pub packs: Vec<(PackId, u64)>,
}

impl Sight {
    /// Looks, in the order of W1: collections twice, then damage, then packs. `seen` is called in between.
    ///
    /// # Errors
    /// When a listing or a record could not be read: an error is never an empty list.
    pub fn look(storage: &dyn Storage, ring: &Ring, seen: impl FnOnce(u64) -> Result<()>) -> Result<Self> {
        let first = storage.list(Area::Gc)?;
        let gc_seen = first.iter().filter_map(|found| gc_number(&found.name)).max().unwrap_or(0);
        // An empty first listing is followed by the second one as well: a record may have come in between.
        let second = storage.list(Area::Gc)?;
        let done: HashSet<&str> =
            second.iter().filter_map(|found| found.name.strip_suffix(".done")).collect();
        let mut sight = Self { gc_seen, ..Self::default() };
        for found in
            second.iter().filter(|found| !found.name.contains('.') && !done.contains(found.name.as_str()))
        {
            let record: GcRecord = objects::read(storage, ring, envelope::GC, Area::Gc, &found.name)?;
            sight.condemned.extend(record.condemned);
            sight.roots.push(record.roots);
        }
        seen(gc_seen)?;
        for found in storage.list(Area::Damage)? {
            sight.any_damage = true;
            let record: DamageRecord =
                objects::read(storage, ring, envelope::DAMAGE, Area::Damage, &found.name)?;
            if let Damaged::Pack(pack) = record.what {
                sight.damaged.insert(pack);
            }
        }
        for found in storage.list(Area::Packs)? {
            if let Ok(id) = PackId::parse(&found.name) {
                sight.packs.push((id, found.len));
            }
        }
        Ok(sight)
    }

    /// W2: whether what this snapshot holds may be reused without looking.
    pub fn vouches_for(&self, parent: &SnapshotId) -> bool {
        !self.any_damage && self.roots.iter().all(|roots| roots.contains(parent))
    }
}

/// The number of a collection's record or of its end.
pub fn gc_number(name: &str) -> Option<u64> {
    u64::from_str_radix(name.split('.').next()?, 16).ok()
}

/// A session, visible in the repository until it is closed.
#[derive(Debug)]
pub struct Session {
    /// Names it, and the snapshot it may commit.
    pub id: SnapshotId,
    storage: Arc<dyn Storage>,
    hold: Option<Box<dyn Hold>>,
    heart: Option<Heart>,
}

#[derive(Debug)]
struct Heart {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: JoinHandle<()>,
}

impl Session {
    /// W1: becomes visible, then looks.
    ///
    /// # Errors
    /// When the session could not be made durable or the repository could not be read.
    pub fn open(storage: &Arc<dyn Storage>, ring: &Ring, kind: SessionKind) -> Result<(Self, Sight)> {
        let id = new_id()?;
        let record = SessionRecord {
            kind,
            host: host_name(),
            boot: std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            pid: std::process::id(),
            started: Time::now(),
        };
        let bytes = objects::close(ring, envelope::SESSION, &id.hex(), &record)?;
        let hold = storage.create_held(Area::Sessions, &id.hex(), &bytes)?;
        let mut session = Self { id, storage: Arc::clone(storage), hold: Some(hold), heart: None };
        let sight =
            Sight::look(storage.as_ref(), ring, |gc_seen| beat(storage.as_ref(), ring, id, 1, gc_seen))?;
        session.heart = Some(Heart::start(Arc::clone(storage), ring.clone(), id, sight.gc_seen));
        Ok((session, sight))
    }

    /// Ends it: the heartbeat goes first, the session last.
    ///
    /// # Errors
    /// When it is still visible.
    pub fn close(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(hold) = self.hold.take() else { return Ok(()) };
        if let Some(heart) = self.heart.take() {
            heart.stop();
        }
        self.storage.remove(Area::Sessions, &format!("{}.beat", self.id))?;
        self.storage.remove(Area::Sessions, &self.id.hex())?;
        drop(hold);
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A session left behind costs a collector a look; there is nobody to tell.
        let _ = self.end();
    }
}

fn beat(storage: &dyn Storage, ring: &Ring, id: SnapshotId, count: u64, gc_seen: u64) -> Result<()> {
    let name = format!("{id}.beat");
    let bytes = objects::close(ring, envelope::BEAT, &name, &Beat { count, gc_seen })?;
    storage.replace(Area::Sessions, &name, &bytes)
}

impl Heart {
    fn start(storage: Arc<dyn Storage>, ring: Ring, id: SnapshotId, gc_seen: u64) -> Self {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let signal = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut count = 1;
            let mut stopped = signal.0.lock().unwrap_or_else(PoisonError::into_inner);
            while !*stopped {
                let wait = signal.1.wait_timeout(stopped, BEAT_EVERY).unwrap_or_else(PoisonError::into_inner);
                stopped = wait.0;
                if wait.1.timed_out() && !*stopped {
                    count += 1;
                    // A missed beat costs at worst a fence and a re-check.
                    let _ = beat(storage.as_ref(), &ring, id, count, gc_seen);
                }
            }
        });
        Self { stop, thread }
    }

    fn stop(self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        let _ = self.thread.join();
    }
}
