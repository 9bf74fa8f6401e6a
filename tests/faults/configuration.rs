//! A damaged newest configuration, with an intact older one.

use std::sync::Arc;

use crate::support::CHEAP_KDF;
use crate::support::heard::Heard;
use snap_backup::Error;
use snap_backup::codec::crypto::hash::{Key, SubKeys};
use snap_backup::codec::crypto::key_slot;
use snap_backup::model::config::{CipherKind, Config};
use snap_backup::ops::repair::gc_records;
use snap_backup::repo::options::{InitOptions, OpenOptions};
use snap_backup::repo::repository::Repository;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{ObjectKind, Storage};

/// A repository whose second configuration enables parity.
fn repository(password: Option<&str>) -> (Arc<MemoryStorage>, OpenOptions) {
    let storage = Arc::new(MemoryStorage::default());
    let password = password.map(|text| text.to_owned().into());
    let options = InitOptions { password: password.clone(), kdf: CHEAP_KDF, ..InitOptions::default() };
    let mut repo = Repository::init(storage.clone(), &options).unwrap();
    repo.set_parity(10).unwrap();
    (storage, OpenOptions { password, ..OpenOptions::default() })
}

fn open(storage: &Arc<MemoryStorage>, access: &OpenOptions, at: usize) -> Result<Repository, Error> {
    let whole = storage.get(ObjectKind::Config, "2").unwrap();
    let mut bytes = whole.clone();
    bytes[at] ^= 0x55;
    storage.put(ObjectKind::Config, "2", bytes);
    let opened = Repository::open(storage.clone(), access);
    storage.put(ObjectKind::Config, "2", whole);
    opened
}

/// These bytes are the format number.
const FORMAT: std::ops::Range<usize> = 6..8;

#[test]
fn any_flipped_configuration_byte_falls_back_with_a_warning() {
    let (storage, access) = repository(None);
    let heard = Heard::default();
    let access = OpenOptions { control: heard.control(), ..access };
    let len = storage.get(ObjectKind::Config, "2").unwrap().len();
    for at in 0..len {
        match open(&storage, &access, at) {
            Ok(repo) => {
                // If only its format number is damaged, the rest is intact.
                let expected = if FORMAT.contains(&at) { (2, 10) } else { (1, 0) };
                assert_eq!((repo.config().generation, repo.config().parity()), expected, "byte {at}");
                let told = heard.take();
                assert!(told.iter().any(|text| text.contains("config/2")), "byte {at}: {told:?}");
            }
            Err(err) => panic!("byte {at}: {}", err.chain()),
        }
    }
    let repo = Repository::open(storage, &access).unwrap();
    assert_eq!((repo.config().generation, heard.take()), (2, Vec::new()));
}

/// What somebody who may write to the storage and has no key can create: a configuration of the same
/// repository with another cipher.
fn plant(storage: &MemoryStorage, repo: &Repository, generation: u32) {
    let (cipher, open_master) = if repo.config().is_encrypted() {
        (CipherKind::None, Some([1; 32]))
    } else {
        (CipherKind::Xaes256Gcm, None)
    };
    let config = Config { generation, cipher, open_master, ..repo.config().clone() };
    let keys = SubKeys::derive(&Key::new([1; 32]), &config.repo);
    storage.put(
        ObjectKind::Config,
        &generation.to_string(),
        key_slot::encode_config(&config, &keys.config).unwrap(),
    );
}

#[test]
fn planted_configuration_with_other_cipher_is_removed() {
    for password in [Some("p"), None] {
        let (storage, access) = repository(password);
        let repo = Repository::open(storage.clone(), &access).unwrap();
        plant(&storage, &repo, 3);
        let found = Repository::discover(storage.as_ref()).unwrap();
        assert_eq!(found.is_encrypted(), password.is_some());
        let heard = Heard::default();
        let access = OpenOptions { control: heard.control(), ..access };
        let mut repo = Repository::open(storage.clone(), &access).unwrap();
        assert_eq!((repo.config().generation, repo.config().is_encrypted()), (2, password.is_some()));
        let told = heard.take();
        assert!(
            matches!(&told[..], [one] if one.contains("config/3") && one.contains("`Repository::repair_gc_records`")),
            "{told:?}"
        );
        assert_eq!(gc_records::run(&repo, true).unwrap().removed, ["config/3"]);
        assert_eq!(gc_records::run(&repo, false).unwrap().removed, ["config/3"]);
        repo.set_parity(20).unwrap();
        assert_eq!(repo.config().generation, 3);
    }
}

#[test]
fn local_records_precede_the_oldest_configuration() {
    let state = tempfile::tempdir().unwrap();
    let (storage, access) = repository(Some("p"));
    let access = OpenOptions { state: Some(state.path().into()), ..access };
    let repo = Repository::open(storage.clone(), &access).unwrap();
    // An attacker who may also overwrite.
    plant(&storage, &repo, 1);
    assert_eq!(Repository::open(storage.clone(), &access).unwrap().config().generation, 2);
    let open = OpenOptions { password: None, ..access };
    assert!(matches!(Repository::open(storage, &open), Err(Error::NoPassword { .. })));
}

#[test]
fn configuration_of_a_newer_format_is_not_ignored() {
    for password in [None, Some("p")] {
        let (storage, access) = repository(password);
        let mut bytes = storage.get(ObjectKind::Config, "2").unwrap();
        bytes[6] = 2;
        // As a newer program may write it.
        *bytes.last_mut().unwrap() ^= 1;
        storage.put(ObjectKind::Config, "2", bytes);
        let opened = Repository::open(storage, &access);
        assert!(matches!(opened, Err(Error::NewerFormat { found: 2, .. })), "{opened:?}");
    }
}

#[test]
fn any_flipped_byte_of_an_encrypted_configuration_falls_back() {
    let (storage, access) = repository(Some("p"));
    let len = storage.get(ObjectKind::Config, "2").unwrap().len();
    // The first bytes are the magic and lengths, then comes the repository's id. Each attempt derives a key.
    for at in [0, 8, 12, 20, 30, 40, 50, 60, len - 40, len - 1] {
        let repo = open(&storage, &access, at).unwrap_or_else(|err| panic!("byte {at}: {}", err.chain()));
        assert_eq!(repo.config().generation, 1, "byte {at}");
    }
    let wrong = OpenOptions { password: Some("q".to_owned().into()), ..OpenOptions::default() };
    assert!(matches!(Repository::open(storage.clone(), &wrong), Err(Error::WrongPassword { .. })));
    assert!(matches!(Repository::open(storage, &OpenOptions::default()), Err(Error::NoPassword { .. })));
}

#[test]
fn new_configuration_continues_from_the_intact_one() {
    let (storage, access) = repository(None);
    let mut bytes = storage.get(ObjectKind::Config, "2").unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    storage.put(ObjectKind::Config, "2", bytes);
    let mut repo = Repository::open(storage.clone(), &access).unwrap();
    repo.set_parity(20).unwrap();
    let repo = Repository::open(storage.clone(), &access).unwrap();
    assert_eq!((repo.config().generation, repo.config().parity()), (3, 20));
    assert_eq!(storage.list(ObjectKind::Config).unwrap().len(), 3);
}
