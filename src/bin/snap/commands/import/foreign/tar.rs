//! Imports through tar archives written by the other program, where it cannot be mounted.

use std::io::{self, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Instant;

use snap_backup::ops::backup::states::Planned;
use snap_backup::ops::import::{self, Options, Report};
use snap_backup::progress::{Event, Observer};
use snap_backup::repo::snapshots;
use snap_backup::{Control, Error, ErrorKind, Problem, Result};

use super::program::Program;
use super::report::{Done, Made};
use super::{Found, Job, report};
use crate::terminal::progress::Progress;

/// Maximum number of bytes of standard error that are kept for an error message.
const SAID: u64 = 64 << 10;

/// Imports all missing snapshots, oldest first.
pub(super) fn run(job: &Job<'_>, planned: &[Planned], done: &mut Done) -> Result<()> {
    let progress = Progress::start(&job.context.global, "import", true);
    let total = planned.iter().filter(|one| one.there.is_none()).count();
    let mut compared = (0, 0);
    let clock = Instant::now();
    for one in planned {
        let Some(found) = job.found_of(&one.state) else { continue };
        let mut root = None;
        if one.there.is_none() {
            let summary = import(job, one, found, &progress, false)?;
            root = Some(summary.root);
            done.made.extend(summary.snapshot.map(|id| id.hex()));
            let number = done.made.len();
            let made = Made {
                id: summary.snapshot,
                counts: &summary.counts,
                number,
                total,
                elapsed: clock.elapsed(),
            };
            report::made(job, &progress, &one.state, &made)?;
            add(done, &summary);
        }
        if job.args.verify {
            if let Some(id) = one.there {
                root = snapshots::load(job.repo, &id.hex())?.map(|there| there.manifest.root);
            }
            let again = import(job, one, found, &progress, true)?;
            compared.0 += 1;
            if root != Some(again.root) {
                compared.1 += 1;
                let why = "its archive differs from what was imported";
                progress.notice(Event::Problem(&Problem::new(&*found.name, ErrorKind::Damaged, why)));
            }
        }
    }
    drop(progress);
    done.verified = job.args.verify.then_some(compared);
    Ok(())
}

fn add(done: &mut Done, summary: &Report) {
    done.counts.bytes_total += summary.counts.bytes_total;
    done.counts.bytes_read += summary.counts.bytes_read;
    done.counts.bytes_added += summary.counts.bytes_added;
    done.counts.bytes_stored += summary.counts.bytes_stored;
    done.problems.extend(summary.problems.iter().cloned());
}

fn import(job: &Job<'_>, one: &Planned, found: &Found, progress: &Progress, dry_run: bool) -> Result<Report> {
    let state = &one.state;
    let options = Options {
        sources: state.sources.iter().map(|source| source.stored.clone()).collect(),
        tags: state.tags.clone(),
        host: Some(state.host.clone()),
        user: state.user.clone(),
        description: state.description.clone(),
        origin: state.origin.clone(),
        time: Some(state.time),
        level: job.level(),
        dry_run,
        ..Options::default()
    };
    progress.notice(Event::Stage { name: "", unit: "files" });
    let archive = Archive::start(job.other.program(), job.other.dump(found))?;
    import::run(job.repo, &options, Box::new(archive), &Control::new(progress).with_cancel(job.stop))
        .map_err(|err| job.interrupted(err))
}

/// The output of a program. Its end is an error unless the program succeeded.
pub(super) struct Archive {
    program: Program,
    child: Child,
    out: ChildStdout,
    said: Option<JoinHandle<Vec<u8>>>,
    is_over: bool,
}

impl Archive {
    pub(super) fn start(program: &Program, mut command: Command) -> Result<Self> {
        let cannot = |source: io::Error| Error::Io { doing: "read", what: program.shown(), source };
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(cannot)?;
        let missing = || cannot(io::ErrorKind::BrokenPipe.into());
        let (out, mut stderr) =
            (child.stdout.take().ok_or_else(missing)?, child.stderr.take().ok_or_else(missing)?);
        let listen = move || {
            let mut said = Vec::new();
            let _ = (&mut stderr).take(SAID).read_to_end(&mut said);
            // Drains the rest, so that the program does not block on a full pipe.
            let _ = io::copy(&mut stderr, &mut io::sink());
            said
        };
        let said = std::thread::Builder::new().name("stderr".to_owned()).spawn(listen).map_err(cannot)?;
        Ok(Self { program: program.clone(), child, out, said: Some(said), is_over: false })
    }
}

impl Read for Archive {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.out.read(buffer)?;
        if count > 0 || buffer.is_empty() || self.is_over {
            return Ok(count);
        }
        self.is_over = true;
        let status = self.child.wait()?;
        let said = self.said.take().and_then(|said| said.join().ok()).unwrap_or_default();
        if self.program.succeeded(status) {
            Ok(0)
        } else {
            Err(io::Error::other(Error::Io {
                doing: "read",
                what: self.program.shown(),
                source: self.program.failure(status, &said),
            }))
        }
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        if !self.is_over {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
