//! Sidecars of packs: what they rebuild, and what they refuse.

use snap_backup::codec::crypto::hash::sha256;
use snap_backup::codec::pack::parity::{self, HEADER, Layout, MAX_PACK, Sums};
use snap_backup::model::id::PackId;

/// Bytes without a pattern.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| byte()).collect()
}

fn layout(bytes: &[u8], share: u8) -> Layout {
    Layout::new(PackId::new(sha256(bytes)), bytes.len() as u64, share).unwrap()
}

/// The content of a sidecar, read from its front and from its end.
fn read(sidecar: &[u8]) -> (Layout, Sums, Vec<u8>) {
    let layout = Layout::decode(sidecar.first_chunk().unwrap()).unwrap();
    assert_eq!(Layout::decode(sidecar.last_chunk().unwrap()).unwrap(), layout);
    assert_eq!(sidecar.len() as u64, layout.sidecar_len());
    let (at, len) =
        (usize::try_from(layout.parity_at()).unwrap(), usize::try_from(layout.parity_len()).unwrap());
    let sums = Sums::decode(&layout, &sidecar[HEADER..at]).unwrap();
    assert_eq!(Sums::decode(&layout, &sidecar[at + len..sidecar.len() - HEADER]).unwrap(), sums);
    (layout, sums, sidecar[at..at + len].to_vec())
}

fn padded(bytes: &[u8], layout: &Layout) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(layout.padded_len(), 0);
    padded
}

#[test]
fn damage_up_to_the_parity_is_rebuilt_anywhere_not_more() {
    for len in [1, 63, 64, 65, 4095, 4096, 4097, 40_961, 300_000] {
        let bytes = noise(len, len as u64);
        for share in [1, 10, 100] {
            let asked = layout(&bytes, share);
            // In parts of any size.
            let (front, back) = bytes.split_at(len / 3);
            let sidecar = parity::sidecar(&asked, &[front, b"", back]).unwrap().concat();
            let (found, sums, parity) = read(&sidecar);
            assert_eq!(found, asked);
            let (shard, data) = (found.shard as usize, found.data as usize);
            assert!(found.parity * 100 >= found.data * u32::from(share) && found.parity >= 1, "{found:?}");
            let good = padded(&bytes, &found);
            let mut order: Vec<usize> = (0..data).collect();
            order.sort_by_key(|at| at.wrapping_mul(2_654_435_761) % 1009);
            for count in [0, 1, found.parity as usize, found.parity as usize + 1] {
                let hit = &order[..count.min(data)];
                let mut bad = good.clone();
                hit.iter().for_each(|at| bad[at * shard + shard / 2] ^= 0x55);
                let rebuilt = parity::rebuild(&found, &sums, &mut bad, &parity);
                if hit.len() > found.parity as usize {
                    let why = rebuilt.unwrap_err().to_string();
                    assert!(why.contains("are damaged"), "{why}");
                } else {
                    let mut hit = hit.to_vec();
                    hit.sort_unstable();
                    assert_eq!(rebuilt.unwrap(), hit, "{len} bytes, {share} %");
                    assert!(bad == good, "{len} bytes, {share} %, {count} damaged");
                }
            }
        }
    }
}

#[test]
fn damaged_parity_only_lessens_what_can_be_rebuilt() {
    let bytes = noise(200_000, 7);
    let (layout, sums, parity) = read(&parity::sidecar(&layout(&bytes, 10), &[&bytes]).unwrap().concat());
    assert_eq!((layout.data, layout.parity), (49, 5));
    let good = padded(&bytes, &layout);
    for lost in 0..=5 {
        let mut parity = parity.clone();
        (0..lost).for_each(|at| parity[at * 4096] ^= 1);
        assert_eq!(sums.damaged_parity(&layout, &parity), lost);
        for damaged in 1..=5 {
            let mut bad = good.clone();
            (0..damaged).for_each(|at| bad[at * 9 * 4096..(at * 9 + 1) * 4096].fill(0));
            let rebuilt = parity::rebuild(&layout, &sums, &mut bad, &parity);
            assert_eq!(rebuilt.is_ok(), damaged + lost <= 5, "{damaged} and {lost}");
            assert!(rebuilt.is_err() || bad == good);
        }
    }
}

#[test]
fn flipped_bits_of_header_and_hashes_are_detected() {
    let bytes = noise(20_000, 3);
    let sidecar = parity::sidecar(&layout(&bytes, 20), &[&bytes]).unwrap().concat();
    let (layout, ..) = read(&sidecar);
    let at = usize::try_from(layout.parity_at()).unwrap();
    for bit in 0..at * 8 {
        let mut bad = sidecar[..at].to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        let believed = Layout::decode(bad.first_chunk().unwrap())
            .ok()
            .filter(|layout| layout.parity_at() as usize == at)
            .is_some_and(|layout| Sums::decode(&layout, &bad[HEADER..]).is_ok());
        assert!(!believed, "bit {bit}");
    }
    assert!(Sums::decode(&layout, &sidecar[HEADER..at - 1]).is_err());
}

#[test]
fn impossible_numbers_are_refused_before_allocation() {
    let bytes = noise(20_000, 3);
    let header = layout(&bytes, 20).encode();
    let with = |at: usize, number: u32| {
        let mut bad = header;
        bad[at..at + 4].copy_from_slice(&number.to_le_bytes());
        Layout::decode(&bad)
    };
    assert!(with(8, 4096).is_ok());
    for (at, number) in [
        (8, 0),
        (8, 63),
        (8, 8192),
        (8, u32::MAX),
        (12, 0),
        (12, 4),
        (12, 6),
        (12, u32::MAX),
        (16, 0),
        (16, 6),
        (16, u32::MAX),
        (20, 1),
        (24, 0),
        (24, 20_481),
        (28, 1),
    ] {
        assert!(with(at, number).is_err(), "{number} at {at}");
    }
    assert!(Layout::new(PackId::new([0; 32]), MAX_PACK, 100).is_some());
    assert_eq!(Layout::new(PackId::new([0; 32]), MAX_PACK + 1, 100), None);
    for (len, share) in [(0, 10), (1, 0), (1, 101)] {
        assert_eq!(Layout::new(PackId::new([0; 32]), len, share), None);
    }
}

#[test]
fn wrong_sector_hashes_rebuild_nothing() {
    let (bytes, other) = (noise(50_000, 1), noise(50_000, 2));
    // A sidecar for this pack, made from other bytes: it treats every sector as damaged.
    let (layout, sums, parity) = read(&parity::sidecar(&layout(&bytes, 100), &[&other]).unwrap().concat());
    let mut pack = padded(&bytes, &layout);
    parity::rebuild(&layout, &sums, &mut pack, &parity).unwrap();
    assert_ne!(sha256(&pack[..bytes.len()]), *layout.pack.as_bytes(), "and so whoever asks must compare");
}
