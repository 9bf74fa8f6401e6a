//! Readers: open, read, cut and hash files. Chunks are sent in batches of about a block; small files share a
//! batch.

mod file;

use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::codec::randomness;
use crate::codec::tree::stored_xattrs::Value;
use crate::error::Error;
use crate::fs::stat::MetadataReader;
use crate::model::id::ChunkId;
use crate::ops::backup::Run;
use crate::ops::backup::messages::{Batch, Input, Job, Message, Outcome, Step};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::write::content_writer::{self, ChunkBuffer};
use crate::repo::write::similarity::{Follower, Older};
use crate::util::programs;
use crate::util::stoppable::{StoppableOutput, terminate};

/// Plain bytes after which a batch is sent: a block, at the default block size.
const BATCH_BYTES: usize = 2 << 20;
/// Maximum number of bytes read at once under a rate limit, so that reading is even.
const LIMITED_READ_BYTES: usize = 64 << 10;
/// Interval at which a waiting reader checks whether the run is to end.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Number of the interrupt signal, the same on every system.
const SIGINT: i32 = 2;

/// Wraps a violated invariant as an I/O error, which [`violated_rule`] recognizes.
fn bug(what: &'static str) -> io::Error {
    io::Error::other(Error::Bug { what })
}

fn violated_rule(err: &io::Error) -> Option<&'static str> {
    match err.get_ref()?.downcast_ref()? {
        Error::Bug { what } => Some(what),
        _ => None,
    }
}

/// Reused buffers: readers fill them, the assembler empties and returns them. Their number limits what is
/// read ahead.
#[derive(Debug)]
pub(super) struct Buffers {
    /// Empty buffers for the readers.
    pub(super) empty: Receiver<Vec<u8>>,
    /// Returns buffers from the assembler.
    pub(super) back: Sender<Vec<u8>>,
}

impl Buffers {
    /// Makes buffers for this many readers.
    pub(super) fn new(readers: usize) -> Self {
        let count = 2 * readers + 2;
        let (back, empty) = bounded(count);
        for _ in 0..count {
            // The channel has room for all of them.
            let _ = back.try_send(Vec::new());
        }
        Self { empty, back }
    }
}

pub(super) struct Reader<'a> {
    pub(super) run: &'a Run<'a>,
    empty: &'a Receiver<Vec<u8>>,
    out: &'a Sender<Vec<Message>>,
    pub(super) batch: Batch,
    pub(super) metadata_reader: MetadataReader,
    /// Follows an older version of the current file.
    follower: Option<Follower>,
    /// Whether the first chunk of the current file looks random; `None` before that chunk.
    pub(super) opaque: Option<bool>,
    /// Reads part lists of older versions. Opened at the first one.
    pub(super) lists: Option<ChunkReader>,
    /// Bytes of the batch that belong to chunks already cut.
    used: usize,
}

/// Reads until there are no more jobs.
pub(super) fn run(
    run: &Run<'_>,
    jobs: &Receiver<Job>,
    empty: &Receiver<Vec<u8>>,
    out: &Sender<Vec<Message>>,
) {
    let (batch, metadata_reader) = (Batch::default(), MetadataReader::default());
    let (follower, lists, opaque) = (None, None, None);
    let mut reader = Reader { run, empty, out, batch, metadata_reader, follower, opaque, lists, used: 0 };
    loop {
        // A batch must not wait for the next job: the assembler may need it to continue.
        let job = match jobs.try_recv() {
            Ok(job) => job,
            Err(_) => {
                reader.flush();
                match jobs.recv() {
                    Ok(job) => job,
                    Err(_) => return,
                }
            }
        };
        reader.read_file(job);
        if reader.batch.steps.len() >= 1024 {
            reader.flush();
        }
    }
}

impl Reader<'_> {
    /// Waits until this many bytes may be read, or the run is to end.
    fn wait_for_limit(&self, bytes: usize) {
        let Some(limit) = &self.run.read_limit else { return };
        let end = Instant::now() + limit.take(bytes);
        while !self.run.is_stopping() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(STOP_CHECK_INTERVAL));
        }
    }

    fn flush(&mut self) {
        if !self.batch.steps.is_empty() {
            self.used = 0;
            let next = Batch { context: self.batch.context, ..Batch::default() };
            let batch = std::mem::replace(&mut self.batch, next);
            // This fails only if the assembler has failed. The job loop then drains.
            let _ = self.out.send(vec![Message::Batch(batch)]);
        }
    }

    /// Returns an unused buffer. Waits for the assembler if there is none.
    fn take_buffer(&self) -> io::Result<Vec<u8>> {
        // The assembler is gone only if it has failed; then no outcome matters.
        let mut buffer = self.empty.recv().map_err(|_| io::Error::from(io::ErrorKind::NotFound))?;
        // Allocates only at the first use: buffers keep their length.
        buffer.resize(BATCH_BYTES + self.run.repo.chunker().max(), 0);
        Ok(buffer)
    }

    /// Sends values of extended attributes before the file that has them.
    pub(super) fn send_values(&mut self, values: Vec<Value>) {
        let context = self.batch.context;
        if !values.is_empty() {
            // As in `flush`, a failure means that the assembler has failed.
            let _ =
                self.out.send(values.into_iter().map(|value| Message::Value { context, value }).collect());
        }
    }

    pub(super) fn end_file(&mut self, seq: u64, outcome: Outcome) {
        self.batch.steps.push(Step::End { seq, outcome });
    }

    fn read_file(&mut self, job: Job) {
        let seq = job.seq;
        if self.batch.context != job.context {
            self.flush();
            self.batch.context = job.context;
        }
        if self.run.is_stopping() && job.expected.is_some() {
            return self.end_file(seq, Outcome::Unchanged { read: None, problem: None });
        }
        if self.run.is_stopping() {
            return self.end_file(seq, Outcome::Vanished);
        }
        let outcome = match job.input {
            Input::Stream(command) => {
                self.begin_file(job.older, None);
                self.read_stream(seq, command)
            }
            Input::File { path, size, inode } => match self.check_expected(&path, job.expected.as_deref()) {
                Some(outcome) => Ok(outcome),
                None => self.read_with_retry(seq, &path, size, inode, job.older.as_ref()),
            },
        };
        self.follower = None;
        let outcome = outcome.unwrap_or_else(|err| match (violated_rule(&err), err.kind()) {
            (Some(rule), _) => Outcome::Bug(rule),
            (None, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Outcome::Vanished,
            _ => Outcome::Failed(err.to_string()),
        });
        self.end_file(seq, outcome);
    }

    fn read_stream(&mut self, seq: u64, command: Option<Vec<std::ffi::OsString>>) -> io::Result<Outcome> {
        let Some(command) = command else {
            let size = self.read_chunks(seq, &mut io::stdin().lock(), u64::MAX)?;
            return Ok(Outcome::Done { size, seen: None, changed: false, opaque: false });
        };
        let (program, args) = command.split_first().ok_or(io::Error::other("no command given"))?;
        let mut command = programs::foreign(program);
        let started = command.args(args).stdout(std::process::Stdio::piped()).spawn();
        let mut child =
            started.map_err(|err| io::Error::other(format!("the command cannot be started: {err}")))?;
        let output = child.stdout.take().ok_or(io::Error::other("no output"))?;
        let run = self.run;
        let is_stopping = || run.is_stopping();
        let read = self.read_chunks(seq, &mut StoppableOutput::new(output, &is_stopping), u64::MAX);
        if read.is_err() {
            terminate(&mut child);
        }
        let size = read?;
        let status = child.wait()?;
        // The terminal sends Ctrl-C to both processes, and this one may handle it after the command has
        // ended.
        if status.signal() == Some(SIGINT) {
            self.run.stop.store(true, Ordering::Relaxed);
        }
        if status.success() {
            return Ok(Outcome::Done { size, seen: None, changed: false, opaque: false });
        }
        Ok(Outcome::Failed(format!("the command failed: {status}")))
    }

    /// Reads to the end. Cuts and hashes chunks in place, in the buffer they were read into.
    pub(super) fn read_chunks(&mut self, seq: u64, input: &mut dyn Read, expected: u64) -> io::Result<u64> {
        let (repo, end) = (self.run.repo, self.used);
        let mut stream = Stream { reader: self, seq, input, expected, total: 0, end };
        content_writer::cut_all(repo, &mut stream, false)?;
        Ok(stream.total)
    }

    /// Begins to follow the older version of a file, if there is one. `size` is that of the file, if known.
    pub(super) fn begin_file(&mut self, older: Option<Older>, size: Option<u64>) {
        self.follower = older.map(|older| Follower::new(older, size));
    }

    /// Adds a hole to the current file.
    pub(super) fn add_hole(&mut self, seq: u64, len: u64) {
        self.batch.steps.push(Step::Hole { seq, len });
        self.follower.iter_mut().for_each(|follower| follower.hole(len));
    }

    /// Returns chunks that the next chunk is probably similar to. If they cannot be determined, the rest of
    /// the file is stored without deltas.
    fn similar_chunks(&mut self, id: &ChunkId, len: u32) -> Vec<(ChunkId, u32)> {
        let Some(follower) = &mut self.follower else { return Vec::new() };
        if self.lists.is_none() {
            self.lists = ChunkReader::new(self.run.repo, Arc::clone(&self.run.index)).ok();
        }
        let like = self.lists.as_mut().and_then(|lists| follower.next(lists, id, len).ok());
        if like.is_none() {
            self.follower = None;
        }
        like.unwrap_or_default()
    }
}

/// A file that is being read into the batch.
struct Stream<'r, 'a> {
    reader: &'r mut Reader<'a>,
    seq: u64,
    input: &'r mut dyn Read,
    /// Bytes that are expected; `u64::MAX` if that is unknown.
    expected: u64,
    total: u64,
    /// Length of the used part of the batch's buffer.
    end: usize,
}

impl ChunkBuffer for Stream<'_, '_> {
    type Error = io::Error;

    fn bug(rule: &'static str) -> io::Error {
        bug(rule)
    }

    fn uncut(&self) -> io::Result<&[u8]> {
        let ahead = self.reader.batch.plain.get(self.reader.used..self.end);
        ahead.ok_or_else(|| bug("the bytes that were read are in the buffer"))
    }

    fn read_more(&mut self) -> io::Result<bool> {
        if self.reader.batch.plain.is_empty() {
            self.reader.batch.plain = self.reader.take_buffer()?;
        }
        // Never empty: less than a batch is used, followed by fewer uncut bytes than the longest chunk has.
        let free = self.reader.batch.plain.get_mut(self.end..).filter(|free| !free.is_empty());
        let free = free.ok_or_else(|| bug("a buffer that is not full has free space"))?;
        let limit = self.reader.run.read_limit.as_ref().map_or(usize::MAX, |_| LIMITED_READ_BYTES);
        let wanted = free.len().min(limit);
        let room = free.get_mut(..wanted).ok_or_else(|| bug("a piece is within the free space"))?;
        let count = match self.input.read(room) {
            Ok(0) => return Ok(false),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => return Ok(true),
            read => read?,
        };
        self.reader.wait_for_limit(count);
        self.end += count;
        self.total += count as u64;
        // Once the expected bytes are read, a read that did not fill the buffer shows the end.
        let is_full = self.end == self.reader.batch.plain.len();
        Ok(self.expected == u64::MAX || self.total < self.expected || is_full)
    }

    fn take_chunk(&mut self, id: ChunkId, len: usize) -> io::Result<()> {
        if self.reader.run.parent_choice.compare.is_some() && self.reader.opaque.is_none() {
            let chunk = self.uncut()?.get(..len).ok_or_else(|| bug("a chunk is within its buffer"))?;
            self.reader.opaque = Some(randomness::is_opaque(chunk));
        }
        let (seq, like) = (self.seq, self.reader.similar_chunks(&id, len as u32));
        self.reader.batch.steps.push(Step::Chunk { seq, id, len: len as u32, like });
        self.reader.used += len;
        if self.reader.used >= BATCH_BYTES { self.send_full_batch() } else { Ok(()) }
    }
}

impl Stream<'_, '_> {
    /// Sends the full batch, and moves the bytes after its last chunk to the next.
    fn send_full_batch(&mut self) -> io::Result<()> {
        let mut next = Vec::new();
        let rest = self.uncut()?;
        if !rest.is_empty() {
            next = self.reader.take_buffer()?;
            let start = next.get_mut(..rest.len());
            start.ok_or_else(|| bug("the remainder is smaller than a batch"))?.copy_from_slice(rest);
        }
        self.end = rest.len();
        self.reader.flush();
        self.reader.batch.plain = next;
        if self.reader.run.is_stopping() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(())
    }
}
