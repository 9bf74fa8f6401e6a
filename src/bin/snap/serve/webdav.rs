//! Snapshots as a read-only WebDAV tree: a directory per snapshot, named by time, and `latest`. Symbolic
//! links and special files are left out, because WebDAV does not support them.

use std::collections::VecDeque;
use std::fmt;
use std::future::ready;
use std::io::SeekFrom;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf, Bytes};
use dav_server::davpath::DavPath;
use dav_server::fs::{
    DavDirEntry, DavFile, DavFileSystem, DavMetaData, FsError, FsFuture, FsResult, FsStream, OpenOptions,
    ReadDirMeta,
};
use dav_server::{DavConfig, DavMethodSet};
use futures_util::stream;
use snap_backup::model::entry::{Content, Entry, Kind, Time};
use snap_backup::model::id::ChunkId;
use snap_backup::{Error, ErrorKind, Result};

use crate::serve::app_state::AppState;
use crate::serve::sessions::{SharedSession, name_of};

/// Number of bytes of a file that are read at once.
const PIECE: usize = 512 << 10;
/// Number of a directory's entries that are read at once.
const TOGETHER: usize = 500;
/// The last second of the year 9999, the latest time that HTTP can express.
const LAST: u64 = 253_402_300_799;

/// Returns the configuration of the WebDAV handler.
pub(super) fn config(site: &Arc<AppState>) -> DavConfig {
    DavConfig::new()
        .strip_prefix("/dav")
        .filesystem(Box::new(Tree { site: Arc::clone(site) }))
        .methods(DavMethodSet::WEBDAV_RO)
        .autoindex(false)
        .read_buf_size(PIECE)
}

#[derive(Clone)]
struct Tree {
    site: Arc<AppState>,
}

/// What a path refers to.
enum Thing {
    /// The list of all snapshots.
    All,
    /// A snapshot or an entry in one, with its modification time.
    In(Box<Entry>, Time),
}

fn is_shown(entry: &Entry) -> bool {
    entry.is_dir() || entry.is_file()
}

fn find(visit: &SharedSession, path: &[u8]) -> Result<Option<Thing>> {
    let mut parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
    let Some(name) = parts.next() else { return Ok(Some(Thing::All)) };
    let Some(snapshot) = visit.named(name) else { return Ok(None) };
    let path = parts.collect::<Vec<_>>().join(&b'/');
    let entry = visit.browser.entry(snapshot, &path)?.filter(is_shown);
    Ok(entry.map(|entry| Thing::In(Box::new(entry), snapshot.manifest.started)))
}

fn failed(error: Error) -> FsError {
    match error.kind() {
        ErrorKind::NotFound => FsError::NotFound,
        _ => FsError::GeneralFailure,
    }
}

impl Tree {
    async fn find(&self, path: &DavPath) -> FsResult<(Arc<SharedSession>, Thing)> {
        let path = path.as_bytes().to_vec();
        let found = self.site.look(move |site| {
            let visit = site.session_pool.visit()?;
            let thing = find(&visit, &path)?;
            Ok((visit, thing))
        });
        let (visit, thing) = found.await.map_err(failed)?;
        Ok((visit, thing.ok_or(FsError::NotFound)?))
    }
}

impl DavFileSystem for Tree {
    fn open<'a>(&'a self, path: &'a DavPath, options: OpenOptions) -> FsFuture<'a, Box<dyn DavFile>> {
        Box::pin(async move {
            if options.write || options.append || options.truncate || options.create || options.create_new {
                return Err(FsError::Forbidden);
            }
            let (visit, thing) = self.find(path).await?;
            let Thing::In(entry, _) = thing else { return Err(FsError::Forbidden) };
            let about = About::of(&entry, entry.meta.mtime);
            let Kind::File { size, content } = entry.kind else { return Err(FsError::Forbidden) };
            let content = Arc::new(content);
            let site = Arc::clone(&self.site);
            let file: Box<dyn DavFile> = Box::new(Reading { site, visit, size, content, about, at: 0 });
            Ok(file)
        })
    }

    fn read_dir<'a>(
        &'a self,
        path: &'a DavPath,
        _: ReadDirMeta,
    ) -> FsFuture<'a, FsStream<Box<dyn DavDirEntry>>> {
        Box::pin(async move {
            let (visit, thing) = self.find(path).await?;
            let listing = match thing {
                Thing::All => Listing { ready: snapshots(&visit), next: None },
                Thing::In(entry, _) => match entry.kind {
                    Kind::Dir { tree } => Listing { ready: VecDeque::new(), next: Some((tree, Vec::new())) },
                    _ => return Err(FsError::Forbidden),
                },
            };
            let site = Arc::clone(&self.site);
            let entries = stream::try_unfold(listing, move |listing| {
                let (site, visit) = (Arc::clone(&site), Arc::clone(&visit));
                listing.step(site, visit)
            });
            let entries: FsStream<Box<dyn DavDirEntry>> = Box::pin(entries);
            Ok(entries)
        })
    }

    fn metadata<'a>(&'a self, path: &'a DavPath) -> FsFuture<'a, Box<dyn DavMetaData>> {
        Box::pin(async move {
            let about = match self.find(path).await?.1 {
                Thing::All => About { is_dir: true, len: 0, modified: None, tag: None },
                Thing::In(entry, started) if entry.name.is_empty() => About::of(&entry, started),
                Thing::In(entry, _) => About::of(&entry, entry.meta.mtime),
            };
            let about: Box<dyn DavMetaData> = Box::new(about);
            Ok(about)
        })
    }
}

fn snapshots(visit: &SharedSession) -> VecDeque<Named> {
    let all = visit.browser.snapshots();
    let latest = visit.named(b"latest").map(|latest| ("latest".to_owned(), latest));
    let named = all.iter().map(|snapshot| (name_of(snapshot), snapshot)).chain(latest);
    let named = named.map(|(name, snapshot)| {
        let modified = instant(snapshot.manifest.started);
        Named { name: name.into_bytes(), about: About { is_dir: true, len: 0, modified, tag: None } }
    });
    named.collect()
}

/// A directory that is being listed: entries already read, and where to continue.
struct Listing {
    ready: VecDeque<Named>,
    next: Option<(ChunkId, Vec<u8>)>,
}

impl Listing {
    async fn step(
        mut self,
        site: Arc<AppState>,
        visit: Arc<SharedSession>,
    ) -> FsResult<Option<(Box<dyn DavDirEntry>, Self)>> {
        loop {
            if let Some(named) = self.ready.pop_front() {
                let named: Box<dyn DavDirEntry> = Box::new(named);
                return Ok(Some((named, self)));
            }
            let Some((tree, from)) = self.next.take() else { return Ok(None) };
            let visit = Arc::clone(&visit);
            let page = site.look(move |_| visit.browser.page(tree, &from, TOGETHER));
            let page = page.await.map_err(failed)?;
            self.next = page.next.map(|name| (tree, name));
            self.ready = page.entries.into_iter().filter(is_shown).map(Named::of).collect();
        }
    }
}

struct Named {
    name: Vec<u8>,
    about: About,
}

impl Named {
    fn of(entry: Entry) -> Self {
        Self { about: About::of(&entry, entry.meta.mtime), name: entry.name }
    }
}

impl DavDirEntry for Named {
    fn name(&self) -> Vec<u8> {
        self.name.clone()
    }

    fn metadata(&'_ self) -> FsFuture<'_, Box<dyn DavMetaData>> {
        let about: Box<dyn DavMetaData> = Box::new(self.about.clone());
        Box::pin(ready(Ok(about)))
    }
}

/// Metadata of a file or directory.
#[derive(Debug, Clone)]
struct About {
    is_dir: bool,
    len: u64,
    modified: Option<SystemTime>,
    tag: Option<String>,
}

impl About {
    fn of(entry: &Entry, modified: Time) -> Self {
        // The ETag contains the ctime: under `latest`, the same path can mean different files over time.
        let (meta, size) = (&entry.meta, entry.size());
        let changed = (meta.ctime.sec, meta.ctime.nanos);
        let tag = format!("{size:x}-{:x}.{:x}-{:x}.{:x}", modified.sec, modified.nanos, changed.0, changed.1);
        Self { is_dir: entry.is_dir(), len: size, modified: instant(modified), tag: Some(tag) }
    }
}

/// Converts a time; `None` if HTTP cannot express it.
fn instant(time: Time) -> Option<SystemTime> {
    let seconds = u64::try_from(time.sec).ok().filter(|seconds| *seconds <= LAST)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

impl DavMetaData for About {
    fn len(&self) -> u64 {
        self.len
    }

    fn modified(&self) -> FsResult<SystemTime> {
        self.modified.ok_or(FsError::NotImplemented)
    }

    fn is_dir(&self) -> bool {
        self.is_dir
    }

    fn etag(&self) -> Option<String> {
        self.tag.clone()
    }
}

/// A file that is being read.
struct Reading {
    site: Arc<AppState>,
    visit: Arc<SharedSession>,
    size: u64,
    content: Arc<Content>,
    about: About,
    at: u64,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("at", &self.at).finish_non_exhaustive()
    }
}

impl DavFile for Reading {
    fn metadata(&'_ mut self) -> FsFuture<'_, Box<dyn DavMetaData>> {
        let about: Box<dyn DavMetaData> = Box::new(self.about.clone());
        Box::pin(ready(Ok(about)))
    }

    fn read_bytes(&'_ mut self, count: usize) -> FsFuture<'_, Bytes> {
        Box::pin(async move {
            let range = self.at..self.at.saturating_add(count as u64).min(self.size);
            let (visit, content, size) = (Arc::clone(&self.visit), Arc::clone(&self.content), self.size);
            let read = self.site.look(move |_| visit.browser.read(size, &content, range));
            let bytes = read.await.map_err(failed)?;
            self.at += bytes.len() as u64;
            Ok(bytes.into())
        })
    }

    fn seek(&'_ mut self, to: SeekFrom) -> FsFuture<'_, u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        let at = at.filter(|at| *at <= self.size).ok_or(FsError::GeneralFailure);
        self.at = at.unwrap_or(self.at);
        Box::pin(ready(at))
    }

    fn write_buf(&'_ mut self, _: Box<dyn Buf + Send>) -> FsFuture<'_, ()> {
        Box::pin(ready(Err(FsError::Forbidden)))
    }

    fn write_bytes(&'_ mut self, _: Bytes) -> FsFuture<'_, ()> {
        Box::pin(ready(Err(FsError::Forbidden)))
    }

    fn flush(&'_ mut self) -> FsFuture<'_, ()> {
        Box::pin(ready(Ok(())))
    }
}
