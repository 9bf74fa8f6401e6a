//! Reads the members of an archive in order, with headers of every tar format. Every length is checked
//! before memory is allocated, and nothing that an archive states is trusted beyond the bytes that it
//! really contains.

mod blocks;
mod extended;
mod holes;

use std::io::{self, Read};

use crate::codec::tar::read::blocks::input_error;
use crate::codec::tar::read::extended::Extended;
use crate::codec::tar::sparse::Segments;
use crate::codec::tar::{BLOCK, Node, TarMember, field, number, padding, sparse};
use crate::error::Result;
use crate::model::decode_error::DecodeError;
use crate::model::entry::Time;

/// Maximum bytes of one extended header or long name. Legitimate names, attributes and old sparse maps are
/// far smaller.
const MAX_EXTENDED: u64 = 16 << 20;
/// Maximum length of a name in bytes.
const MAX_NAME: u64 = 1 << 20;

/// A member; its content is read through the [`Reader`].
#[derive(Debug)]
pub struct Found {
    /// The member without its content.
    pub member: TarMember,
    /// Size of the file in bytes.
    pub size: u64,
    /// Position of its data, if the file is sparse.
    pub segments: Option<Segments>,
}

/// The next item of an archive.
#[derive(Debug)]
pub enum Next {
    /// A member.
    Member(Box<Found>),
    /// A member of a type that cannot be stored: (path, reason).
    Skipped(Vec<u8>, String),
}

/// Reads one archive from its uncompressed bytes.
pub struct Reader<R> {
    input: R,
    /// Unread bytes of the current member's content, and of the padding after it.
    left: u64,
    padding: u64,
    /// Records that apply to all following members.
    global: Extended,
    members: u64,
    /// Path of the current member, for errors.
    path: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Creates a reader of uncompressed bytes.
    pub fn new(input: R) -> Self {
        Self { input, left: 0, padding: 0, global: Extended::default(), members: 0, path: Vec::new() }
    }

    /// Advances to the next member. Unread content of the previous one is skipped.
    ///
    /// # Errors
    /// The archive is truncated or malformed; the error names the member.
    pub fn advance(&mut self) -> Result<Option<Next>> {
        self.skip_rest()?;
        let mut extended = self.global.clone();
        loop {
            let Some(head) = self.header()? else { return Ok(None) };
            let size = self.checked(
                u64::try_from(self.checked(field_number(&head, field::SIZE))?)
                    .map_err(|_| DecodeError::because("its size is negative")),
            )?;
            match head.get(field::TYPE.0) {
                Some(b'x' | b'X') => {
                    let bytes = self.text(size, MAX_EXTENDED)?;
                    let added = extended.add(&bytes);
                    self.checked(added)?;
                }
                Some(b'g') => {
                    let bytes = self.text(size, MAX_EXTENDED)?;
                    let mut global = Extended::default();
                    let added = global.add(&bytes);
                    self.checked(added)?;
                    self.global.adopt(&global);
                    extended.adopt(&global);
                }
                Some(b'L') => extended.path = Some(self.long_name(size)?),
                Some(b'K') => extended.link = Some(self.long_name(size)?),
                // A volume label.
                Some(b'V') => {
                    self.left = size;
                    self.padding = padding(size);
                    self.skip_rest()?;
                }
                _ => return self.member(&head, size, extended).map(Some),
            }
        }
    }

    /// Reads content of the current member; 0 at its end.
    ///
    /// # Errors
    /// The archive ends before the member does.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        if most == 0 {
            return Ok(0);
        }
        let (out, _) = out.split_at_mut(most);
        let count = loop {
            match self.input.read(out) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(input_error(&self.path, err)),
                Ok(0) => return Err(self.truncated()),
                Ok(count) => break count,
            }
        };
        self.left -= count as u64;
        Ok(count)
    }

    /// Reads to the end of the input, so that a checksum at its end is verified. Returns whether anything but
    /// zeros follows the end of the archive.
    ///
    /// # Errors
    /// The input is damaged there.
    pub fn drain(&mut self) -> Result<bool> {
        let mut more = false;
        let mut buffer = vec![0u8; 64 << 10];
        loop {
            match self.input.read(&mut buffer) {
                Ok(0) => return Ok(more),
                Ok(count) => more |= buffer.iter().take(count).any(|byte| *byte != 0),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(input_error(b"", err)),
            }
        }
    }

    fn member(&mut self, head: &[u8; BLOCK], size: u64, mut extended: Extended) -> Result<Next> {
        self.members += 1;
        let mut words = extended.sparse.take();
        let name = words.as_mut().and_then(|words| words.name.take()).or(extended.path.take());
        self.path = name.unwrap_or_else(|| header_name(head));
        let kind = *head.get(field::TYPE.0).unwrap_or(&0);
        let is_dir = kind == b'5' || kind == b'D' || matches!(kind, 0 | b'0') && self.path.ends_with(b"/");
        while self.path.len() > 1 && self.path.ends_with(b"/") {
            self.path.pop();
        }
        let size = extended.size.unwrap_or(size);
        // Links have no content, even if their header states a size.
        self.left = if matches!(kind, b'1' | b'2') { 0 } else { size };
        self.padding = padding(self.left);
        let link = || extended.link.clone().unwrap_or_else(|| trimmed(head, field::LINK).to_vec());
        let node = match kind {
            _ if is_dir => Node::Dir,
            0 | b'0' | b'7' | b'S' => Node::File,
            b'1' => Node::HardLink(link()),
            b'2' => Node::Symlink(link()),
            b'3' | b'4' => {
                let major = self.device(head, field::MAJOR, extended.major)?;
                let minor = self.device(head, field::MINOR, extended.minor)?;
                if kind == b'3' {
                    Node::CharDevice { major, minor }
                } else {
                    Node::BlockDevice { major, minor }
                }
            }
            b'6' => Node::Fifo,
            b'M' => {
                return self.fail("it continues a file of an earlier volume: join the volumes first");
            }
            other => {
                let why = format!("it has the unknown type {:?}", char::from(other));
                return Ok(Next::Skipped(self.path.clone(), why));
            }
        };
        let member = self.describe(head, node, extended)?;
        let mut found = Found { member, size: self.left, segments: None };
        if kind == b'S' {
            self.old_sparse(head, &mut found)?;
        } else if let Some(words) = words.filter(|_| found.member.node == Node::File) {
            self.new_sparse(*words, &mut found)?;
        }
        if let Some(segments) = &found.segments {
            self.checked(sparse::check(segments, found.size))?;
            if segments.iter().map(|(_, len)| len).sum::<u64>() != self.left {
                return self.fail("its sparse map does not match its data");
            }
        }
        Ok(Next::Member(Box::new(found)))
    }

    fn describe(&self, head: &[u8; BLOCK], node: Node, extended: Extended) -> Result<TarMember> {
        let owner = |place, given: Option<u32>| -> Result<u32> {
            if let Some(given) = given {
                return Ok(given);
            }
            let found = self.checked(field_number(head, place))?;
            // Some writers use -1 or -2 for `nobody`.
            let wrapped = u32::try_from(found).or(i32::try_from(found).map(|found| found as u32));
            self.checked(wrapped.map_err(|_| DecodeError::because("its owner id is too large")))
        };
        let mode = self.checked(field_number(head, field::MODE))?;
        let mtime = match extended.mtime {
            Some(time) => time,
            None => Time { sec: self.checked(field_number(head, field::MTIME))?, nanos: 0 },
        };
        let has_names = head.get(257..262) == Some(b"ustar");
        let name = |place| if has_names { trimmed(head, place).to_vec() } else { Vec::new() };
        Ok(TarMember {
            path: self.path.clone(),
            node,
            mode: (mode & 0o7777) as u32,
            uid: owner(field::UID, extended.uid)?,
            gid: owner(field::GID, extended.gid)?,
            user: extended.user.unwrap_or_else(|| name(field::USER)),
            group: extended.group.unwrap_or_else(|| name(field::GROUP)),
            mtime,
            xattrs: extended.xattrs.into_iter().collect(),
            acls: extended.acls,
            flags: extended.flags,
            born: extended.born,
        })
    }

    fn device(&self, head: &[u8; BLOCK], place: (usize, usize), given: Option<u32>) -> Result<u32> {
        if let Some(given) = given {
            return Ok(given);
        }
        let found = self.checked(field_number(head, place))?;
        self.checked(u32::try_from(found).map_err(|_| DecodeError::because("its device number is too large")))
    }
}

fn field_number(head: &[u8; BLOCK], (start, len): (usize, usize)) -> Result<i64, DecodeError> {
    let field = head.get(start..start + len);
    number::parse(field.ok_or(DecodeError::because("a field is out of the header's bounds"))?)
}

fn trimmed(head: &[u8; BLOCK], (start, len): (usize, usize)) -> &[u8] {
    let field = head.get(start..start + len).unwrap_or_default();
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Returns the name in a header. POSIX headers have the first part of a long name in a separate field.
fn header_name(head: &[u8; BLOCK]) -> Vec<u8> {
    let name = trimmed(head, field::NAME);
    let prefix = trimmed(head, field::PREFIX);
    if head.get(257..263) == Some(b"ustar\0") && !prefix.is_empty() {
        return [prefix, b"/", name].concat();
    }
    name.to_vec()
}
