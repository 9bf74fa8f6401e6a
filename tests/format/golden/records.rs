//! Small objects: the content of each file, the bytes of its body, and that it is not accepted as another
//! kind.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;
use snap_backup::codec::crypto::sealed_object::{self, Magic};
use snap_backup::codec::crypto::suite::CipherSuite;
use snap_backup::codec::wire;
use snap_backup::model::config::CipherKind;
use snap_backup::model::entry::Time;
use snap_backup::model::id::{ChunkId, PackId, RepoId, SnapshotId, hex};
use snap_backup::model::manifest::{Counts, Manifest, SnapshotKind};
use snap_backup::model::manifest_ext::{MoreCounts, Rot};
use snap_backup::model::records::{
    AuditAct, AuditRecord, DamageRecord, Damaged, Fence, GcRecord, Heartbeat, Seen, SessionKind,
    SessionRecord,
};
use snap_backup::model::signs::Signs;
use snap_backup::model::tripwire::AlarmState;
use snap_backup::repo::objects;
use snap_backup::storage::ObjectKind;

use super::{CIPHERS, flips, golden, keys, suite};

const OURS: SnapshotId = SnapshotId::new([0xa1; 16]);
const THEIRS: SnapshotId = SnapshotId::new([0xb2; 16]);
const ALL: [Magic; 10] = [
    sealed_object::MANIFEST,
    sealed_object::FENCE,
    sealed_object::SESSION,
    sealed_object::BEAT,
    sealed_object::SEEN,
    sealed_object::GC,
    sealed_object::GC_DONE,
    sealed_object::SEGMENT,
    sealed_object::DAMAGE,
    sealed_object::AUDIT,
];

/// Those that only a full key may write.
const SIGNED: [Magic; 5] = [
    sealed_object::MANIFEST,
    sealed_object::GC,
    sealed_object::GC_DONE,
    sealed_object::SEGMENT,
    sealed_object::AUDIT,
];

/// A value's body and its files, in both ciphers. Each file decodes to it, and is not accepted as another
/// kind.
fn holds<T>(file: &str, magic: Magic, name: &str, value: &T, body: &str)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    assert_eq!(hex(&wire::encode(value).unwrap()), body, "{file}");
    for (folder, kind) in CIPHERS {
        let suite = suite(kind);
        let close = || sealed_object::seal(&suite, magic, name, value).unwrap();
        let bytes = golden(folder, file, close);
        assert_eq!(
            &sealed_object::open::<T>(&suite, magic, name, bytes.clone()).unwrap(),
            value,
            "{folder}/{file}"
        );
        let signature = if SIGNED.contains(&magic) { suite.signature_len() } else { 0 };
        let length = u32::try_from(body.len() / 2 + signature).unwrap().to_le_bytes();
        let cipher = u8::from(kind != CipherKind::None);
        let clear = [&magic[..], &[1, 0, cipher, 0, 0, 0], &length, &[0; 8]];
        assert_eq!(bytes[..24], clear.concat(), "{folder}/{file}");
        if kind == CipherKind::None {
            assert_eq!(close(), bytes, "{folder}/{file} is written otherwise today");
        }
        refuses::<T>(&suite, magic, name, &bytes);
    }
}

fn refuses<T: DeserializeOwned>(suite: &CipherSuite, magic: Magic, name: &str, good: &[u8]) {
    let opens = |suite: &CipherSuite, magic, name: &str, bytes| {
        sealed_object::open::<T>(suite, magic, name, bytes).is_ok()
    };
    for (bit, bad) in flips(good) {
        assert!(!opens(suite, magic, name, bad), "{name} with bit {bit} flipped");
    }
    for other in ALL.into_iter().filter(|other| *other != magic) {
        assert!(!opens(suite, other, name, good.to_vec()), "{name} as {other:?}");
        let relabelled = [&other[..], &good[6..]].concat();
        assert!(!opens(suite, other, name, relabelled), "{name} relabelled as {other:?}");
    }
    assert!(!opens(suite, magic, &format!("{name}.beat"), good.to_vec()), "{name} under a longer name");
    assert!(!opens(suite, magic, &name[1..], good.to_vec()), "{name} under a shorter name");
    let elsewhere = CipherSuite::new(suite.kind, RepoId::new([3; 16]), &keys());
    assert!(!opens(&elsewhere, magic, name, good.to_vec()), "{name} in another repository");
    assert!(!opens(suite, magic, name, good[..good.len() - 1].to_vec()), "{name} without its last byte");
    assert!(!opens(suite, magic, name, [good, &[0]].concat()), "{name} with a byte behind it");
}

#[test]
fn sessions() {
    let kinds = [
        ("session-writer", SessionKind::Writer, "00"),
        ("session-reader", SessionKind::Reader, "01"),
        ("session-collector", SessionKind::Collector, "02"),
    ];
    for (file, kind, first) in kinds {
        let record = SessionRecord {
            kind,
            host: "attic".into(),
            boot: "6f1c".into(),
            pid: 70_000,
            started: Time { sec: 1_795_000_000, nanos: 5 },
        };
        holds(
            file,
            sealed_object::SESSION,
            &OURS.hex(),
            &record,
            &format!("{first}0561747469630436663163f0a204809becaf0d05"),
        );
    }
}

#[test]
fn a_heartbeat_and_a_look_at_it() {
    let beat = Heartbeat { count: 300, gc_seen: 7 };
    holds("beat", sealed_object::BEAT, &format!("{OURS}.beat"), &beat, "ac0207");
    let seen = Seen { count: 300, at: Time { sec: -1, nanos: 999_999_999 } };
    holds("seen", sealed_object::SEEN, &format!("{OURS}.seen"), &seen, "ac0201ff93ebdc03");
}

#[test]
fn a_fence() {
    let fence = Fence { by: THEIRS, gc: 7, at: Time { sec: 1_795_000_000, nanos: 0 } };
    holds(
        "fence",
        sealed_object::FENCE,
        &OURS.hex(),
        &fence,
        "b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b207809becaf0d00",
    );
}

#[test]
fn a_collection_and_its_end() {
    let record = GcRecord {
        by: THEIRS,
        at: Time { sec: 1_795_000_000, nanos: 0 },
        condemned: vec![PackId::new([0xc3; 32])],
        roots: vec![OURS],
        purged: vec![(OURS, THEIRS)],
    };
    holds(
        "gc",
        sealed_object::GC,
        "0000000000000007",
        &record,
        "b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2809becaf0d0001c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3\
        c3c3c3c3c3c3c301a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a101a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1b2b2b2b2b2b2b2\
        b2b2b2b2b2b2b2b2b2",
    );
    holds("gc-done", sealed_object::GC_DONE, "0000000000000007.done", &(), "");
}

#[test]
fn damage_to_a_pack_and_to_a_chunk() {
    let record = |what| DamageRecord {
        what,
        by: THEIRS,
        at: Time { sec: 1_795_000_000, nanos: 0 },
        why: "it hashes to something else".into(),
    };
    let pack = PackId::new([0xc3; 32]);
    holds(
        "damage-pack",
        sealed_object::DAMAGE,
        &pack.hex(),
        &record(Damaged::Pack(pack)),
        "00c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2\
        b2809becaf0d001b69742068617368657320746f20736f6d657468696e6720656c7365",
    );
    let chunk = ChunkId::new([0xd4; 32]);
    holds(
        "damage-chunk",
        sealed_object::DAMAGE,
        &chunk.hex(),
        &record(Damaged::Chunk(chunk)),
        "01d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2\
        b2809becaf0d001b69742068617368657320746f20736f6d657468696e6720656c7365",
    );
}

#[test]
fn an_audit_record() {
    let record = AuditRecord {
        act: AuditAct::Forget.code(),
        at: Time { sec: 1_795_000_000, nanos: 0 },
        host: "attic".into(),
        user: "ada".into(),
        program: "snap 1".into(),
        command: "snap gc".into(),
        snapshots: vec![THEIRS],
        detail: "why".into(),
        extra: vec![(9, ByteBuf::from("x"))],
    };
    holds(
        "audit",
        sealed_object::AUDIT,
        &OURS.hex(),
        &record,
        "00809becaf0d000561747469630361646106736e6170203107736e617020676301b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2\
        b20377687901090178",
    );
    assert_eq!(AuditAct::ALL.map(AuditAct::code), std::array::from_fn(|at| u32::try_from(at).unwrap()));
}

fn full() -> Manifest {
    Manifest {
        kind: SnapshotKind::Full,
        parent: None,
        based_on: None,
        started: Time { sec: 1_795_000_000, nanos: 123_456_789 },
        ended: Time { sec: 1_795_000_060, nanos: 0 },
        host: "attic".into(),
        user: "ada".into(),
        sources: vec![ByteBuf::from("/etc")],
        tags: Vec::new(),
        root: ChunkId::new([0xd4; 32]),
        counts: Counts {
            files_new: 1,
            files_changed: 2,
            files_unchanged: 3,
            files_removed: 4,
            dirs: 5,
            others: 6,
            bytes_total: 1 << 40,
            bytes_read: 8,
            bytes_added: 9,
            bytes_stored: 10,
            errors: 11,
        },
        partial: false,
        program: "snap 0.1.0".into(),
        extra: Vec::new(),
    }
}

#[test]
fn manifests() {
    holds(
        "manifest-full",
        sealed_object::MANIFEST,
        &OURS.hex(),
        &full(),
        "000000809becaf0d959aef3af89becaf0d000561747469630361646101042f65746300d4d4d4d4d4d4d4d4d4d4d4d4d4\
        d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d401020304050680808080802008090a0b000a736e617020302e312e3000",
    );
    let partial = Manifest {
        kind: SnapshotKind::Incremental,
        parent: Some(THEIRS),
        based_on: Some(OURS),
        sources: vec![ByteBuf::from(b"/a\xff".to_vec()), ByteBuf::from("/b")],
        tags: vec!["nightly".into()],
        counts: Counts::default(),
        partial: true,
        extra: vec![(2, ByteBuf::from("later"))],
        ..full()
    };
    holds(
        "manifest-incremental",
        sealed_object::MANIFEST,
        &THEIRS.hex(),
        &partial,
        "0101b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b201a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1809becaf0d959aef3af89becaf\
        0d000561747469630361646102032f61ff022f6201076e696768746c79d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4\
        d4d4d4d4d4d4d4d4d4d4d4d4d40000000000000000000000010a736e617020302e312e300102056c61746572",
    );
    let differential = Manifest { kind: SnapshotKind::Differential, based_on: Some(OURS), ..full() };
    holds(
        "manifest-differential",
        sealed_object::MANIFEST,
        &OURS.hex(),
        &differential,
        "020001a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1809becaf0d959aef3af89becaf0d000561747469630361646101042f65\
        746300d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d401020304050680808080802008\
        090a0b000a736e617020302e312e3000",
    );
}

/// Fields of snapshots that were added to format 1 later.
#[test]
fn notes_of_a_manifest() {
    let mut noted = full();
    noted.extra = vec![(2, ByteBuf::from("x"))];
    noted.set_original(THEIRS);
    noted.set_expires(Some(Time { sec: -2, nanos: 7 }));
    noted.set_pinned(true);
    noted.set_description(Some("déjà")).unwrap();
    holds(
        "manifest-notes",
        sealed_object::MANIFEST,
        &OURS.hex(),
        &noted,
        "000000809becaf0d959aef3af89becaf0d000561747469630361646101042f65746300d4d4d4d4d4d4d4d4d4d4d4d4d4\
        d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d401020304050680808080802008090a0b000a736e617020302e312e30\
        050100020178040664c3a96ac3a0060cfeffffffffffffff070000000810b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2",
    );
    assert!(noted.check_tags().is_ok() && noted.is_pinned());
    assert_eq!((noted.description(), noted.original()), (Some("déjà"), Some(THEIRS)));
    assert_eq!(noted.expires(), Some(Time { sec: -2, nanos: 7 }));
    noted.set_original(OURS);
    assert_eq!(noted.original(), Some(THEIRS), "the first counts");
    noted.set_expires(None);
    noted.set_pinned(false);
    noted.set_description(Some("")).unwrap();
    assert_eq!(noted.extra.iter().map(|(tag, _)| *tag).collect::<Vec<_>>(), [2, 8]);
    // An unknown odd tag, and an invalid one.
    for odd in [(3, ByteBuf::new()), (1, ByteBuf::from("x")), (5, ByteBuf::new())] {
        let unknown = Manifest { extra: vec![odd], ..full() };
        assert!(unknown.check_tags().unwrap_err().is_newer());
    }
    for tags in [[4, 4], [4, 2]] {
        let extra = tags.map(|tag| (tag, ByteBuf::from("x"))).to_vec();
        assert!(!Manifest { extra, ..full() }.check_tags().unwrap_err().is_newer(), "{tags:?} is damage");
    }
    // Impossible values are absent.
    let torn =
        Manifest { extra: vec![(4, ByteBuf::from(vec![0xff])), (6, ByteBuf::from("short"))], ..full() };
    assert_eq!((torn.expires(), torn.description(), torn.check_tags().is_ok()), (None, None, true));
}

/// What a backup recorded about its set, and the alarm that it raised.
#[test]
fn an_alarm_of_a_manifest() {
    let mut alarming = full();
    let counts =
        MoreCounts { dirs_new: 1, dirs_changed: 2, dirs_unchanged: 3, data_chunks: 4, tree_chunks: 5 };
    let signs = Signs {
        span: 86_400,
        before: 9,
        bytes_before: 900,
        bytes: 100,
        new: 1,
        rewritten: 8,
        removed: 1,
        opaque: 9,
        alike: 1,
        suffix: b"locked".to_vec(),
        level: 1_000_000,
        ..Signs::default()
    };
    let rot = Rot { files: 2, is_only_reason: false };
    alarming.set_rot(Some(rot));
    alarming.set_signs(Some(&signs));
    alarming.set_more_counts(counts);
    alarming.set_alarm("9 of 9 files");
    holds(
        "manifest-alarm",
        sealed_object::MANIFEST,
        &OURS.hex(),
        &alarming,
        "000000809becaf0d959aef3af89becaf0d000561747469630361646101042f65746300d4d4d4d4d4d4d4d4d4d4d4d4d4\
        d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d401020304050680808080802008090a0b000a736e617020302e312e3004\
        030d0139206f6620392066696c6573122801000000000000000200000000000000030000000000000004000000000000\
        000500000000000000146e80510100000000000900000000000000840300000000000064000000000000000100000000\
        000000000000000000000008000000000000000100000000000000090000000000000000000000000000000100000000\
        00000040420f000000000000000000000000006c6f636b65641809020000000000000001",
    );
    assert!(alarming.check_tags().is_ok() && alarming.is_alarming());
    assert_eq!(
        (alarming.signs(), alarming.more_counts(), alarming.rot()),
        (Some(signs), Some(counts), Some(rot))
    );
    alarming.settle_alarm(AlarmState::Accepted);
    assert_eq!(alarming.alarm(), Some((AlarmState::Accepted, "9 of 9 files")));
    for torn in [vec![], vec![2, 0, 0, 0, 0, 0, 0, 0], vec![2, 0, 0, 0, 0, 0, 0, 0, 7]] {
        let torn = Manifest { extra: vec![(24, ByteBuf::from(torn))], ..full() };
        assert_eq!((torn.rot(), torn.check_tags().is_ok()), (None, true));
    }
}

#[test]
fn forgotten_manifest_keeps_its_bytes_and_sealed_name() {
    for (folder, kind) in CIPHERS {
        let name = OURS.hex();
        let close = || sealed_object::seal(&suite(kind), sealed_object::MANIFEST, &name, &full()).unwrap();
        let bytes = golden(folder, "manifest-full", close);
        let trash = format!("{OURS}.{THEIRS}");
        let open = |bound: &str| {
            objects::open::<Manifest>(
                &suite(kind),
                sealed_object::MANIFEST,
                ObjectKind::Trash,
                &trash,
                bound,
                bytes.clone(),
            )
        };
        assert_eq!(open(&name).unwrap(), full());
        assert!(open(&trash).is_err());
        assert!(open(&THEIRS.hex()).is_err());
    }
}
