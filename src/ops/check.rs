//! `check`: whether everything that a snapshot needs is there and what it should be.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use crate::codec::block::BlockOpener;
use crate::codec::envelope;
use crate::codec::hash;
use crate::codec::hash::ChunkType;
use crate::codec::pack::MAX_PACK;
use crate::codec::pack::Table;
use crate::error::Error;
use crate::error::Result;
use crate::model::entry::Kind;
use crate::model::entry::Part;
use crate::model::entry::Time;
use crate::model::id::ChunkId;
use crate::model::id::PackId;
use crate::model::malformed::Malformed;
use crate::model::record::DamageRecord;
use crate::model::record::Damaged;
use crate::model::record::SessionKind;
use crate::observe::Event;
use crate::observe::Observer;
use crate::store::chunks::ChunkReader;
use crate::store::index::Index;
use crate::store::keys;
use crate::store::objects;
use crate::store::packs;
use crate::store::repository::Repository;
use crate::store::session;
use crate::store::session::Session;
use crate::store::session::Sight;
use crate::store::snapshots;
use crate::store::storage::Area;
use crate::store::trees;
use crate::store::trees::DirStream;

/// Directories inside one another that are followed: the walk is recursive, and a hostile tree must not exhaust
/// the stack.
const DEEPEST: usize = 1000;

/// Which packs to read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Subset {
    /// One of `of` parts, counted from 1; all parts together are all packs.
    Part {
        /// Which.
        index: u64,
        /// Of how many.
        of: u64,
    },
    /// A random share.
    Percent(f64),
    /// Random packs of about so many bytes.
    Bytes(u64),
}

/// How deep to look.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Read and verify every byte of every pack.
    pub read_data: bool,
    /// Only of these packs.
    pub subset: Option<Subset>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Snapshots whose trees were walked.
    pub snapshots: u64,
    /// Packs listed.
    pub packs: u64,
    /// Chunks in them, copies counted.
    pub chunks: u64,
    /// Bytes of packs read whole.
    pub bytes_read: u64,
    /// What is wrong; each names its object.
    pub errors: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

struct Checker<'a> {
    repo: &'a Repository,
    observer: &'a dyn Observer,
    stop: &'a AtomicBool,
    report: Report,
    damage: Vec<(Damaged, String)>,
    /// Directories walked, and whether something below them is missing.
    seen: HashMap<ChunkId, bool>,
}

/// Checks.
///
/// # Errors
/// When the store fails or the run was interrupted; what is wrong with the repository is in the report.
pub fn run(
    repo: &Repository,
    options: &Options,
    observer: &dyn Observer,
    stop: &AtomicBool,
) -> Result<Report> {
    let reader = Session::open(repo.shared_storage(), repo.ring(), SessionKind::Reader);
    let (session, sight) = match reader {
        Ok((session, sight)) => (Some(session), sight),
        Err(Error::Io { .. }) => (None, Sight::look(repo.storage(), repo.ring(), |_| Ok(()))?),
        Err(err) => return Err(err),
    };
    let mut checker =
        Checker { repo, observer, stop, report: Report::default(), damage: Vec::new(), seen: HashMap::new() };
    checker.small_objects()?;
    let index = Arc::new(Index::load(repo, sight)?);
    checker.report.packs = index.sight().packs.len() as u64;
    checker.report.chunks = index.chunks();
    for (pack, why) in &index.unreadable {
        checker.pack_error(*pack, why);
    }
    if options.read_data || options.subset.is_some() {
        checker.read_packs(&index, options.subset)?;
    }
    checker.walk_snapshots(&index)?;
    let by = session.as_ref().map_or_else(session::new_id, |session| Ok(session.id))?;
    checker.record(by);
    checker.report.warnings.extend(repo.warnings());
    if let Some(session) = session {
        session.close()?;
    }
    Ok(checker.report)
}

impl Checker<'_> {
    fn error(&mut self, text: String) {
        if !self.report.errors.contains(&text) {
            self.report.errors.push(text);
        }
    }

    fn pack_error(&mut self, pack: PackId, err: &Error) {
        let text = err.chain();
        self.damage.push((Damaged::Pack(pack), text.clone()));
        self.error(text);
    }

    /// Configurations, key slots, manifests, trash and collections' records: read each from the store itself.
    fn small_objects(&mut self) -> Result<()> {
        let vanished = self.repo.vanished()?;
        for name in vanished {
            self.report
                .warnings
                .push(format!("{name} was here when this machine last looked and is gone now"));
        }
        for (_, slot) in keys::all(self.repo.storage())? {
            if let Err(err) = slot {
                self.error(err.chain());
            }
        }
        for found in self.repo.storage().list(Area::Config)? {
            if let Err(err) = self.repo.check_config(&found.name) {
                self.error(err.chain());
            }
        }
        for found in self.repo.storage().list(Area::Snapshots)? {
            match snapshots::verify(self.repo, &found.name) {
                Err(err) if err.is_missing() => {}
                Err(err @ Error::Damaged { .. }) => self.error(err.chain()),
                other => other?,
            }
        }
        for found in self.repo.storage().list(Area::Trash)? {
            let bound = found.name.split('.').next().unwrap_or_default();
            let bytes = self.repo.storage().read(Area::Trash, &found.name, envelope::MAX_OBJECT)?;
            let opened: Result<crate::model::manifest::Manifest> =
                objects::open(self.repo.ring(), envelope::MANIFEST, Area::Trash, &found.name, bound, bytes);
            if let Err(err) = opened {
                self.error(err.chain());
            }
        }
        Ok(())
    }

    /// Every byte: the hash of the file, both tables, each block, each chunk's id.
    fn read_packs(&mut self, index: &Index, subset: Option<Subset>) -> Result<()> {
        let mut opener =
            BlockOpener::new(self.repo.ring().clone()).map_err(Error::damaged("a block reader"))?;
        let chosen = choose(&index.sight().packs, subset)?;
        let bytes = chosen.iter().map(|(_, len)| len).sum();
        self.observer.notice(Event::Expect { files: chosen.len() as u64, bytes });
        for (id, len) in chosen {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            match verify_pack(self.repo, &mut opener, &id, len) {
                Ok(()) => {}
                Err(err) if err.is_damage() => self.pack_error(id, &err),
                Err(err) => return Err(err),
            }
            self.report.bytes_read += len;
            self.observer.notice(Event::Done { files: 1, bytes: len });
        }
        Ok(())
    }

    fn walk_snapshots(&mut self, index: &Arc<Index>) -> Result<()> {
        let bad: HashSet<PackId> = self
            .damage
            .iter()
            .filter_map(|(what, _)| match what {
                Damaged::Pack(pack) => Some(*pack),
                Damaged::Chunk(_) => None,
            })
            .collect();
        let mut reader = ChunkReader::new(self.repo, Arc::clone(index))?;
        for snapshot in snapshots::list_all(self.repo)?.snapshots {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            self.report.snapshots += 1;
            let name = format!("snapshot {}", snapshot.id.short());
            self.tree(&mut reader, &bad, snapshot.manifest.root, Vec::new(), &name, 0)?;
        }
        Ok(())
    }

    /// Walks each distinct tree once; true when all below is whole.
    fn tree(
        &mut self,
        reader: &mut ChunkReader,
        bad: &HashSet<PackId>,
        tree: ChunkId,
        base: Vec<u8>,
        snapshot: &str,
        depth: usize,
    ) -> Result<bool> {
        if let Some(whole) = self.seen.get(&tree).copied() {
            if !whole {
                self.error(format!(
                    "{snapshot}: /{} is affected by the same damage",
                    String::from_utf8_lossy(&base)
                ));
            }
            return Ok(whole);
        }
        let mut whole = true;
        let mut dir = DirStream::new(tree);
        loop {
            let entry = match dir.next(reader) {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(err) if err.is_damage() => {
                    whole = false;
                    self.damage.push((Damaged::Chunk(tree), err.chain()));
                    self.error(format!(
                        "{snapshot}: directory /{}: {}",
                        String::from_utf8_lossy(&base),
                        err.chain()
                    ));
                    break;
                }
                Err(err) => return Err(err),
            };
            let path = if base.is_empty() {
                entry.name.clone()
            } else {
                [&base, b"/".as_slice(), &entry.name].concat()
            };
            match &entry.kind {
                Kind::Dir { tree } if depth < DEEPEST => {
                    whole &= self.tree(reader, bad, *tree, path, snapshot, depth + 1)?;
                }
                Kind::Dir { .. } => {
                    whole = false;
                    let base = String::from_utf8_lossy(&base);
                    self.error(format!(
                        "{snapshot}: below /{base}: {DEEPEST} directories deep, further than check follows"
                    ));
                }
                Kind::File { size, content } => {
                    if let Err(err) = file(reader, bad, *size, content) {
                        if !err.is_damage() {
                            return Err(err);
                        }
                        whole = false;
                        if let Error::Missing { .. } = &err {
                            self.damage.push((Damaged::Chunk(tree), err.chain()));
                        }
                        self.error(format!(
                            "{snapshot}: /{}: {}",
                            String::from_utf8_lossy(&path),
                            err.chain()
                        ));
                    }
                }
                _ => {}
            }
        }
        self.seen.insert(tree, whole);
        Ok(whole)
    }

    /// Leaves records, so that the next backup stores again what its source still has. Best effort: the
    /// repository may be read-only.
    fn record(&self, by: crate::model::id::SnapshotId) {
        for (what, why) in self.damage.iter().take(1000) {
            let name = match what {
                Damaged::Pack(id) => id.hex(),
                Damaged::Chunk(id) => id.hex(),
            };
            let record = DamageRecord { what: *what, by, at: Time::now(), why: why.clone() };
            let repo = self.repo;
            let _ =
                objects::create(repo.storage(), repo.ring(), envelope::DAMAGE, Area::Damage, &name, &record);
        }
    }
}

/// Whether every chunk of a file lies in a pack that is whole as far as is known.
fn file(
    reader: &mut ChunkReader,
    bad: &HashSet<PackId>,
    size: u64,
    content: &crate::model::entry::Content,
) -> Result<()> {
    let index = Arc::clone(reader.index());
    trees::each_part(reader, size, content, &mut |part| {
        let Part::Chunk { id, .. } = part else { return Ok(()) };
        let mut copies = index.copies(ChunkType::Data, &id).peekable();
        if copies.peek().is_none() {
            return Err(Error::Missing { what: format!("chunk {}", id.short()) });
        }
        let sound = copies
            .any(|(location, _)| index.place(location.block).is_some_and(|place| !bad.contains(&place.pack)));
        let why = Malformed::because("it lies in a damaged pack");
        sound
            .then_some(())
            .ok_or_else(|| Error::Damaged { what: format!("chunk {}", id.short()), source: why })
    })
}

fn verify_pack(repo: &Repository, opener: &mut BlockOpener, id: &PackId, len: u64) -> Result<()> {
    let name = id.hex();
    let damaged =
        |why: &'static str| Error::Damaged { what: Area::Packs.path(&name), source: Malformed::because(why) };
    let bytes = repo.storage().read(Area::Packs, &name, MAX_PACK)?;
    if hash::sha256(&bytes) != *id.as_bytes() {
        return Err(damaged("its bytes do not hash to its name"));
    }
    let table = packs::table_at(repo.storage(), repo.ring(), id, len, false)?;
    if table != packs::table_at(repo.storage(), repo.ring(), id, len, true)? {
        return Err(damaged("its two tables differ"));
    }
    verify_blocks(repo, opener, &table, &bytes).map_err(Error::damaged(Area::Packs.path(&name)))
}

fn verify_blocks(
    repo: &Repository,
    opener: &mut BlockOpener,
    table: &Table,
    bytes: &[u8],
) -> Result<(), Malformed> {
    let mut plain = Vec::new();
    for row in &table.blocks {
        let start = row.offset as usize;
        let sealed = bytes
            .get(start..start + row.stored as usize)
            .ok_or(Malformed::because("a block past its end"))?;
        opener.open(table.kind, row.codec, row.plain, &mut sealed.to_vec(), &mut plain)?;
        let mut rest = plain.as_slice();
        for (id, len) in &row.chunks {
            let (chunk, behind) =
                rest.split_at_checked(*len as usize).ok_or(Malformed::because("a chunk past its block"))?;
            rest = behind;
            if repo.namer().name(table.kind, chunk) != *id {
                return Err(Malformed::with(format!("chunk {} does not have its id", id.short())));
            }
        }
    }
    Ok(())
}

fn choose(packs: &[(PackId, u64)], subset: Option<Subset>) -> Result<Vec<(PackId, u64)>> {
    let mut all = packs.to_vec();
    let Some(subset) = subset else { return Ok(all) };
    // By a random order, so that repeated small checks reach everything.
    let salt = session::new_id()?;
    let draw = |id: &PackId| hash::sha256(&[salt.as_bytes().as_slice(), id.as_bytes()].concat());
    match subset {
        Subset::Part { index, of } => {
            all.retain(|(id, _)| id.prefix() % of.max(1) == index.saturating_sub(1));
        }
        Subset::Percent(percent) => {
            all.sort_by_key(|(id, _)| draw(id));
            let count = (all.len() as f64 * percent.clamp(0.0, 100.0) / 100.0).ceil() as usize;
            all.truncate(count);
        }
        Subset::Bytes(bytes) => {
            all.sort_by_key(|(id, _)| draw(id));
            let mut sum = 0;
            all.retain(|(_, len)| {
                let take = sum < bytes;
                sum += len;
                take
            });
        }
    }
    Ok(all)
}
