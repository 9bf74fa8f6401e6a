//! The fuzzed functions: for each kind of bytes that somebody else may have written, everything that reads
//! them. A decoder refuses them or returns a value; the value must satisfy its invariants, and encode to the
//! same bytes or value again.
//!
//! Shared by the fuzz targets and by `tests/corpus.rs`, which gives the stored inputs to the same functions.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Debug;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use snap_backup::codec::chunk::block::{BlockOpener, BlockSeal};
use snap_backup::codec::chunk::chunker::Chunker;
use snap_backup::codec::chunk::compress;
use snap_backup::codec::chunk::compress::{Codec, delta};
use snap_backup::codec::crypto::cipher::OVERHEAD;
use snap_backup::codec::crypto::hash::{ChunkHasher, ChunkType, Key, SubKeys, sha256};
use snap_backup::codec::crypto::key_slot::SlotLabel;
use snap_backup::codec::crypto::suite::CipherSuite;
use snap_backup::codec::crypto::{key_slot, keyring, sealed_object};
use snap_backup::codec::pack::header_bundle::Contents;
use snap_backup::codec::pack::parity::{Layout, Sums};
use snap_backup::codec::pack::{PREAMBLE_LEN, PackHeader, Table, parity};
use snap_backup::codec::tar::read::{Next, Reader};
use snap_backup::codec::tar::{acl, flags, pax};
use snap_backup::codec::tree::dir::{DirBuilder, DirPiece};
use snap_backup::codec::tree::part_list::ListPiece;
use snap_backup::codec::{gzip, pack, wire};
use snap_backup::fs::filter::{EntryPath, Filter, FilterOptions, FilterVerdict, RestoreFilter};
use snap_backup::model::config::{CipherKind, Config};
use snap_backup::model::entry::check_name;
use snap_backup::model::id::{ChunkId, PackId, RepoId, SnapshotId};
use snap_backup::model::manifest::Manifest;
use snap_backup::model::records::{
    AuditRecord, DamageRecord, Fence, GcRecord, Heartbeat, Seen, SessionRecord,
};
use snap_backup::storage::sftp::protocol as sftp;
use snap_backup::storage::sftp::protocol::Reply;

/// A target: its name, and the function that takes the bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets; each has a file in `fuzz_targets/` and a folder in `corpus/`.
pub const TARGETS: [Target; 18] = [
    ("archive", archive),
    ("attributes", attributes),
    ("block", block),
    ("cached", cached),
    ("compressed", compressed),
    ("config", config),
    ("delta", delta_frame),
    ("envelope", sealed_object),
    ("filter", filter),
    ("key_slot", key_slot),
    ("manifest", manifest),
    ("pack_ends", pack_ends),
    ("pack_table", pack_table),
    ("parity", parity_sidecar),
    ("records", records),
    ("segment", segment),
    ("sftp", sftp_packet),
    ("tree", tree),
];

/// The maximum number of bytes that a target decompresses: a small input may be a large archive.
const MOST: u64 = 4 << 20;

fn keys() -> SubKeys {
    SubKeys::derive(&Key::new([1; 32]), &RepoId::new([2; 16]))
}

/// The keys of the golden files.
fn suite(kind: CipherKind) -> CipherSuite {
    CipherSuite::new(kind, RepoId::new([2; 16]), &keys())
}

/// Checks that a value that was read is written and read as the same value.
fn again<T>(bytes: &[u8]) -> Option<T>
where
    T: for<'a> Deserialize<'a> + Serialize + PartialEq + Debug,
{
    let value: T = wire::decode(bytes).ok()?;
    let written = wire::encode(&value).expect("what was read can be written");
    assert_eq!(wire::decode::<T>(&written).ok().as_ref(), Some(&value));
    Some(value)
}

/// The body of a manifest.
pub fn manifest(bytes: &[u8]) {
    if let Some(manifest) = again::<Manifest>(bytes) {
        let _ = manifest.same_set(&manifest.host, &manifest.sources);
    }
}

/// A configuration as stored in a repository, and its body alone.
pub fn config(bytes: &[u8]) {
    let body = again::<Config>(bytes);
    let whole = key_slot::decode_config(bytes).ok();
    for config in body.into_iter().chain(whole) {
        let _ = keyring::is_signed(&config, bytes, config.epoch, &[7; 32]);
        if let Ok(chunker) = Chunker::new(config.chunker, &keys().gear) {
            let zeros = vec![0; chunker.max().min(1 << 20)];
            let cut = chunker.cut(&zeros);
            assert!(cut > 0 && cut <= zeros.len(), "a chunk of {cut} bytes");
        }
        let _ = key_slot::encode_config(&config, &keys().config).expect("what was read can be written");
    }
}

/// The response of an SFTP server: it must not decode to more than its bytes.
pub fn sftp_packet(bytes: &[u8]) {
    let _ = sftp::extensions(bytes);
    if let Ok((_, Reply::Names(names))) = sftp::reply(bytes) {
        assert!(names.len() <= bytes.len() / 12, "more names than bytes for them");
    }
}

/// A key slot. No key is derived, because that takes long: excessive costs must be refused.
pub fn key_slot(bytes: &[u8]) {
    let _ = key_slot::repo_of(bytes);
    for kind in [CipherKind::None, CipherKind::Xaes256Gcm] {
        let _ = key_slot::label(bytes, &suite(kind));
    }
    let _ = again::<SlotLabel>(bytes);
    let number = |at: usize| {
        bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |four| u32::from_le_bytes(*four))
    };
    let (memory, passes, lanes) = (number(12), number(16), number(20));
    let bearable =
        (8 << 10..=2 << 20).contains(&memory) && (1..=16).contains(&passes) && (1..=16).contains(&lanes);
    if !bearable {
        let opened = key_slot::open(bytes, b"golden");
        assert!(opened.is_err(), "a key at costs of {memory} KiB, {passes} passes, {lanes} lanes");
    }
}

/// The bodies of the small records; the first byte selects one.
pub fn records(bytes: &[u8]) {
    let Some((which, body)) = bytes.split_first() else { return };
    match which % 7 {
        0 => drop(again::<SessionRecord>(body)),
        1 => drop(again::<Heartbeat>(body)),
        2 => drop(again::<Seen>(body)),
        3 => drop(again::<Fence>(body)),
        4 => drop(again::<GcRecord>(body)),
        5 => drop(again::<DamageRecord>(body)),
        _ => drop(again::<AuditRecord>(body)),
    }
    if let Ok(text) = std::str::from_utf8(body) {
        let _ = (SnapshotId::parse(text), PackId::parse(text), ChunkId::parse(text), RepoId::parse(text));
    }
}

/// A whole small object, as stored in a repository.
pub fn sealed_object(bytes: &[u8]) {
    let _ = sealed_object::magic_of(bytes);
    for suite in [suite(CipherKind::None), suite(CipherKind::Xaes256Gcm)] {
        let _ = sealed_object::open::<Manifest>(&suite, sealed_object::MANIFEST, "name", bytes.to_vec());
        let _ = sealed_object::open::<SessionRecord>(&suite, sealed_object::SESSION, "name", bytes.to_vec());
        let _ = sealed_object::open::<Heartbeat>(&suite, sealed_object::BEAT, "name", bytes.to_vec());
        let _ = sealed_object::open::<GcRecord>(&suite, sealed_object::GC, "name", bytes.to_vec());
        let _ = sealed_object::open::<DamageRecord>(&suite, sealed_object::DAMAGE, "name", bytes.to_vec());
        let _ = sealed_object::open::<AuditRecord>(&suite, sealed_object::AUDIT, "name", bytes.to_vec());
    }
}

/// The fixed bytes at either end of a pack, and the length of its file.
pub fn pack_ends(bytes: &[u8]) {
    let Some((ends, rest)) = bytes.split_first_chunk::<PREAMBLE_LEN>() else { return };
    let Some(len) = rest.first_chunk::<8>() else { return };
    let file_len = u64::from_le_bytes(*len);
    if let Ok(ends) = PackHeader::parse(ends, file_len) {
        assert!(u64::from(ends.table_len) * 2 <= file_len, "tables longer than their pack");
        let sealed = rest.get(8..).unwrap_or_default().to_vec();
        let _ = ends.open_table(&suite(CipherKind::None), sealed);
    }
}

/// A sidecar, followed by the bytes of its pack: space for at most one shard per parity number is allocated.
pub fn parity_sidecar(bytes: &[u8]) {
    let Some(layout) = bytes.first_chunk().and_then(|header| Layout::decode(header).ok()) else { return };
    assert_eq!(bytes.first_chunk(), Some(&layout.encode()), "another header");
    assert!(layout.sidecar_len() <= parity::MAX_SIDECAR && layout.padded_len() as u64 <= parity::MAX_PACK);
    let at = layout.parity_at() as usize;
    let Some(sums) = bytes.get(parity::HEADER..at) else { return };
    let Ok(sums) = Sums::decode(&layout, sums) else { return };
    let Some(rest) = bytes.get(at..) else { return };
    let shards = rest.len().min(layout.parity_len() as usize);
    let (shards, rest) = rest.split_at(shards);
    let mut shards = shards.to_vec();
    shards.resize(layout.parity_len() as usize, 0);
    let mut pack = rest.get(at..).unwrap_or_default().to_vec();
    pack.resize(layout.padded_len(), 0);
    let before = pack.clone();
    if let Ok(rebuilt) = parity::rebuild(&layout, &sums, &mut pack, &shards) {
        assert_eq!(rebuilt.is_empty(), before == pack, "something else was changed");
        let again = parity::rebuild(&layout, &sums, &mut pack, &shards);
        assert_eq!(again, Ok(Vec::new()), "what was rebuilt is not what it should be");
    }
}

/// A pack's table, correctly sealed: codec, plain length, bytes of blocks, and the compressed rows.
pub fn pack_table(bytes: &[u8]) {
    let Some((head, packed)) = bytes.split_first_chunk::<9>() else { return };
    let number =
        |at: usize| head.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |n| u32::from_le_bytes(*n));
    let raw = head[0] % 2 == 0;
    let plain = if raw { packed.len() as u32 } else { number(1) % (32 << 20) };
    let area = number(5) % (1 << 30);
    let table = (packed.len() + OVERHEAD) as u32;
    let codec = if raw { Codec::Raw } else { Codec::Zstd };
    let mut ends = b"SNAPPK\x01\0".to_vec();
    ends.extend([ChunkType::Data.byte(), 0, codec.byte(), 0]);
    ends.extend([plain.to_le_bytes(), table.to_le_bytes(), area.to_le_bytes()].concat());
    ends.resize(PREAMBLE_LEN, 0);
    let Some(ends) = ends.first_chunk::<PREAMBLE_LEN>() else { return };
    let file_len = 2 * (PREAMBLE_LEN as u64 + u64::from(table)) + u64::from(area);
    let parsed = PackHeader::parse(ends, file_len).expect("these ends are right");
    let suite = suite(CipherKind::None);
    let aad = [&b"table"[..], suite.repo.as_bytes(), ends].concat();
    let mut sealed = Vec::new();
    suite.shared().seal(&aad, packed, &mut sealed).expect("sealing");
    if let Ok(table) = parsed.open_table(&suite, sealed) {
        for block in &table.blocks {
            let end = u64::from(block.offset) + u64::from(block.stored);
            assert!(end <= file_len, "a block beyond its pack");
            let sum: u64 = block.chunks.iter().map(|(_, len)| u64::from(*len)).sum();
            assert_eq!(sum, u64::from(block.plain), "chunks that do not fill their block");
        }
        let kept = table.to_cached().expect("what was read can be written");
        let back = Table::from_cached(&kept).expect("what was written can be read");
        assert_eq!(back.blocks.len(), table.blocks.len());
    }
}

/// A header bundle as stored in a repository; its content alone; and the beginning of a pack alone.
pub fn segment(bytes: &[u8]) {
    let start = sealed_object::object_len(bytes).filter(|start| *start <= bytes.len() as u64);
    let file_len = bytes.len() as u64;
    for suite in [suite(CipherKind::None), suite(CipherKind::Xaes256Gcm)] {
        let head = bytes.get(..start.unwrap_or_default() as usize).unwrap_or_default().to_vec();
        let name = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";
        if let Ok(contents) = sealed_object::open::<Contents>(&suite, sealed_object::SEGMENT, name, head) {
            parts(&contents, start.unwrap_or_default(), file_len);
        }
        let _ = pack::open_front(&suite, bytes, file_len);
        // Lengths that match its content.
        if let Some(Ok(ends)) = bytes.first_chunk::<PREAMBLE_LEN>().map(PackHeader::parse_claimed) {
            let _ = pack::open_front(&suite, bytes, ends.pack_len());
        }
    }
    if let Some(contents) = again::<Contents>(bytes) {
        let all: u64 = contents.0.iter().map(|(_, _, len)| u64::from(*len)).sum();
        parts(&contents, 0, all);
        parts(&contents, u64::MAX, all);
    }
}

/// They follow one another and fill the file.
fn parts(contents: &Contents, start: u64, file_len: u64) {
    let Ok(parts) = contents.parts(start, file_len) else { return };
    let mut at = start;
    for part in parts {
        assert_eq!(part.at, at, "a gap");
        assert!(u64::from(part.len) <= part.pack_len, "more than the pack");
        at += u64::from(part.len);
    }
    assert_eq!(at, file_len, "bytes of nothing");
}

/// A table in the local index cache.
pub fn cached(bytes: &[u8]) {
    if let Ok(table) = Table::from_cached(bytes) {
        let written = table.to_cached().expect("what was read can be written");
        assert_eq!(Table::from_cached(&written).ok(), Some(table));
    }
}

/// A block, correctly sealed: type and codec, plain length, and the compressed bytes.
pub fn block(bytes: &[u8]) {
    let Some((head, packed)) = bytes.split_first_chunk::<5>() else { return };
    let kind = if head[0] & 1 == 0 { ChunkType::Data } else { ChunkType::Tree };
    let codec = if head[0] & 2 == 0 { Codec::Raw } else { Codec::Zstd };
    let claimed = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    let len = if head[0] & 4 == 0 { packed.len() as u32 } else { claimed };
    let suite = suite(CipherKind::None);
    let mut aad = b"SNAPBL\x01\0".to_vec();
    aad.extend_from_slice(suite.repo.as_bytes());
    aad.extend_from_slice(&[kind.byte(), codec.byte()]);
    aad.extend_from_slice(&len.to_le_bytes());
    // The row has no chunks: the decoder compares no lengths with it.
    aad.extend_from_slice(&sha256(&[]));
    let seal = BlockSeal::new((0, kind), codec, len, &[], &[]);
    let mut sealed = Vec::new();
    suite.block(kind).expect("keys").seal(&aad, packed, &mut sealed).expect("sealing");
    let mut opener = BlockOpener::new(suite).expect("zstd");
    let (mut plain, mut space) = (Vec::new(), Vec::new());
    let opened = opener.open(&seal, &mut sealed.clone(), &mut plain);
    let read = opener.read(&seal, &mut sealed, &mut space);
    assert_eq!(opened.is_ok(), read.is_ok());
    if let Ok(read) = read {
        assert!(read == plain && plain.len() == len as usize, "two ways to read a block, two answers");
    }
}

/// A delta's frame: length of the prefix and of the plain bytes, the prefix, and the compressed bytes.
pub fn delta_frame(bytes: &[u8]) {
    let Some((head, rest)) = bytes.split_first_chunk::<8>() else { return };
    let [a, b, c, d, e, f, g, h] = *head;
    let (prefix, len) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    let Some((prefix, packed)) = rest.split_at_checked(prefix as usize) else { return };
    // As a row limits it.
    let len = len as usize % (MOST as usize);
    let mut plain = Vec::new();
    let opened = delta::decompress(prefix, packed, len, &mut plain);
    if opened.is_ok() {
        assert_eq!(plain.len(), len, "another length");
        let mut again = Vec::new();
        delta::compress(prefix, &plain, delta::Effort::Quick, &mut again)
            .expect("what was unpacked can be packed");
        let mut back = Vec::new();
        delta::decompress(prefix, &again, len, &mut back).expect("what was compressed can be decompressed");
        assert!(plain == back, "not what was packed");
    }
}

/// A tree chunk: a piece of a directory or of a list.
pub fn tree(bytes: &[u8]) {
    if let Ok(DirPiece::Leaf(entries)) = DirPiece::decode(bytes) {
        assert!(entries.is_sorted_by(|a, b| a.name < b.name), "out of order");
        let mut pieces = BTreeMap::new();
        let count = Cell::new(0u8);
        let mut put = |piece: &[u8]| {
            count.set(count.get().wrapping_add(1));
            let id = ChunkId::new([count.get(); 32]);
            pieces.insert(id, piece.to_vec());
            Ok(id)
        };
        let hasher = ChunkHasher::new(&keys().id);
        let mut builder = DirBuilder::default();
        for entry in &entries {
            check_name(&entry.name).expect("a name that is none");
            builder.push(entry, &hasher, &mut put).expect("what was read can be written");
        }
        let root = builder.finish(&mut put).expect("what was read can be written");
        if pieces.len() == 1 {
            let written = DirPiece::decode(&pieces[&root]).expect("what was written can be read");
            assert!(matches!(written, DirPiece::Leaf(back) if back == entries), "another directory");
        }
    }
    let _ = ListPiece::decode(bytes);
}

/// A tar archive, uncompressed.
pub fn archive(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let mut buffer = [0; 4096];
    let mut total = 0;
    while let Ok(Some(next)) = reader.advance() {
        if let Next::Member(found) = next
            && let Some(segments) = &found.segments
        {
            let _ = format!("{segments:?}");
        }
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            total += count;
            assert!(total <= bytes.len(), "more content than there are bytes");
        }
    }
    let _ = reader.drain();
}

/// A gzip or zstd file of any origin.
pub fn compressed(bytes: &[u8]) {
    let _ = gzip::decompressing(bytes).take(MOST).read_to_end(&mut Vec::new());
    if let Ok(plain) = compress::decompressing(bytes) {
        let _ = plain.take(MOST).read_to_end(&mut Vec::new());
    }
}

/// Attributes of archive members: records, times, ACLs and flags.
pub fn attributes(bytes: &[u8]) {
    let _ = pax::records(bytes);
    if let Ok(time) = pax::parse_time(bytes) {
        assert_eq!(pax::parse_time(pax::time_text(time).as_bytes()).ok(), Some(time), "another time");
    }
    if let Some(text) = acl::to_text(bytes) {
        // In the order that the system requires, whatever it was.
        let sorted = acl::from_text(&text, &|_, _| None).expect("what was written can be read");
        let text = acl::to_text(&sorted).expect("what was written is an ACL");
        assert_eq!(acl::from_text(&text, &|_, _| None).ok(), Some(sorted), "another ACL");
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = acl::from_text(text, &|_, name| name.len().try_into().ok());
    }
    let known = flags::from_text(bytes);
    assert_eq!(flags::from_text(flags::to_text(known).as_bytes()), known, "other flags");
}

/// Patterns, one per line after a letter for their kind, and paths to match.
pub fn filter(bytes: &[u8]) {
    let mut options = FilterOptions::default();
    let (mut include, mut exclude, mut paths) = (Vec::new(), Vec::new(), vec![&b"src/a.log"[..]]);
    for line in bytes.split(|byte| *byte == b'\n').take(16) {
        let Some((kind, text)) = line.split_first() else { continue };
        let pattern = OsStr::from_bytes(text).to_owned();
        match kind {
            b'x' => options.exclude.push(pattern),
            b'i' => options.iexclude.push(pattern),
            b'm' => options.exclude_if_present.push(pattern),
            b'+' => include.push(pattern),
            b'-' => exclude.push(pattern),
            _ => paths.push(text),
        }
    }
    if let Ok(filter) = Filter::new(&options) {
        for path in &paths {
            let location =
                EntryPath { dir: Path::new(OsStr::from_bytes(path)), stored_dir: path, name: path };
            let verdict = filter.decide(FilterVerdict::default(), location);
            let _ = filter.excludes(verdict, location, true, 1);
            let _ = filter.pattern_against(Path::new(OsStr::from_bytes(path)), path);
        }
        let _ = (filter.is_empty(), filter.unmatched());
    }
    if let Ok(selection) = RestoreFilter::new(&include, &exclude) {
        for path in &paths {
            // A selected path must be reachable: each directory above it must count as possibly containing a
            // match.
            if selection.takes(path, false) {
                let ways =
                    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at]);
                let closed = ways.clone().find(|way| !selection.may_hold(way));
                let sane = !path.starts_with(b"/") && !path.windows(2).any(|two| two == b"//");
                let sane =
                    sane && !include.iter().chain(&exclude).any(|text| text.as_bytes().contains(&b'!'));
                let excluded = ways.into_iter().any(|way| !selection.takes(way, true) && include.is_empty());
                assert!(closed.is_none() || !sane || excluded, "{closed:?} is said to hold nothing");
            }
        }
    }
}
