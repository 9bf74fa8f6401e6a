//! Small objects roundtrip, and nothing else is accepted.

use std::fmt::Debug;

use proptest::prelude::any;
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq, proptest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use snap_backup::codec::crypto::sealed_object::{self, Magic};
use snap_backup::codec::wire;
use snap_backup::model::config::CipherKind;

use super::{flipped, suite, values};

/// `bit` is arbitrary: it selects the flipped bit.
fn survives<T>(magic: Magic, value: &T, kind: CipherKind, bit: usize) -> Result<(), TestCaseError>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let plain = wire::encode(value).unwrap();
    prop_assert_eq!(&wire::encode(value).unwrap(), &plain);
    prop_assert_eq!(&wire::decode::<T>(&plain).unwrap(), value);
    for len in 0..plain.len() {
        prop_assert!(wire::decode::<T>(&plain[..len]).is_err(), "cut to {} bytes", len);
    }
    prop_assert!(wire::decode::<T>(&[&plain[..], &[0]].concat()).is_err(), "with a byte behind it");
    // Without a seal a flipped bit may give another value; it must not end the program.
    for bit in 0..plain.len() * 8 {
        let _ = wire::decode::<T>(&flipped(&plain, bit));
    }

    let suite = suite(kind);
    let open = |bytes: Vec<u8>| sealed_object::open::<T>(&suite, magic, "name", bytes);
    let sealed = sealed_object::seal(&suite, magic, "name", value).unwrap();
    prop_assert_eq!(&open(sealed.clone()).unwrap(), value);
    prop_assert!(open(flipped(&sealed, bit)).is_err());
    prop_assert!(open(sealed[..bit % sealed.len()].to_vec()).is_err());
    Ok(())
}

proptest! {
    #[test]
    fn manifests(value in values::manifests(), kind in values::ciphers(), bit in any::<usize>()) {
        survives(sealed_object::MANIFEST, &value, kind, bit)?;
    }

    #[test]
    fn sessions(value in values::session_records(), kind in values::ciphers(), bit in any::<usize>()) {
        survives(sealed_object::SESSION, &value, kind, bit)?;
    }

    #[test]
    fn collections(value in values::gc_records(), kind in values::ciphers(), bit in any::<usize>()) {
        survives(sealed_object::GC, &value, kind, bit)?;
    }

    #[test]
    fn damage(value in values::damage_records(), kind in values::ciphers(), bit in any::<usize>()) {
        survives(sealed_object::DAMAGE, &value, kind, bit)?;
    }
}
