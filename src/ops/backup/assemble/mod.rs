//! The assembler: the one thread that owns the `ChunkWriter`, so dedup needs no lock. Builds the part
//! lists of files, and trees bottom-up.
//!
//! A directory's entries arrive in order of name, but the content of some arrives later. Each open directory
//! has a queue whose head is written as soon as it is complete, so memory is bounded by what is in flight.

mod file_end;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::thread::Scope;

use crossbeam_channel::{Receiver, Sender};

use crate::codec::crypto::hash::ChunkType;
use crate::codec::tree::dir::DirBuilder;
use crate::codec::tree::part_list::ListBuilder;
use crate::codec::tree::stored_xattrs::Value;
use crate::error::{Error, Result};
use crate::model::entry::{ContentPart, Entry, Kind};
use crate::model::id::ChunkId;
use crate::model::manifest::Counts;
use crate::model::manifest_ext::MoreCounts;
use crate::ops::backup::alarm::statistics::{ReadCounts, Tally};
use crate::ops::backup::dedup::DedupWriter;
use crate::ops::backup::messages::{Batch, Context, Message, Outcome, Previous, Step};
use crate::ops::backup::{Assembled, Run};
use crate::progress::Event;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::write::similarity::Pieces;

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "almost all messages are entries")]
enum Pending {
    Ready(Entry),
    /// The entry of this file or directory is still to come.
    Waiting(u64),
}

#[derive(Debug)]
struct OpenDir {
    owner: u32,
    queue: VecDeque<Pending>,
    builder: DirBuilder,
    /// The pieces of its tree in the parent.
    known: Pieces,
    /// The directory that contains it; `None` for the root.
    container: Option<u64>,
    closed: Option<Closed>,
}

/// How a directory ended.
#[derive(Debug)]
struct Closed {
    /// `None` for the root.
    entry: Option<Entry>,
    before: Option<ChunkId>,
    same: bool,
}

#[derive(Debug)]
struct OpenFile {
    dir: u64,
    entry: Entry,
    path: Vec<u8>,
    was: Previous,
    steady: Option<PathBuf>,
    list: ListBuilder,
    pieces: Pieces,
    first_chunk: Option<ChunkId>,
}

struct Assembler<'run, 'scope, 'env> {
    store: DedupWriter<'run, 'scope, 'env>,
    dirs: HashMap<u64, OpenDir>,
    /// Boxed, as thousands wait for their readers and the map grows by doubling.
    files: HashMap<u64, Box<OpenFile>>,
    /// Steps of files that arrived before the comparer's message about the file.
    early: HashMap<u64, Vec<Step>>,
    /// Complete entries that are still in a queue; `None` if the file was not saved.
    resolved: HashMap<u64, Option<Entry>>,
    root: Option<ChunkId>,
    counts: Counts,
    more: MoreCounts,
    read: ReadCounts,
    /// Reads part lists of files that may have rotted. Opened at the first one.
    lists: Option<ChunkReader>,
}

/// Assembles until the comparer and all readers have ended.
pub(super) fn assemble_all<'run, 'scope, 'env>(
    run: &'env Run<'run>,
    messages: &Receiver<Vec<Message>>,
    buffers: &Sender<Vec<u8>>,
    scope: &'scope Scope<'scope, 'env>,
) -> Result<Assembled> {
    let store = DedupWriter::new(run, scope);
    let mut assembler = Assembler {
        store,
        dirs: HashMap::new(),
        files: HashMap::new(),
        early: HashMap::new(),
        resolved: HashMap::new(),
        root: None,
        counts: Counts::default(),
        more: MoreCounts::default(),
        read: ReadCounts::default(),
        lists: None,
    };
    let mut result = Ok(());
    for mut message in messages.iter().flatten() {
        // After a failure the channel is drained and buffers are returned, so that no reader waits for one.
        let mut buffer = match &mut message {
            Message::Batch(batch) => std::mem::take(&mut batch.plain),
            _ => Vec::new(),
        };
        let is_pooled = !buffer.is_empty();
        if result.is_ok() {
            result = assembler.handle(message, &mut buffer);
            if result.is_err() {
                run.failed.store(true, Ordering::Relaxed);
            }
        }
        if is_pooled {
            // The channel has room for every buffer. A failure means that all readers have ended.
            let _ = buffers.try_send(buffer);
        }
    }
    let (session, written) = assembler.store.finish(result)?;
    assembler.counts.bytes_added = written.added;
    (assembler.more.data_chunks, assembler.more.tree_chunks) = written.new_chunks;
    let root = assembler.root.ok_or(Error::Stopped)?;
    Ok(Assembled {
        root,
        session,
        counts: assembler.counts,
        more: assembler.more,
        deltas: written.deltas,
        read: assembler.read,
        tally: Tally::default(),
    })
}

impl Assembler<'_, '_, '_> {
    fn handle(&mut self, message: Message, plain: &mut Vec<u8>) -> Result<()> {
        match message {
            Message::Enter { seq, dir, owner, known } => {
                let open = OpenDir {
                    owner,
                    queue: VecDeque::new(),
                    builder: DirBuilder::default(),
                    known: Pieces::new(known),
                    container: dir,
                    closed: None,
                };
                self.dirs.insert(seq, open);
                if let Some(dir) = dir {
                    self.add_entry(dir, Pending::Waiting(seq))?;
                }
                Ok(())
            }
            Message::Entry { dir, entry } => self.add_entry(dir, Pending::Ready(entry)),
            Message::Root { tree } => {
                self.root = Some(tree);
                Ok(())
            }
            Message::File { seq, dir, entry, path, was, steady, pieces } => {
                let (list, pieces) = (ListBuilder::default(), Pieces::new(pieces));
                let file = OpenFile { dir, entry, path, was, steady, list, pieces, first_chunk: None };
                self.files.insert(seq, Box::new(file));
                self.add_entry(dir, Pending::Waiting(seq))?;
                let early = self.early.remove(&seq).unwrap_or_default();
                early.into_iter().try_for_each(|step| self.apply_step(step))
            }
            Message::Leave { seq, entry, before, same } => {
                if let Some(dir) = self.dirs.get_mut(&seq) {
                    dir.closed = Some(Closed { entry, before, same });
                }
                self.drain(seq)
            }
            Message::Batch(batch) => self.store_batch(batch, plain),
            Message::Value { context, value: Value { id, bytes } } => {
                self.close_isolated_blocks(context)?;
                self.store.put_chunk(context.owner, (ChunkType::Data, id), &bytes, &[])?;
                self.close_isolated_blocks(context)
            }
        }
    }

    fn add_entry(&mut self, dir: u64, pending: Pending) -> Result<()> {
        let Some(open) = self.dirs.get_mut(&dir) else { return Ok(()) };
        let idle = open.queue.is_empty();
        match pending {
            Pending::Ready(entry) if idle => {
                let (store, known, owner) = (&mut self.store, &mut open.known, open.owner);
                let hasher = store.run.repo.hasher();
                open.builder.push(&entry, hasher, &mut |bytes| store.put_tree(owner, bytes, (known, true)))
            }
            pending => {
                open.queue.push_back(pending);
                Ok(())
            }
        }
    }

    /// Closes the open blocks, if the context is that of an isolated file: it shares no block. Called before
    /// and after each of its batches and values.
    fn close_isolated_blocks(&mut self, context: Context) -> Result<()> {
        if context.file.is_some() { self.store.close_blocks(context.owner) } else { Ok(()) }
    }

    fn store_batch(&mut self, batch: Batch, plain: &mut Vec<u8>) -> Result<()> {
        let chunks = || {
            batch.steps.iter().filter_map(|step| match step {
                Step::Chunk { id, len, like, .. } => Some((*id, *len, like)),
                _ => None,
            })
        };
        let alone = chunks().all(|(_, _, like)| like.is_empty());
        let named: Vec<(ChunkId, u32)> = chunks().map(|(id, len, _)| (id, len)).collect();
        let owner = batch.context.owner;
        self.close_isolated_blocks(batch.context)?;
        if !alone || !self.store.put_whole(&named, plain)? {
            let mut rest = plain.as_slice();
            for (id, len, like) in chunks() {
                let (chunk, behind) = rest.split_at_checked(len as usize).ok_or(Error::Stopped)?;
                rest = behind;
                self.store.put_chunk(owner, (ChunkType::Data, id), chunk, like)?;
            }
        }
        self.close_isolated_blocks(batch.context)?;
        let run = self.store.run;
        if run.quota.is_some_and(|left| self.store.sealed_bytes() >= left) {
            run.quota_reached.store(true, Ordering::Relaxed);
        }
        let bytes = named.iter().map(|(_, len)| u64::from(*len)).sum();
        self.counts.bytes_read += bytes;
        self.store.count_read(bytes);
        run.observer.notice(Event::Done { files: 0, bytes });
        batch.steps.into_iter().try_for_each(|step| self.apply_step(step))
    }

    fn apply_step(&mut self, step: Step) -> Result<()> {
        let (Step::Chunk { seq, .. } | Step::Hole { seq, .. } | Step::End { seq, .. }) = &step;
        let seq = *seq;
        let Some(file) = self.files.get_mut(&seq) else {
            self.early.entry(seq).or_default().push(step);
            return Ok(());
        };
        match step {
            Step::Chunk { id, len, .. } => {
                file.first_chunk.get_or_insert(id);
                let (store, pieces, owner) = (&mut self.store, &mut file.pieces, file.entry.meta.uid);
                let mut put = |bytes: &[u8]| store.put_tree(owner, bytes, (pieces, false));
                file.list.push(ContentPart::Chunk { id, len }, &mut put)
            }
            Step::Hole { len, .. } => {
                let (store, pieces, owner) = (&mut self.store, &mut file.pieces, file.entry.meta.uid);
                store.run.observer.notice(Event::Done { files: 0, bytes: len });
                let mut put = |bytes: &[u8]| store.put_tree(owner, bytes, (pieces, false));
                file.list.push(ContentPart::Hole { len }, &mut put)
            }
            Step::End { outcome: Outcome::Again, .. } => {
                file.list = ListBuilder::default();
                file.first_chunk = None;
                Ok(())
            }
            Step::End { outcome, .. } => self.end_file(seq, outcome),
        }
    }

    /// Writes the complete entries at the head of a directory's queue. If the directory is finished, ends it
    /// and then the directories above it, as far as they are finished.
    fn drain(&mut self, seq: u64) -> Result<()> {
        let mut at = Some(seq);
        while let Some(seq) = at.take() {
            let Some(dir) = self.dirs.get_mut(&seq) else { return Ok(()) };
            let (store, known, owner) = (&mut self.store, &mut dir.known, dir.owner);
            let hasher = store.run.repo.hasher();
            while let Some(head) = dir.queue.pop_front() {
                let entry = match head {
                    Pending::Ready(entry) => Some(entry),
                    Pending::Waiting(waited) => match self.resolved.remove(&waited) {
                        Some(entry) => entry,
                        None => {
                            dir.queue.push_front(Pending::Waiting(waited));
                            return Ok(());
                        }
                    },
                };
                if let Some(entry) = entry {
                    let mut put = |bytes: &[u8]| store.put_tree(owner, bytes, (known, true));
                    dir.builder.push(&entry, hasher, &mut put)?;
                }
            }
            if dir.closed.is_none() {
                return Ok(());
            }
            at = self.end_dir(seq)?;
        }
        Ok(())
    }

    fn end_dir(&mut self, seq: u64) -> Result<Option<u64>> {
        let Some(mut dir) = self.dirs.remove(&seq) else { return Ok(None) };
        let (store, known) = (&mut self.store, &mut dir.known);
        let tree = dir.builder.finish(&mut |bytes| store.put_tree(dir.owner, bytes, (known, true)))?;
        match dir.closed {
            Some(Closed { entry: Some(mut entry), before, same }) => {
                let count = match before {
                    None => &mut self.more.dirs_new,
                    Some(before) if same && before == tree => &mut self.more.dirs_unchanged,
                    Some(_) => &mut self.more.dirs_changed,
                };
                *count += 1;
                entry.kind = Kind::Dir { tree };
                self.resolved.insert(seq, Some(entry));
            }
            _ => self.root = Some(tree),
        }
        Ok(dir.container)
    }
}
