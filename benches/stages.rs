//! The cost of each stage of the pipeline by itself, on one core.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use snap_backup::codec::chunk::block::{BlockOpener, BlockSealer, SealedBlock};
use snap_backup::codec::chunk::chunker;
use snap_backup::codec::chunk::chunker::Chunker;
use snap_backup::codec::crypto::hash;
use snap_backup::codec::crypto::hash::{ChunkHasher, ChunkType, Key, SubKeys};
use snap_backup::codec::crypto::suite::CipherSuite;
use snap_backup::model::config::CipherKind;
use snap_backup::model::id::RepoId;

mod sample;

const LEN: usize = 16 << 20;
const BLOCK: usize = 1 << 20;

fn keys() -> SubKeys {
    SubKeys::derive(&Key::new([1; 32]), &RepoId::new([2; 16]))
}

fn suite() -> CipherSuite {
    CipherSuite::new(CipherKind::Xaes256Gcm, RepoId::new([2; 16]), &keys())
}

/// Calls `each` for the chunks of `bytes`.
fn cut(chunker: &Chunker, bytes: &[u8], mut each: impl FnMut(&[u8])) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at(chunker.cut(rest));
        each(chunk);
        rest = behind;
    }
}

fn reading(c: &mut Criterion) {
    let bytes = sample::noise(LEN);
    let keys = keys();
    let (chunker, hasher) = (Chunker::new(chunker::K64, &keys.gear).unwrap(), ChunkHasher::new(&keys.id));
    let mut group = c.benchmark_group("reading");
    group.throughput(Throughput::Bytes(LEN as u64)).sample_size(20);
    group.bench_function("cut", |b| {
        b.iter(|| {
            cut(&chunker, &bytes, |chunk| {
                black_box(chunk.len());
            })
        })
    });
    group.bench_function("name", |b| {
        b.iter(|| {
            bytes.chunks(64 << 10).map(|chunk| hasher.id_of(ChunkType::Data, chunk)).fold(0, |n, _| n + 1)
        })
    });
    group.bench_function("cut and name", |b| {
        b.iter(|| {
            cut(&chunker, &bytes, |chunk| {
                black_box(hasher.id_of(ChunkType::Data, chunk));
            })
        })
    });
    group.bench_function("hash a pack", |b| b.iter(|| hash::sha256(&bytes)));
    group.finish();
}

fn sealed(plain: &[u8], level: i32) -> SealedBlock {
    BlockSealer::new(suite(), level).unwrap().seal(ChunkType::Data, plain, Vec::new()).unwrap()
}

fn blocks(c: &mut Criterion) {
    let mut group = c.benchmark_group("block");
    group.throughput(Throughput::Bytes(BLOCK as u64)).sample_size(20);
    for (name, plain) in [("text", sample::text(BLOCK)), ("noise", sample::noise(BLOCK))] {
        for level in [1, 3] {
            let mut sealer = BlockSealer::new(suite(), level).unwrap();
            group.bench_function(format!("seal and verify {name} at level {level}"), |b| {
                b.iter(|| sealer.seal(ChunkType::Data, &plain, Vec::new()).unwrap())
            });
        }
        let (block, mut opener) = (sealed(&plain, 3), BlockOpener::new(suite()).unwrap());
        let (mut private_dir, mut out) = (Vec::new(), Vec::new());
        group.bench_function(format!("open {name}"), |b| {
            b.iter(|| {
                private_dir.clone_from(&block.sealed);
                opener.open(&block.seal(0), &mut private_dir, &mut out).unwrap();
            })
        });
    }
    group.finish();
}

criterion_group!(benches, reading, blocks);
criterion_main!(benches);
