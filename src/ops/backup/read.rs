//! Readers: open, read, cut, name. Chunks travel in batches of about a block, small files together.

use std::fs::File;
use std::io;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use rustix::fs::Mode;
use rustix::fs::OFlags;

use crate::codec::hash::ChunkType;
use crate::model::entry::Time;
use crate::model::id::ChunkId;
use crate::ops::backup::Run;
use crate::ops::backup::assemble::Message;
use crate::tree::source;

/// Plain bytes after which a batch is sent on.
const BATCH: usize = 1 << 20;

/// What to read.
#[derive(Debug)]
pub(super) enum Input {
    /// A file, as the walk saw it.
    File {
        /// Where.
        path: PathBuf,
        /// Its length then.
        size: u64,
    },
    /// Standard input or a command's output.
    Stream(Option<Vec<std::ffi::OsString>>),
}

/// One file to read; `seq` names it to the assembler.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) seq: u64,
    pub(super) input: Input,
}

/// How reading a file ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// All its chunks are sent.
    Done {
        /// Bytes read.
        size: u64,
        /// What the system said before the reading began: (mtime, ctime).
        times: Option<(Time, Time)>,
        /// It changed each time it was read.
        changed: bool,
    },
    /// Begin again: the chunks sent so far are of a version that is gone.
    Again,
    /// It was gone.
    Vanished,
    /// It could not be read.
    Failed(String),
}

/// Chunks of some files, and which of the files ended with them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Chunks one after the other.
    pub(super) plain: Vec<u8>,
    /// What happened, in order.
    pub(super) steps: Vec<Step>,
}

/// One thing a reader tells.
#[derive(Debug)]
pub(super) enum Step {
    /// The next `len` bytes of the batch are a chunk of this file.
    Chunk { seq: u64, id: ChunkId, len: u32 },
    /// A file ended.
    End { seq: u64, outcome: Outcome },
}

struct Reader<'a> {
    run: &'a Run<'a>,
    out: &'a Sender<Message>,
    batch: Batch,
    buffer: Vec<u8>,
}

/// Reads until there are no more jobs.
pub(super) fn work(run: &Run<'_>, jobs: &Receiver<Job>, out: &Sender<Message>) {
    let mut reader = Reader { run, out, batch: Batch::default(), buffer: Vec::new() };
    loop {
        // A batch must not wait for the next job: the assembler may need it to go on.
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
        reader.file(job);
        if reader.batch.plain.len() >= BATCH || reader.batch.steps.len() >= 1024 {
            reader.flush();
        }
    }
}

impl Reader<'_> {
    fn flush(&mut self) {
        if !self.batch.steps.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            // The assembler is gone only when it has failed; the job loop drains then.
            let _ = self.out.send(Message::Batch(batch));
        }
    }

    fn end(&mut self, seq: u64, outcome: Outcome) {
        self.batch.steps.push(Step::End { seq, outcome });
    }

    fn file(&mut self, job: Job) {
        let seq = job.seq;
        if self.run.stopping() {
            return self.end(seq, Outcome::Vanished);
        }
        let outcome = match job.input {
            Input::Stream(command) => self.stream(seq, command),
            Input::File { path, size } => self.attempts(seq, &path, size),
        };
        let outcome = outcome.unwrap_or_else(|err| match err.kind() {
            io::ErrorKind::NotFound => Outcome::Vanished,
            _ => Outcome::Failed(err.to_string()),
        });
        self.end(seq, outcome);
    }

    /// Reads a file; once more if it changed meanwhile.
    fn attempts(&mut self, seq: u64, path: &std::path::Path, size: u64) -> io::Result<Outcome> {
        for last in [false, true] {
            let mut file = open(path)?;
            let before = file.metadata()?;
            if !before.is_file() {
                return Err(io::Error::other("it is no regular file any more"));
            }
            let read = self.chunks(seq, &mut file, before.len().max(size))?;
            let after = file.metadata()?;
            let stamp = |found: &std::fs::Metadata| {
                (found.len(), found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec())
            };
            let changed = stamp(&before) != stamp(&after) || read != before.len();
            if !changed || last {
                let mtime = source::time(before.mtime(), before.mtime_nsec());
                let ctime = source::time(before.ctime(), before.ctime_nsec());
                return Ok(Outcome::Done { size: read, times: Some((mtime, ctime)), changed });
            }
            self.end(seq, Outcome::Again);
        }
        Err(io::Error::other("not read"))
    }

    fn stream(&mut self, seq: u64, command: Option<Vec<std::ffi::OsString>>) -> io::Result<Outcome> {
        let Some(command) = command else {
            let size = self.chunks(seq, &mut io::stdin().lock(), u64::MAX)?;
            return Ok(Outcome::Done { size, times: None, changed: false });
        };
        let (program, args) = command.split_first().ok_or(io::Error::other("no command given"))?;
        let mut child =
            std::process::Command::new(program).args(args).stdout(std::process::Stdio::piped()).spawn()?;
        let mut output = child.stdout.take().ok_or(io::Error::other("no output"))?;
        let size = self.chunks(seq, &mut output, u64::MAX)?;
        let status = child.wait()?;
        if status.success() {
            return Ok(Outcome::Done { size, times: None, changed: false });
        }
        Ok(Outcome::Failed(format!("the command failed: {status}")))
    }

    /// Reads to the end; cuts and names what comes.
    fn chunks(&mut self, seq: u64, input: &mut dyn Read, expected: u64) -> io::Result<u64> {
        let max = self.run.repo.chunker().max();
        let mut total = 0u64;
        let mut start = 0;
        let mut end = 0;
        let mut eof = false;
        // One byte more than expected, so that a file of the expected length shows its end in the first read.
        let room = usize::try_from(expected).unwrap_or(usize::MAX).saturating_add(1).clamp(4096, 4 * max);
        if self.buffer.len() < room {
            self.buffer.resize(room, 0);
        }
        loop {
            while !eof && end - start < max {
                if self.buffer.len() - end < max.min(room) && start > 0 {
                    self.buffer.copy_within(start..end, 0);
                    end -= start;
                    start = 0;
                }
                if end == self.buffer.len() {
                    self.buffer.resize(4 * max, 0);
                }
                let free = self.buffer.get_mut(end..).unwrap_or_default();
                match input.read(free) {
                    Ok(0) => eof = true,
                    Ok(count) => {
                        end += count;
                        total += count as u64;
                        // A regular file read to its known length: the short read says that this is the end.
                        eof = expected != u64::MAX && total >= expected && count < free.len();
                    }
                    Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                    Err(err) => return Err(err),
                }
            }
            if start == end {
                return Ok(total);
            }
            let ahead = self.buffer.get(start..end).unwrap_or_default();
            let len = self.run.repo.chunker().cut(ahead);
            let chunk = ahead.get(..len).unwrap_or_default();
            let id = self.run.repo.namer().name(ChunkType::Data, chunk);
            if self.batch.plain.capacity() == 0 {
                self.batch.plain.reserve_exact(BATCH + max);
            }
            self.batch.plain.extend_from_slice(chunk);
            self.batch.steps.push(Step::Chunk { seq, id, len: len as u32 });
            start += len;
            if self.batch.plain.len() >= BATCH {
                self.flush();
                if self.run.stopping() {
                    return Err(io::ErrorKind::NotFound.into());
                }
            }
        }
    }
}

/// Opens without following a link that was put in a file's place, and without touching its access time where
/// that is allowed.
fn open(path: &std::path::Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match rustix::fs::open(path, flags | OFlags::NOATIME, Mode::empty()) {
        Err(rustix::io::Errno::PERM) => Ok(rustix::fs::open(path, flags, Mode::empty())?.into()),
        opened => Ok(opened?.into()),
    }
}
