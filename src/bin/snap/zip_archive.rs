//! Writes a directory as a ZIP archive, for `restic dump --archive zip` and for downloads from `snap serve`.
//! It converts the members of the tar archive one at a time. Metadata that ZIP does not support is left out,
//! as in restic: devices and pipes, owners, extended attributes. Holes are stored as zeros.

use std::collections::BTreeSet;
use std::io::{self, BufReader, BufWriter, Read, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use snap_backup::codec::tar::Node;
use snap_backup::codec::tar::read::{Found, Next, Reader};
use snap_backup::codec::zip::{self, ZipWriter};
use snap_backup::model::entry::Time;
use snap_backup::model::id::SnapshotId;
use snap_backup::ops::{cat, export};
use snap_backup::progress::{Event, Observer};
use snap_backup::repo::repository::Repository;
use snap_backup::util::threads;
use snap_backup::{Control, Error, Result};

/// Size of the buffers for reading and writing.
const BUFFER_BYTES: usize = 256 << 10;

/// A directory of a snapshot.
#[derive(Clone, Copy)]
pub(crate) struct Dir<'a> {
    pub(crate) repo: &'a Repository,
    pub(crate) snapshot: &'a SnapshotId,
    pub(crate) path: &'a [u8],
    /// Prefix of the path of each member.
    pub(crate) prefix: &'a [u8],
    /// Names of the entries to include; all if `None`.
    pub(crate) names: Option<&'a BTreeSet<Vec<u8>>>,
}

/// Returns a selector for a path in the snapshot.
pub(crate) fn selector(snapshot: &SnapshotId, path: &[u8]) -> Vec<u8> {
    let id = snapshot.hex().into_bytes();
    if path.is_empty() { id } else { [&id, b":/".as_slice(), path].concat() }
}

/// Writes the directory to `out`, which is only appended to.
///
/// # Errors
/// The directory does not exist or cannot be read, or writing to `out` fails.
pub(crate) fn write(dir: Dir<'_>, out: &mut (dyn Write + Send), control: &Control<'_>) -> Result<()> {
    let options = export::Options {
        selector: selector(dir.snapshot, dir.path),
        format: export::Format::Tar,
        prefix: dir.prefix.to_vec(),
        names: dir.names.cloned(),
        ..export::Options::default()
    };
    let (from, mut to) = io::pipe().map_err(Error::io("make", "a pipe"))?;
    std::thread::scope(|scope| {
        let made = threads::start(scope, "tar", move || {
            export::run(dir.repo, &options, &mut to, control).map(drop)
        })?;
        // The reading end is closed when this returns, which ends the other thread.
        let written = write_members(dir, from, out, control.observer());
        match (made.join().unwrap_or(Err(Error::Stopped)), written) {
            // A broken pipe only means that the other side failed: the error of that side is returned.
            (Err(err), _) if !err.is_broken_pipe() => Err(err),
            (_, written) => written,
        }
    })
}

fn write_members(
    dir: Dir<'_>,
    tar: io::PipeReader,
    out: &mut (dyn Write + Send),
    observer: &dyn Observer,
) -> Result<()> {
    let mut reader = Reader::new(BufReader::with_capacity(BUFFER_BYTES, tar));
    let mut zip = ZipWriter::new(BufWriter::with_capacity(BUFFER_BYTES, out));
    while let Some(next) = reader.advance()? {
        match next {
            Next::Member(found) => write_member(dir, &mut zip, &mut reader, &found, observer)?,
            Next::Skipped(path, why) => warn_left_out(&path, &why, observer),
        }
    }
    zip.finish().map(drop)
}

fn write_member<R: Read, W: Write>(
    dir: Dir<'_>,
    zip: &mut ZipWriter<W>,
    reader: &mut Reader<R>,
    found: &Found,
    observer: &dyn Observer,
) -> Result<()> {
    let Found { member, size, segments } = found;
    let mut name = member.path.clone();
    if member.node == Node::Dir {
        name.push(b'/');
    }
    let (local, mtime) = (dos_time(member.mtime), member.mtime.sec);
    let of_type = |kind: u32| zip::ZipMember { name: &name, mode: kind | member.mode & 0o7777, local, mtime };
    match &member.node {
        Node::Dir => zip.add_empty(&of_type(0o040_000)),
        Node::Symlink(target) => zip
            .add(&of_type(0o120_000), |out| out.write_all(target).map_err(Error::io("write", "the archive"))),
        Node::File => zip.add(&of_type(0o100_000), |out| content(reader, out, *size, segments.as_deref())),
        // Tar refers to the first hard link; ZIP stores the content under each name.
        Node::HardLink(first) => {
            let first = first.strip_prefix(dir.prefix).unwrap_or(first);
            let path = [dir.path, b"/", first].concat();
            let selector = selector(dir.snapshot, path.strip_prefix(b"/").unwrap_or(&path));
            zip.add(&of_type(0o100_000), |out| cat::run(dir.repo, &selector, out))
        }
        Node::Fifo | Node::CharDevice { .. } | Node::BlockDevice { .. } => {
            warn_left_out(&member.path, "ZIP archives cannot contain devices and pipes", observer);
            Ok(())
        }
    }
}

fn warn_left_out(path: &[u8], why: &str, observer: &dyn Observer) {
    let text = format!("{} is left out: {why}", String::from_utf8_lossy(path));
    observer.notice(Event::Warning(&text));
}

/// Returns time and date in MS-DOS format: local time from 1980 to 2107, in steps of two seconds.
fn dos_time(time: Time) -> (u16, u16) {
    let first = (0, 1 << 5 | 1);
    let Ok(at) = Timestamp::from_second(time.sec) else { return first };
    let at = at.to_zoned_datetime(TimeZone::system());
    let part = |number: i8| u16::try_from(number).unwrap_or_default();
    match u16::try_from(i32::from(at.year()) - 1980) {
        Ok(year @ ..128) => (
            (part(at.hour()) << 11) | (part(at.minute()) << 5) | (part(at.second()) / 2),
            year << 9 | part(at.month()) << 5 | part(at.day()),
        ),
        _ => first,
    }
}

/// Copies the content of a file, with zeros for its holes.
fn content<R: Read>(
    reader: &mut Reader<R>,
    out: &mut dyn Write,
    size: u64,
    segments: Option<&[(u64, u64)]>,
) -> Result<()> {
    let whole = [(0, size)];
    let mut at = 0;
    for (offset, len) in segments.unwrap_or(&whole).iter().copied().chain([(size, 0)]) {
        let hole = io::repeat(0).take(offset.saturating_sub(at));
        copy(hole, out)?;
        copy(Content(reader).take(len), out)?;
        at = offset.saturating_add(len);
    }
    Ok(())
}

fn copy(mut from: impl Read, out: &mut dyn Write) -> Result<()> {
    match io::copy(&mut from, out) {
        Ok(_) => Ok(()),
        // An error of the reader is returned unchanged.
        Err(err) => Err(err.downcast::<Error>().unwrap_or_else(Error::io("write", "the archive"))),
    }
}

struct Content<'r, R>(&'r mut Reader<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out).map_err(io::Error::other)
    }
}
