//! Converts archive members to entries: checks and maps names, and cuts and stores content as it is read.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::codec::crypto::hash::ChunkType;
use crate::codec::tar::read::{Found, Next, Reader};
use crate::codec::tar::{Node as TarNode, TarMember, acl};
use crate::codec::tree::stored_xattrs;
use crate::error::{self, Error, ErrorKind, Problem, Result};
use crate::fs::ownership;
use crate::model::decode_error::DecodeError;
use crate::model::entry::{
    Content, Kind, MAX_NESTING, MAX_PATH, Meta, Time, Xattr, XattrValue, check_name, check_xattrs,
};
use crate::ops::import::ImportJob;
use crate::ops::import::tree::{Names, Node, Tree, no_tree};
use crate::progress::{Action, Event};
use crate::repo::write::chunk_sink::ChunkSink;
use crate::repo::write::content_writer::ContentWriter;

/// Maximum length of a link's target in bytes, as in Linux.
const MAX_TARGET: usize = 4095;

/// How member names are mapped to stored paths.
#[derive(Clone, Copy)]
pub(super) struct PathMap<'a> {
    /// Returns the path in the snapshot.
    pub(super) map: &'a dyn Fn(Names) -> Names,
    /// Ignore `..` at the beginning of names: they are relative to the legacy backup script's working
    /// directory, and some of its sources may be outside.
    pub(super) skips_parent_dirs: bool,
}

/// Reads archives into a tree.
pub(super) struct MemberReader<'a, 'scope> {
    job: ImportJob<'a>,
    pub(super) out: ChunkSink<'scope>,
    pub(super) tree: Tree,
    /// Bytes of files read.
    pub(super) read: u64,
    /// Members that cannot be stored, or only in part, and why. `weight`: the memory they take in bytes.
    pub(super) problems: Vec<Problem>,
    weight: u64,
    owner_names: HashMap<Vec<u8>, Arc<str>>,
    content: ContentWriter<'a>,
}

impl<'a, 'scope> MemberReader<'a, 'scope> {
    pub(super) fn new(job: ImportJob<'a>, out: ChunkSink<'scope>, mut tree: Tree) -> Self {
        tree.begin_archive();
        let (problems, owner_names) = (Vec::new(), HashMap::new());
        let content = ContentWriter::new(job.repo, None);
        Self { job, out, tree, read: 0, problems, weight: 0, owner_names, content }
    }

    /// Reads all members.
    pub(super) fn read_all(&mut self, input: impl Read, paths: PathMap<'_>) -> Result<()> {
        let observer = self.job.observer;
        let mut reader = Reader::new(input);
        let mut any = false;
        while let Some(next) = reader.advance()? {
            if self.job.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            any = true;
            match next {
                Next::Skipped(path, why) => {
                    self.report_problem(&path, why);
                    self.check_weight().map_err(|why| invalid(&path, why))?;
                }
                Next::Member(found) => self.add(*found, &mut reader, paths)?,
            }
        }
        if reader.drain()? {
            observer.notice(Event::Warning("the data after the end of the archive was not imported"));
        }
        if !any {
            observer.notice(Event::Warning("the archive is empty"));
        }
        Ok(())
    }

    fn report_problem(&mut self, path: &[u8], why: String) {
        let problem = Problem::new(path, ErrorKind::BadInput, why);
        self.job.observer.notice(Event::Problem(&problem));
        self.weight += (path.len() + problem.message.len() + 64) as u64;
        self.problems.push(problem);
    }

    fn check_weight(&self) -> Result<(), DecodeError> {
        let limit = self.job.memory;
        if self.tree.weight + self.weight <= limit {
            return Ok(());
        }
        let why = format!(
            "names and metadata of the archive need more than {} MiB, half of this machine's memory",
            limit >> 20
        );
        Err(DecodeError::with(why))
    }

    fn add<R: Read>(&mut self, found: Found, reader: &mut Reader<R>, paths: PathMap<'_>) -> Result<()> {
        let Found { member, size, segments } = found;
        let observer = self.job.observer;
        let path = member.path.as_slice();
        let names = paths.names_of(path).map_err(|why| invalid(path, why))?;
        if names.is_empty() {
            // The root itself, with which every archive of `.` begins: a snapshot's root has no metadata.
            return match member.node {
                TarNode::Dir => Ok(()),
                _ => Err(invalid(path, DecodeError::because("a member has no name"))),
            };
        }
        let names = (paths.map)(names);
        observer.notice(Event::Working { path });
        let inserted = if let TarNode::HardLink(target) = &member.node {
            paths.names_of(target).and_then(|to| self.tree.link(&names, &(paths.map)(to)))
        } else {
            let kind = match &member.node {
                TarNode::File => {
                    let content = self.store_content(reader, size, (segments.as_deref(), member.uid))?;
                    Kind::File { size, content }
                }
                node => kind_of(node).map_err(|why| invalid(path, why))?,
            };
            let meta = self.convert_metadata(&member)?;
            self.tree.insert(&names, Node::new(kind, meta))
        };
        if inserted.and_then(|lost| self.check_weight().map(|()| lost)).map_err(|why| invalid(path, why))? {
            let shown = String::from_utf8_lossy(path);
            observer.notice(Event::Warning(&format!("{shown} replaces a directory and all its contents")));
        }
        observer.notice(Event::Item { action: Action::Imported, path, size });
        observer.notice(Event::Done { files: u64::from(member.node == TarNode::File), bytes: 0 });
        Ok(())
    }

    fn convert_metadata(&mut self, member: &TarMember) -> Result<Meta> {
        let mut values = Vec::with_capacity(member.xattrs.len());
        for (name, value) in &member.xattrs {
            let alone = Xattr { name: name.clone(), value: XattrValue::Inline(value.clone()) };
            match check_xattrs(&[alone]) {
                Ok(()) => values.push((name.clone(), value.clone())),
                Err(why) => {
                    let name: String = String::from_utf8_lossy(name).chars().take(100).collect();
                    self.report_problem(
                        &member.path,
                        format!("imported without its extended attribute {name}: {why}"),
                    );
                }
            }
        }
        for (name, text) in &member.acls {
            match acl::from_text(text, &ownership::id_of) {
                Ok(bytes) => {
                    values.retain(|(known, _)| known != name);
                    values.push((name.to_vec(), bytes));
                }
                Err(why) => self.report_problem(&member.path, format!("imported without its ACL: {why}")),
            }
        }
        values.sort();
        let (xattrs, large) = stored_xattrs::split_values(self.job.repo.hasher(), values);
        check_xattrs(&xattrs).map_err(|why| invalid(&member.path, why))?;
        for value in large {
            self.out.chunks().put_similar(member.uid, ChunkType::Data, value.id, &value.bytes, &[])?;
        }
        Ok(Meta {
            mode: member.mode,
            uid: member.uid,
            gid: member.gid,
            user: self.owner_name(&member.user),
            group: self.owner_name(&member.group),
            mtime: member.mtime,
            ctime: Time::default(),
            attrs: member.flags,
            born: member.born,
            xattrs,
            ..Meta::default()
        })
    }

    /// Returns an owner's name, shared between entries; `None` if it is empty or not UTF-8.
    fn owner_name(&mut self, bytes: &[u8]) -> Option<Arc<str>> {
        if let Some(name) = self.owner_names.get(bytes) {
            return Some(Arc::clone(name));
        }
        let name: Arc<str> = Arc::from(std::str::from_utf8(bytes).ok().filter(|name| !name.is_empty())?);
        // Bounded: a malicious archive may have a different name in each member.
        if self.owner_names.len() < 4096 {
            self.owner_names.insert(bytes.to_vec(), Arc::clone(&name));
        }
        Some(name)
    }

    /// Stores a file's content: data and holes.
    fn store_content<R: Read>(
        &mut self,
        reader: &mut Reader<R>,
        size: u64,
        (segments, owner): (Option<&[(u64, u64)]>, u32),
    ) -> Result<Content> {
        let Some(segments) = segments else {
            self.store_segment(reader, u64::MAX, owner)?;
            return self.finish_content(owner);
        };
        let mut at = 0;
        let pieces = segments.iter().copied().filter(|(_, len)| *len > 0);
        for (offset, len) in pieces.chain([(size, 0)]) {
            if offset > at {
                self.content.hole(offset - at, owner, self.out.chunks())?;
            }
            self.store_segment(reader, len, owner)?;
            at = offset + len;
        }
        self.finish_content(owner)
    }

    /// Stores the next `len` bytes of a member, or all that follow if there are fewer.
    fn store_segment<R: Read>(&mut self, reader: &mut Reader<R>, len: u64, owner: u32) -> Result<()> {
        let Self { job, out, content, read, .. } = self;
        let mut left = len;
        content.fill(
            &mut |room| {
                if job.stop.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                let wanted = usize::try_from(left).map_or(room.len(), |left| left.min(room.len()));
                let room = error::part_mut(room, 0..wanted, "a segment is within the free space")?;
                let count = reader.read(room)?;
                left -= count as u64;
                *read += count as u64;
                job.observer.notice(Event::Done { files: 0, bytes: count as u64 });
                Ok(count)
            },
            owner,
            out.chunks(),
        )
    }

    fn finish_content(&mut self, owner: u32) -> Result<Content> {
        let mut content = self.content.finish(owner, self.out.chunks())?;
        if let Content::Parts(parts) = &mut content {
            parts.shrink_to_fit();
        }
        Ok(content)
    }
}

fn invalid(path: &[u8], source: DecodeError) -> Error {
    let what = if path.is_empty() { "the archive".into() } else { String::from_utf8_lossy(path) };
    Error::Archive { what: what.into_owned(), source }
}

fn kind_of(node: &TarNode) -> Result<Kind, DecodeError> {
    Ok(match node {
        TarNode::File | TarNode::HardLink(_) => return Err(DecodeError::because("a file has no content")),
        TarNode::Dir => no_tree(),
        TarNode::Symlink(target) if target.is_empty() || target.contains(&0) || target.len() > MAX_TARGET => {
            return Err(DecodeError::because(
                "the target of a symbolic link is empty, too long or contains a NUL",
            ));
        }
        TarNode::Symlink(target) => Kind::Symlink { target: target.clone() },
        TarNode::Fifo => Kind::Fifo,
        TarNode::CharDevice { major, minor } => Kind::CharDevice { major: *major, minor: *minor },
        TarNode::BlockDevice { major, minor } => Kind::BlockDevice { major: *major, minor: *minor },
    })
}

impl PathMap<'_> {
    fn names_of(&self, path: &[u8]) -> Result<Names, DecodeError> {
        let mut path = path;
        while self.skips_parent_dirs && path.starts_with(b"../") {
            path = path.get(3..).unwrap_or(path);
        }
        names_of(path)
    }
}

/// Maximum length of a name in bytes, as on Linux. The systems that made the archives have no longer ones.
const MAX_LINUX_NAME: usize = 255;

/// Splits a path into names from the root down. Empty names and `.` are ignored. `..` and names that no
/// file can have are refused.
pub(super) fn names_of(path: &[u8]) -> Result<Names, DecodeError> {
    let mut names = Vec::new();
    for name in path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")) {
        if name == b".." {
            return Err(DecodeError::because("a path contains `..`"));
        }
        check_name(name)?;
        if name.len() > MAX_LINUX_NAME {
            return Err(DecodeError::because("a name has more than 255 bytes"));
        }
        names.push(name.to_vec());
    }
    if names.len() >= MAX_NESTING {
        return Err(DecodeError::because("directories are nested too deeply"));
    }
    if names.iter().map(|name| name.len() + 1).sum::<usize>() > MAX_PATH {
        return Err(DecodeError::because("a path is too long"));
    }
    Ok(names)
}
