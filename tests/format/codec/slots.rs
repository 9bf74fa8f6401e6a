//! Key slots: only the password opens one, and no slot keeps a reader busy forever.

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any};
use proptest::{prop_assert, prop_assert_eq, prop_assume, proptest};
use snap_backup::codec::crypto::hash::Key;
use snap_backup::codec::crypto::kdf::KdfParams;
use snap_backup::codec::crypto::key_slot::{SlotLabel, SlotSecret};
use snap_backup::codec::crypto::{kdf, key_slot};
use snap_backup::model::config::CipherKind;
use snap_backup::model::decode_error::DecodeError;
use snap_backup::model::entry::Time;

use super::suite;

/// The lowest allowed costs.
const CHEAP: KdfParams = KdfParams { memory: 8 << 10, passes: 1, lanes: 1 };

fn slot_for(password: &[u8], private: [u8; 32]) -> Vec<u8> {
    let label = SlotLabel {
        created: Time { sec: 1, nanos: 2 },
        host: "attic".into(),
        user: "ada".into(),
        label: String::new(),
    };
    let secret = SlotSecret { private: Key::new(private), epoch: 0, anchor: [3; 32] };
    key_slot::seal(&suite(CipherKind::Xaes256Gcm), &secret, password, CHEAP, &label).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_password_opens_its_slot_and_no_other_one_does(
        private in any::<[u8; 32]>(),
        password in vec(any::<u8>(), 0..40),
        other in vec(any::<u8>(), 0..40),
    ) {
        prop_assume!(password != other);
        let slot = slot_for(&password, private);
        prop_assert_eq!(key_slot::open(&slot, &password).unwrap().map(|secret| *secret.private.bytes()), Some(private));
        let longer = [&password[..], b"\0"].concat();
        for wrong in [&other, &longer, &password[..password.len().saturating_sub(1)].to_vec()] {
            prop_assert!(wrong == &password || key_slot::open(&slot, wrong).unwrap().is_none());
        }
    }
}

/// The costs in a slot's file: KiB, passes, lanes.
fn with_costs(costs: [u32; 3]) -> Vec<u8> {
    let mut slot = slot_for(b"password", [7; 32]);
    for (at, cost) in [12, 16, 20].into_iter().zip(costs) {
        slot[at..at + 4].copy_from_slice(&cost.to_le_bytes());
    }
    slot
}

#[test]
fn hostile_costs_are_refused_before_anything_is_spent() {
    let hostile = [
        [u32::MAX, 1, 1],
        [(2 << 20) + 1, 1, 1],
        [(8 << 10) - 1, 1, 1],
        [0, 1, 1],
        [8 << 10, 0, 1],
        [8 << 10, 17, 1],
        [8 << 10, u32::MAX, 1],
        [8 << 10, 1, 0],
        [8 << 10, 1, 17],
        [8 << 10, 1, u32::MAX],
    ];
    for costs in hostile {
        let refusal = key_slot::open(&with_costs(costs), b"password").unwrap_err();
        assert_eq!(
            refusal,
            DecodeError::because("the costs of key derivation are out of bounds"),
            "{costs:?}"
        );
        let [memory, passes, lanes] = costs;
        assert!(
            kdf::derive(b"password", &[0; 32], KdfParams { memory, passes, lanes }).is_err(),
            "{costs:?}"
        );
    }
}

#[test]
fn a_slot_whose_costs_were_changed_within_bounds_gives_no_key() {
    assert!(key_slot::open(&with_costs([8 << 10, 1, 1]), b"password").unwrap().is_some());
    for costs in [[9 << 10, 1, 1], [8 << 10, 2, 1], [8 << 10, 1, 2]] {
        assert!(key_slot::open(&with_costs(costs), b"password").unwrap().is_none(), "{costs:?}");
    }
}

#[test]
fn a_cut_slot_is_refused() {
    let slot = slot_for(b"password", [7; 32]);
    let suite = suite(CipherKind::Xaes256Gcm);
    for len in 0..slot.len() {
        let cut = &slot[..len];
        assert!(key_slot::label(cut, &suite).is_err(), "label at {len} bytes");
        let whole_key = len >= 108 + 104;
        assert!(whole_key || key_slot::open(cut, b"password").is_err(), "key at {len} bytes");
        assert_eq!(key_slot::repo_of(cut).is_ok(), len >= 40, "repository at {len} bytes");
    }
}
