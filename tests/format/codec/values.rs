//! Values of every type of the format.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, Strategy, any};
use proptest::{option, prop_oneof};
use serde_bytes::ByteBuf;
use snap_backup::model::config::CipherKind;
use snap_backup::model::entry::{
    Content, ContentPart, Entry, Kind, Meta, Time, Xattr, XattrValue, check_name, flags,
};
use snap_backup::model::id::{ChunkId, PackId, SnapshotId};
use snap_backup::model::manifest::{Counts, Manifest, SnapshotKind};
use snap_backup::model::records::{DamageRecord, Damaged, GcRecord, SessionKind, SessionRecord};

pub(crate) fn ciphers() -> impl Strategy<Value = CipherKind> {
    prop_oneof![Just(CipherKind::None), Just(CipherKind::Xaes256Gcm)]
}

pub(crate) fn chunk_ids() -> impl Strategy<Value = ChunkId> {
    any::<[u8; 32]>().prop_map(ChunkId::new)
}

fn pack_ids() -> impl Strategy<Value = PackId> {
    any::<[u8; 32]>().prop_map(PackId::new)
}

pub(crate) fn sessions() -> impl Strategy<Value = SnapshotId> {
    any::<[u8; 16]>().prop_map(SnapshotId::new)
}

fn times() -> impl Strategy<Value = Time> {
    (any::<i64>(), 0..1_000_000_000u32).prop_map(|(sec, nanos)| Time { sec, nanos })
}

fn texts() -> impl Strategy<Value = String> {
    any::<String>()
}

fn byte_strings(most: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..most)
}

fn extras() -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    // Beyond the tags that are defined.
    let tags = (4..u16::MAX / 2).prop_map(|tag| tag * 2).prop_filter("a free tag", |tag| *tag != 18);
    btree_map(tags, byte_strings(20), 0..3).prop_map(|all| all.into_iter().collect())
}

pub(crate) fn parts() -> impl Strategy<Value = ContentPart> {
    prop_oneof![
        3 => (chunk_ids(), 1..=16u32 << 20).prop_map(|(id, len)| ContentPart::Chunk { id, len }),
        1 => (1..1u64 << 40).prop_map(|len| ContentPart::Hole { len }),
    ]
}

fn kinds(target: usize) -> impl Strategy<Value = Kind> {
    let file = |parts: Vec<ContentPart>| {
        let size = parts.iter().map(ContentPart::len).sum();
        Kind::File { size, content: Content::Parts(parts) }
    };
    let numbers = || (any::<u32>(), any::<u32>());
    prop_oneof![
        vec(parts(), 0..4).prop_map(file),
        (any::<u64>(), chunk_ids())
            .prop_map(|(size, list)| Kind::File { size, content: Content::List(list) }),
        chunk_ids().prop_map(|tree| Kind::Dir { tree }),
        byte_strings(target).prop_map(|target| Kind::Symlink { target }),
        Just(Kind::Fifo),
        Just(Kind::Socket),
        numbers().prop_map(|(major, minor)| Kind::CharDevice { major, minor }),
        numbers().prop_map(|(major, minor)| Kind::BlockDevice { major, minor }),
    ]
}

fn owners() -> impl Strategy<Value = Option<Arc<str>>> {
    option::of("[a-c]{0,2}".prop_map(|name| Arc::from(name.as_str())))
}

fn xattrs() -> impl Strategy<Value = Vec<Xattr>> {
    let content = |(parts, list): (Vec<ContentPart>, Option<ChunkId>)| {
        let size = parts.iter().map(ContentPart::len).sum();
        let content = list.map_or(Content::Parts(parts), Content::List);
        XattrValue::Content { size, content }
    };
    let part = (chunk_ids(), 1..30_000u32).prop_map(|(id, len)| ContentPart::Chunk { id, len });
    let values = prop_oneof![
        3 => byte_strings(40).prop_map(XattrValue::Inline),
        1 => (vec(part, 0..3), option::of(chunk_ids())).prop_map(content),
    ];
    let names = vec(1..=255u8, 1..20);
    let some = btree_map(names, values, 1..4)
        .prop_map(|all: BTreeMap<_, _>| all.into_iter().map(|(name, value)| Xattr { name, value }).collect());
    prop_oneof![3 => Just(Vec::new()), 1 => some]
}

fn metas() -> impl Strategy<Value = Meta> {
    let numbers = (0..=0o7777u32, any::<u32>(), any::<u32>(), any::<u128>(), 0..=flags::KNOWN);
    let lost = (prop_oneof![Just(0), any::<u64>()], option::of(times()));
    let late = (xattrs(), option::of(times()), any::<u32>(), lost, extras());
    (numbers, owners(), owners(), times(), times(), late).prop_map(
        |(
            (mode, uid, gid, link, flags),
            user,
            group,
            mtime,
            ctime,
            (xattrs, born, attrs, (lost, corrupt_since), extra),
        )| {
            Meta {
                mode,
                uid,
                gid,
                user,
                group,
                mtime,
                ctime,
                link,
                flags,
                xattrs,
                born,
                attrs,
                lost,
                corrupt_since,
                extra,
            }
        },
    )
}

/// Up to `most` entries of a directory in order, with symbolic links of up to `target` bytes.
pub(crate) fn directories(most: usize, target: usize) -> impl Strategy<Value = Vec<Entry>> {
    let names = vec(any::<u8>(), 1..20).prop_filter("a name", |name| check_name(name).is_ok());
    btree_map(names, (kinds(target), metas()), 0..most).prop_map(|entries: BTreeMap<_, _>| {
        entries.into_iter().map(|(name, (kind, meta))| Entry { name, kind, meta }).collect()
    })
}

fn counts() -> impl Strategy<Value = Counts> {
    any::<[u64; 11]>().prop_map(|all| Counts {
        files_new: all[0],
        files_changed: all[1],
        files_unchanged: all[2],
        files_removed: all[3],
        dirs: all[4],
        others: all[5],
        bytes_total: all[6],
        bytes_read: all[7],
        bytes_added: all[8],
        bytes_stored: all[9],
        errors: all[10],
    })
}

pub(crate) fn manifests() -> impl Strategy<Value = Manifest> {
    let kinds = prop_oneof![
        Just(SnapshotKind::Full),
        Just(SnapshotKind::Incremental),
        Just(SnapshotKind::Differential)
    ];
    let origin = (kinds, option::of(sessions()), option::of(sessions()), times(), times());
    let set = (texts(), texts(), vec(byte_strings(20), 0..3), vec(texts(), 0..3));
    (origin, set, chunk_ids(), counts(), any::<bool>(), texts(), extras()).prop_map(
        |(origin, (host, user, sources, tags), root, counts, partial, program, extra)| Manifest {
            kind: origin.0,
            parent: origin.1,
            based_on: origin.2,
            started: origin.3,
            ended: origin.4,
            host,
            user,
            sources: sources.into_iter().map(ByteBuf::from).collect(),
            tags,
            root,
            counts,
            partial,
            program,
            extra: extra.into_iter().map(|(tag, bytes)| (tag, ByteBuf::from(bytes))).collect(),
        },
    )
}

pub(crate) fn session_records() -> impl Strategy<Value = SessionRecord> {
    let kinds =
        prop_oneof![Just(SessionKind::Writer), Just(SessionKind::Reader), Just(SessionKind::Collector)];
    (kinds, texts(), texts(), any::<u32>(), times())
        .prop_map(|(kind, host, boot, pid, started)| SessionRecord { kind, host, boot, pid, started })
}

pub(crate) fn gc_records() -> impl Strategy<Value = GcRecord> {
    let lists = (vec(pack_ids(), 0..4), vec(sessions(), 0..4), vec((sessions(), sessions()), 0..4));
    (sessions(), times(), lists).prop_map(|(by, at, (condemned, roots, purged))| GcRecord {
        by,
        at,
        condemned,
        roots,
        purged,
    })
}

pub(crate) fn damage_records() -> impl Strategy<Value = DamageRecord> {
    let what = prop_oneof![pack_ids().prop_map(Damaged::Pack), chunk_ids().prop_map(Damaged::Chunk)];
    (what, sessions(), times(), texts()).prop_map(|(what, by, at, why)| DamageRecord { what, by, at, why })
}
