//! Writes members: a ustar header, preceded by a pax header for what does not fit into it. The bytes depend
//! only on the member. Names that are not UTF-8 are written unchanged to pax records: GNU tar and Python
//! accept that, and GNU tar warns about the record that would declare them.

use crate::codec::tar::{
    ACL_ACCESS, ACL_DEFAULT, BLOCK, Node, TarMember, acl, field, flags, number, padding, pax,
};

/// How a member's content follows its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// This many bytes.
    Plain(u64),
    /// A map and the bytes between holes: GNU.sparse 1.0.
    Sparse {
        /// Length of the file.
        real: u64,
        /// Bytes that follow, including the map.
        stored: u64,
    },
}

/// The end of an archive: two blocks of zeros.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Appends a member's headers. Its content must follow, then [`padding`].
pub fn member(member: &TarMember, stored: Stored, out: &mut Vec<u8>) {
    let mut records = Vec::new();
    let mut head = [0u8; BLOCK];
    let mut name = member.path.clone();
    let mut size = 0;
    match stored {
        Stored::Plain(bytes) if member.node == Node::File => size = bytes,
        Stored::Plain(_) => {}
        Stored::Sparse { real, stored } => {
            size = stored;
            pax::put(&mut records, b"GNU.sparse.major", b"1");
            pax::put(&mut records, b"GNU.sparse.minor", b"0");
            pax::put(&mut records, b"GNU.sparse.name", &name);
            pax::put(&mut records, b"GNU.sparse.realsize", real.to_string().as_bytes());
            name = sparse_name(&name);
        }
    }
    if member.node == Node::Dir {
        name.push(b'/');
    }
    put_name(&mut head, &name, &mut records);
    put_number(&mut head, field::SIZE, size, b"size", &mut records);
    put_meta(&mut head, member, &mut records);
    put_node(&mut head, &member.node, &mut records);
    put_extra(member, &mut records);
    if !records.is_empty() {
        pax_header(&member.path, &records, out);
    }
    seal(&mut head);
    out.extend_from_slice(&head);
}

/// Returns the path to which a reader without support for sparse files extracts the member.
fn sparse_name(path: &[u8]) -> Vec<u8> {
    let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (dir, base) = path.split_at(at);
    [dir, b"GNUSparseFile.0/", base].concat()
}

fn pax_header(path: &[u8], records: &[u8], out: &mut Vec<u8>) {
    let mut head = [0u8; BLOCK];
    let base = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let name: Vec<u8> = b"PaxHeaders/".iter().chain(base).copied().take(field::NAME.1).collect();
    put_bytes(&mut head, field::NAME, &name);
    put_octal(&mut head, field::MODE, 0o644);
    for number in [field::UID, field::GID, field::MTIME, field::MAJOR, field::MINOR] {
        put_octal(&mut head, number, 0);
    }
    put_octal(&mut head, field::SIZE, records.len() as u64);
    put_bytes(&mut head, field::TYPE, b"x");
    seal(&mut head);
    out.extend_from_slice(&head);
    out.extend_from_slice(records);
    out.resize(out.len() + padding(records.len() as u64) as usize, 0);
}

/// Writes the name to the name field, or to prefix and name. If it fits neither, truncates it and adds a
/// record with the complete name.
fn put_name(head: &mut [u8; BLOCK], name: &[u8], records: &mut Vec<u8>) {
    if name.len() <= field::NAME.1 {
        return put_bytes(head, field::NAME, name);
    }
    let split = name.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let mut split = split.filter(|at| (1..=field::PREFIX.1).contains(at));
    let fits = |at: &usize| (2..=field::NAME.1 + 1).contains(&(name.len() - at));
    if let Some(at) = split.find(fits)
        && let (prefix, [b'/', rest @ ..]) = name.split_at(at)
    {
        put_bytes(head, field::PREFIX, prefix);
        return put_bytes(head, field::NAME, rest);
    }
    put_bytes(head, field::NAME, name);
    pax::put(records, b"path", name);
}

fn put_meta(head: &mut [u8; BLOCK], member: &TarMember, records: &mut Vec<u8>) {
    put_octal(head, field::MODE, u64::from(member.mode & 0o7777));
    put_number(head, field::UID, u64::from(member.uid), b"uid", records);
    put_number(head, field::GID, u64::from(member.gid), b"gid", records);
    for (place, key, name) in
        [(field::USER, b"uname".as_slice(), &member.user), (field::GROUP, b"gname", &member.group)]
    {
        put_bytes(head, place, name);
        // The field must end with a NUL, and only ASCII means the same everywhere.
        if name.len() >= place.1 || !name.is_ascii() {
            pax::put(records, key, name);
        }
    }
    let whole = u64::try_from(member.mtime.sec).ok().filter(|_| member.mtime.nanos == 0);
    let fits = put_octal(head, field::MTIME, u64::try_from(member.mtime.sec).unwrap_or(0));
    if whole.is_none() || !fits {
        pax::put(records, b"mtime", pax::time_text(member.mtime).as_bytes());
    }
}

fn put_node(head: &mut [u8; BLOCK], node: &Node, records: &mut Vec<u8>) {
    let mut device = (0, 0);
    let kind = match node {
        Node::File => b'0',
        Node::HardLink(_) => b'1',
        Node::Symlink(_) => b'2',
        Node::CharDevice { major, minor } => {
            device = (*major, *minor);
            b'3'
        }
        Node::BlockDevice { major, minor } => {
            device = (*major, *minor);
            b'4'
        }
        Node::Dir => b'5',
        Node::Fifo => b'6',
    };
    put_bytes(head, field::TYPE, &[kind]);
    if let Node::HardLink(target) | Node::Symlink(target) = node {
        put_bytes(head, field::LINK, target);
        if target.len() > field::LINK.1 {
            pax::put(records, b"linkpath", target);
        }
    }
    put_number(head, field::MAJOR, u64::from(device.0), b"SCHILY.devmajor", records);
    put_number(head, field::MINOR, u64::from(device.1), b"SCHILY.devminor", records);
}

fn put_extra(member: &TarMember, records: &mut Vec<u8>) {
    for (name, value) in &member.xattrs {
        let text = match name.as_slice() {
            ACL_ACCESS | ACL_DEFAULT => acl::to_text(value),
            _ => None,
        };
        match text {
            Some(text) if name == ACL_ACCESS => pax::put(records, b"SCHILY.acl.access", text.as_bytes()),
            Some(text) => pax::put(records, b"SCHILY.acl.default", text.as_bytes()),
            None => {
                pax::put(records, &[b"SCHILY.xattr.", pax::keyword(name).as_slice()].concat(), value);
            }
        }
    }
    let flags = flags::to_text(member.flags);
    if !flags.is_empty() {
        pax::put(records, b"SCHILY.fflags", flags.as_bytes());
    }
}

fn put_number(head: &mut [u8; BLOCK], place: (usize, usize), value: u64, key: &[u8], records: &mut Vec<u8>) {
    if !put_octal(head, place, value) {
        pax::put(records, key, value.to_string().as_bytes());
    }
}

fn put_octal(head: &mut [u8; BLOCK], (start, len): (usize, usize), value: u64) -> bool {
    head.get_mut(start..start + len).is_some_and(|field| number::put_octal(field, value))
}

/// Writes as many bytes as fit.
fn put_bytes(head: &mut [u8; BLOCK], (start, len): (usize, usize), bytes: &[u8]) {
    if let Some(field) = head.get_mut(start..start + len) {
        field.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    }
}

/// Writes magic and checksum.
fn seal(head: &mut [u8; BLOCK]) {
    put_bytes(head, field::MAGIC, b"ustar\x0000");
    put_bytes(head, field::SUM, b"        ");
    let sum: u64 = head.iter().map(|byte| u64::from(*byte)).sum();
    // Six digits, a NUL and a space, as every tar expects.
    if let Some(digits) = head.get_mut(field::SUM.0..field::SUM.0 + 7) {
        number::put_octal(digits, sum);
    }
}
