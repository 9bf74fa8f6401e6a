//! Backup, restore and export of large trees and large files take as much memory as those of small ones.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use crate::support::scale;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::{fs, io};

use snap_backup::Control;
use snap_backup::ops::backup::Backup;
use snap_backup::ops::{backup, export, restore};
use snap_backup::repo::options::{InitOptions, OpenOptions};
use snap_backup::repo::repository::Repository;
use snap_backup::storage::local::LocalStorage;

/// Files, each with a directory and a link of its own: more of them than are kept at once.
const FEW: usize = 40_000;
const MANY: usize = 100_000;
/// KiB that a step may take more for them. What is kept for each directory or link until the end takes at
/// least 300 bytes. A backup keeps an index entry for each new directory, which is written to disk when there
/// are many.
const MOST: [u64; 4] = [24 << 10, 20 << 10, 20 << 10, 8 << 10];

/// One step, in a process of its own.
#[test]
#[ignore = "part of another test"]
fn step() {
    let Ok(step) = std::env::var("LARGE_STEP") else { return };
    let home = std::path::PathBuf::from(std::env::var("LARGE_DIR").unwrap());
    let storage = Arc::new(LocalStorage::new(home.join("repo")));
    let access = OpenOptions { password: None, cache: Some(home.join("cache")), ..OpenOptions::default() };
    let repo = Repository::open(storage, &access).unwrap();
    let selector = "latest".to_owned();
    match step.as_str() {
        "backup" => {
            let options = backup::Options {
                sources: vec![home.join("src")],
                store_as: Some(b"src".to_vec()),
                ..backup::Options::default()
            };
            let made = Backup::begin(options, None, &Control::default())
                .unwrap()
                .run(&repo, &Control::default())
                .unwrap();
            assert_eq!((made.problems.len(), made.changing, made.vanished), (0, 0, 0));
        }
        "restore" | "restore --delete" => {
            let delete = step == "restore --delete";
            let options = restore::Options {
                selector,
                target: home.join("out"),
                delete,
                ..restore::Options::default()
            };
            let done = restore::run(&repo, &options, &Control::default()).unwrap();
            assert_eq!((done.problems.len(), done.left_out), (0, 0));
        }
        _ => {
            let options = export::Options { selector: selector.into_bytes(), ..export::Options::default() };
            let options = export::Options { format: export::Format::Tar, ..options };
            export::run(&repo, &options, &mut io::sink(), &Control::default()).unwrap();
        }
    }
    println!("peak {}", scale::peak_of(std::process::id()).unwrap());
}

const STEPS: [&str; 4] = ["backup", "restore", "restore --delete", "export"];

fn peaks(home: &Path) -> [u64; 4] {
    STEPS.map(|step| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "large::step", "--ignored", "--nocapture"]);
        let output = command.env("LARGE_DIR", home).env("LARGE_STEP", step).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{step}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said.lines().find_map(|line| line.strip_prefix("peak ")).unwrap().parse().unwrap()
    })
}

/// A repository and an empty `src/`, on a file system in memory if there is one.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let storage = Arc::new(LocalStorage::new(home.path().join("repo")));
    Repository::init(storage, &InitOptions::default()).unwrap();
    fs::create_dir(home.path().join("src")).unwrap();
    home
}

/// Each file is alone in a directory with a link.
fn tree_of(files: usize) -> tempfile::TempDir {
    let home = home();
    for number in 0..files {
        let dir = home.path().join(format!("src/{:03}/{number}", number % 1000));
        fs::create_dir_all(&dir).unwrap();
        fs::File::create(dir.join("file")).unwrap();
        symlink("file", dir.join("link")).unwrap();
    }
    home
}

#[test]
fn memory_does_not_grow_with_the_number_of_files() {
    let _alone = crate::alone();
    let (few, many) = (peaks(tree_of(FEW).path()), peaks(tree_of(MANY).path()));
    println!("{few:?} and {many:?} KiB");
    for (number, step) in STEPS.into_iter().enumerate() {
        let (few, many) = (few[number], many[number]);
        assert!(many < few + MOST[number], "{step} takes {few} KiB, and {many} for more files");
        assert!(many < 160 << 10, "{step} takes {many} KiB");
    }
}

/// 100 GB, with three pieces that are not holes.
#[test]
fn a_long_file_costs_what_is_in_it() {
    let _alone = crate::alone();
    const LEN: u64 = 100_000_000_000;
    let home = home();
    let file = fs::File::create(home.path().join("src/long")).unwrap();
    file.set_len(LEN).unwrap();
    for at in [0, LEN / 2, LEN - 9] {
        file.write_all_at(b"some data", at).unwrap();
    }
    for (step, peak) in STEPS.into_iter().zip(peaks(home.path())) {
        assert!(peak < 64 << 10, "{step} takes {peak} KiB");
    }
    let found = fs::metadata(home.path().join("out/src/long")).unwrap();
    assert_eq!(found.len(), LEN);
    assert!(found.blocks() * 512 < 1 << 20, "{} blocks", found.blocks());
    let restored = fs::File::open(home.path().join("out/src/long")).unwrap();
    for at in [0, LEN / 2, LEN - 9] {
        let mut buffer = [0; 9];
        restored.read_exact_at(&mut buffer, at).unwrap();
        assert_eq!(&buffer, b"some data");
    }
}
