//! All fuzz seeds and findings pass through the same decoders in each run of the tests. `SNAP_MAKE_SEEDS=1`
//! creates missing seeds from the golden files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

#[allow(unreachable_pub, reason = "shared with the fuzz targets")]
#[path = "../../fuzz/decoders.rs"]
mod decoders;
use std::fs;
use std::path::{Path, PathBuf};

use snap_backup::codec::crypto::cipher::OVERHEAD;
use snap_backup::codec::crypto::sealed_object::HEADER;

use crate::support::files_below;

/// Inputs that are kept, all together: a source repository is no place for more.
const MOST_BYTES: u64 = 1 << 20;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

#[test]
fn fuzz_seeds_and_findings_are_decoded_or_refused() {
    for (name, target) in decoders::TARGETS {
        let corpus = files_below(&fuzz().join("corpus").join(name));
        assert!(!corpus.is_empty(), "no inputs for {name}");
        for path in corpus.iter().chain(&files_below(&fuzz().join("regressions").join(name))) {
            println!("{}", path.display());
            target(&fs::read(path).unwrap());
        }
    }
}

#[test]
fn every_target_can_be_fuzzed_and_no_input_is_forgotten() {
    let known: Vec<&str> = decoders::TARGETS.iter().map(|(name, _)| *name).collect();
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let all = fs::read_to_string(fuzz().join("decoders.rs")).unwrap();
    for name in &known {
        // Only a nightly compiler would check this: each file calls the function that the list names.
        let (_, rest) = all.split_once(&format!("(\"{name}\", ")).unwrap();
        let (function, _) = rest.split_once(')').unwrap();
        let target = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(target.contains(&format!("decoders::{function}(bytes)")), "{name} is not {function}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
    for folder in ["corpus", "regressions"] {
        // There may be no findings yet.
        let Ok(found) = fs::read_dir(fuzz().join(folder)) else { continue };
        for name in found.map(|entry| entry.unwrap().file_name()) {
            assert!(known.contains(&name.to_str().unwrap()), "nobody reads fuzz/{folder}/{name:?}");
        }
    }
    let kept = [files_below(&fuzz().join("corpus")), files_below(&fuzz().join("regressions"))].concat();
    let bytes: u64 = kept.iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes <= MOST_BYTES, "{bytes} bytes of inputs");
}

#[test]
fn seeds_come_from_the_golden_files() {
    if std::env::var_os("SNAP_MAKE_SEEDS").is_none() {
        return;
    }
    let records = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/format-1/records");
    for path in files_below(&records) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let cipher = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let bytes = fs::read(&path).unwrap();
        let title = format!("{cipher}-{name}");
        match name {
            "config" => {
                seed("config", &title, &bytes);
                seed("config", &format!("{title}-body"), &bytes[12..bytes.len() - 32]);
            }
            "key-slot" => seed("key_slot", &title, &bytes),
            "pack" => pack(&title, &bytes),
            "parity" => parities(&bytes),
            "segment" => segment(&title, &bytes),
            _ => seed("envelope", &title, &bytes),
        }
        if cipher != "open" || matches!(name, "config" | "key-slot" | "pack" | "parity" | "segment") {
            continue;
        }
        // An unencrypted object: nonce, body, tag.
        let body = &bytes[HEADER + OVERHEAD - 16..bytes.len() - 16];
        let which = match name.split('-').next().unwrap() {
            "manifest" => {
                seed("manifest", name, body);
                continue;
            }
            "session" => 0,
            "beat" => 1,
            "seen" => 2,
            "fence" => 3,
            "gc" => 4,
            _ => 5,
        };
        seed("records", name, &[&[which], body].concat());
    }
    other();
}

/// Ends and table of a pack.
fn pack(title: &str, bytes: &[u8]) {
    let len = (bytes.len() as u64).to_le_bytes();
    let table = u32::from_le_bytes(*bytes[16..].first_chunk().unwrap()) as usize;
    seed("pack_ends", title, &[&bytes[..64], &len, &bytes[64..64 + table]].concat());
    seed("pack_ends", &format!("{title}-trailer"), &[&bytes[bytes.len() - 64..], &len].concat());
    if title.starts_with("open") {
        let packed = &bytes[64 + 24..64 + table - 16];
        let head = [&[bytes[10]], &bytes[12..16], &bytes[20..24]].concat();
        seed("pack_table", title, &[&head, packed].concat());
    }
}

/// A header bundle, the pack headers that it declares, and one of them.
fn segment(title: &str, bytes: &[u8]) {
    let start = snap_backup::codec::crypto::sealed_object::object_len(bytes).unwrap() as usize;
    seed("segment", title, bytes);
    seed("segment", &format!("{title}-front"), &bytes[start..]);
    if title.starts_with("open") {
        seed("segment", &format!("{title}-body"), &bytes[HEADER + OVERHEAD - 16..start - 16]);
    }
}

/// The golden sidecar, and small ones with a damaged pack after them.
fn parities(golden: &[u8]) {
    use snap_backup::codec::crypto::hash::sha256;
    use snap_backup::codec::pack::parity::Layout;
    use snap_backup::model::id::PackId;

    seed("parity", "golden", golden);
    for (len, damaged) in [(100, 1), (100, 0), (9000, 1), (9000, 2), (9000, 3)] {
        let mut bytes: Vec<u8> = (0..len).map(|at: usize| (at % 251) as u8).collect();
        let layout = Layout::new(PackId::new(sha256(&bytes)), len as u64, 50).unwrap();
        let sidecar = snap_backup::codec::pack::parity::sidecar(&layout, &[&bytes]).unwrap().concat();
        (0..damaged).for_each(|at| bytes[at * 4096 + 7] ^= 1);
        seed("parity", &format!("{len}-{damaged}"), &[sidecar, bytes].concat());
    }
}

/// What no golden file contains.
fn other() {
    use snap_backup::codec::chunk::block::BlockOpener;
    use snap_backup::codec::crypto::hash::{Key, SubKeys};
    use snap_backup::codec::crypto::suite::CipherSuite;
    use snap_backup::codec::pack::PackHeader;
    use snap_backup::model::config::CipherKind;
    use snap_backup::model::id::RepoId;

    let repo = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/format-1/open");
    let config =
        snap_backup::codec::crypto::key_slot::decode_config(&fs::read(repo.join("config/1")).unwrap())
            .unwrap();
    let repo_id: RepoId = config.repo;
    let keys = SubKeys::derive(&Key::new(config.open_master.unwrap()), &repo_id);
    let suite = CipherSuite::new(CipherKind::None, repo_id, &keys);
    for (number, path) in files_below(&repo.join("packs")).into_iter().enumerate() {
        let bytes = fs::read(path).unwrap();
        let ends = PackHeader::parse(bytes.first_chunk().unwrap(), bytes.len() as u64).unwrap();
        let table = ends.open_table(&suite, bytes[64..64 + ends.table_len as usize].to_vec()).unwrap();
        seed("cached", &format!("pack-{number}"), &table.to_cached().unwrap());
        for (at, row) in table.blocks.iter().enumerate() {
            let (start, end) = (row.offset as usize, (row.offset + row.stored) as usize);
            let mut sealed = bytes[start..end].to_vec();
            let packed = sealed[24..sealed.len() - 16].to_vec();
            let kind = u8::from(table.kind == snap_backup::codec::crypto::hash::ChunkType::Tree);
            let first = kind | (2 * row.codec.byte()) | 4;
            let title = format!("pack-{number}-{at}");
            if packed.len() < 20_000 {
                seed("block", &title, &[&[first], &row.plain.to_le_bytes()[..], &packed].concat());
            }
            let mut plain = Vec::new();
            let mut opener = BlockOpener::new(suite.clone()).unwrap();
            opener.open(&row.seal((table.epoch, table.kind)), &mut sealed, &mut plain).unwrap();
            let mut from = 0;
            for (piece, (_, len)) in row.chunks.iter().enumerate().filter(|_| kind == 1) {
                seed("tree", &format!("{title}-{piece}"), &plain[from..from + *len as usize]);
                from += *len as usize;
            }
        }
    }
    deltas();
    seed(
        "filter",
        "all",
        b"x*.log\nx!keep.log\nx/abs/**/x\ni*.TMP\nmCACHEDIR.TAG\nm.nobackup:yes\n+src/**\n-*.o\npsrc/d/a.o",
    );
    seed("attributes", "records", b"30 mtime=1350244992.023960108\n20 path=some/where/x\n");
    seed("attributes", "time", b"-1350244992.023960108");
    seed("attributes", "acl", b"user::rw-,user:lisa:rw-:501,group::r--,mask::rw-,other::r--");
    seed(
        "attributes",
        "acl-bytes",
        &[2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255],
    );
    seed("attributes", "flags", b"immutable,append");
    archives();
}

/// Deltas: of text, of incompressible bytes, of nothing, and one that requests too much memory.
fn deltas() {
    use snap_backup::codec::chunk::compress::delta;

    let frame = |name: &str, prefix: &[u8], len: usize, packed: &[u8]| {
        let lengths = [prefix.len() as u32, len as u32].map(u32::to_le_bytes).concat();
        seed("delta", name, &[&lengths, prefix, packed].concat());
    };
    let text = b"a line like many others, but for its number: 1\n".repeat(40);
    let noise = crate::support::Random::new(1).bytes(5000);
    for (name, prefix, changed) in [("text", &text, 20), ("noise", &noise, 2500), ("short", &noise, 4990)] {
        let mut plain = prefix.clone();
        plain.splice(changed..changed + 5, *b"something else");
        let mut packed = Vec::new();
        delta::compress(prefix, &plain, delta::Effort::Quick, &mut packed).unwrap();
        frame(name, prefix, plain.len(), &packed);
    }
    let mut packed = Vec::new();
    delta::compress(b"p", b"", delta::Effort::Quick, &mut packed).unwrap();
    frame("nothing", b"p", 0, &packed);
    frame("window", b"p", 1, &[0x28, 0xb5, 0x2f, 0xfd, 0, 0xf8, 9, 0, 0, b'x']);
}

/// Archives by GNU tar in all its formats, and compressed.
fn archives() {
    let home = tempfile::tempdir().unwrap();
    let src = home.path().join("src");
    fs::create_dir_all(src.join("d")).unwrap();
    fs::write(src.join("a"), "hello").unwrap();
    fs::write(src.join("d").join("n".repeat(150)), "long").unwrap();
    let holes = fs::File::create(src.join("holes")).unwrap();
    holes.set_len(1 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&holes, b"data", 500_000).unwrap();
    fs::hard_link(src.join("a"), src.join("b")).unwrap();
    std::os::unix::fs::symlink("a", src.join("l")).unwrap();
    for format in ["v7", "ustar", "oldgnu", "gnu", "pax", "pax-0.0", "pax-0.1"] {
        let mut command = std::process::Command::new("tar");
        let (kind, sparse) = format.split_once('-').unwrap_or((format, "1.0"));
        command.args(["--format", kind, "-b", "1", "-c", "-C"]).arg(home.path());
        if !matches!(kind, "v7" | "ustar") {
            command.args(["--sparse", "--sparse-version", sparse]);
        } else {
            command.args(["--exclude", "holes", "--exclude", "n*"]);
        }
        let tar = command.arg("src").output().unwrap().stdout;
        assert!(!tar.is_empty(), "tar --format {format}");
        seed("archive", format, &tar);
        if format == "ustar" {
            let mut packed = Vec::new();
            snap_backup::codec::gzip::GzipCompressor::new(6).unwrap().compress(&tar, &mut packed).unwrap();
            seed("compressed", "gzip", &packed);
            let mut packed = Vec::new();
            snap_backup::codec::chunk::compress::FrameCompressor::new(3)
                .unwrap()
                .compress(&tar, &mut packed)
                .unwrap();
            seed("compressed", "zstd", &packed);
        }
    }
}

fn seed(target: &str, name: &str, bytes: &[u8]) {
    let folder = fuzz().join("corpus").join(target);
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    if !path.exists() {
        fs::write(path, bytes).unwrap();
    }
}
