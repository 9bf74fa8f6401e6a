//! Files in which only some bytes are wrong.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Command, Stdio};

use snap_backup::codec::tree::part_list::ListBuilder;
use snap_backup::model::entry::{Content, ContentPart, Kind};

use super::{craft, summary};
use crate::support::{Random, Sandbox, assert_same, chmod};

const LEN: usize = 6 << 20;

fn with_big() -> Sandbox {
    let sandbox = Sandbox::with_tree(&[]);
    fs::write(sandbox.src().join("big"), Random::new(7).bytes(LEN)).unwrap();
    sandbox.backup(&[]);
    sandbox
}

#[test]
fn only_the_blocks_that_differ_are_written() {
    let sandbox = with_big();
    let target = sandbox.restore("latest", &[]);
    let path = target.join("src/big");
    let open = || File::options().write(true).open(&path).unwrap();
    let changes: [(&str, &dyn Fn(), u64); 4] = [
        ("a byte", &|| open().write_all_at(b"!", 3_000_000).unwrap(), 256 << 10),
        ("a longer one", &|| open().set_len(7 << 20).unwrap(), 0),
        ("a shorter one", &|| open().set_len((LEN - 10) as u64).unwrap(), 256 << 10),
        (
            "two bytes",
            &|| [0, 5 << 20].iter().for_each(|at| open().write_all_at(b"?", *at).unwrap()),
            512 << 10,
        ),
    ];
    for (what, change, most) in changes {
        change();
        let done = summary(&sandbox, &target, &[]);
        let written = done["bytes_restored"].as_u64().unwrap();
        assert!(written <= most, "{what}: {written} bytes were written");
        assert_same(&sandbox.src(), &target.join("src"));
    }
}

#[test]
fn hard_link_outside_the_target_is_not_changed() {
    let sandbox = with_big();
    let target = sandbox.restore("latest", &[]);
    let (inside, outside) = (target.join("src/big"), sandbox.path("outside"));
    fs::hard_link(&inside, &outside).unwrap();
    File::options().write(true).open(&inside).unwrap().write_all_at(b"mine", 100).unwrap();
    chmod(&inside, 0o604);
    let (before, mtime) = (fs::read(&outside).unwrap(), fs::metadata(&outside).unwrap().mtime_nsec());
    summary(&sandbox, &target, &[]);
    assert!(fs::read(&outside).unwrap() == before, "bytes changed elsewhere");
    let now = fs::metadata(&outside).unwrap();
    assert_eq!((now.mode() & 0o777, now.mtime_nsec()), (0o604, mtime));
    assert_same(&sandbox.src(), &target.join("src"));

    // Only its attributes.
    fs::remove_file(&outside).unwrap();
    fs::hard_link(&inside, &outside).unwrap();
    chmod(&outside, 0o604);
    summary(&sandbox, &target, &[]);
    assert_eq!(fs::metadata(&outside).unwrap().mode() & 0o777, 0o604);
    assert_same(&sandbox.src(), &target.join("src"));
}

#[test]
fn a_program_that_runs_is_replaced() {
    let sandbox = Sandbox::with_tree(&[]);
    let program = sandbox.src().join("program");
    fs::copy("/bin/sh", &program).unwrap();
    let mut bytes = fs::read(&program).unwrap();
    bytes.resize(bytes.len() + LEN, 0);
    fs::write(&program, bytes).unwrap();
    sandbox.backup(&[]);
    let target = sandbox.restore("latest", &[]);
    let copy = target.join("src/program");
    let len = fs::metadata(&copy).unwrap().len();
    File::options().write(true).open(&copy).unwrap().write_all_at(b"!", len - 1).unwrap();
    let mut child = Command::new(&copy).arg("-c").arg("read x").stdin(Stdio::piped()).spawn().unwrap();
    summary(&sandbox, &target, &[]);
    let _ = child.stdin.take().unwrap().write_all(b"\n");
    child.wait().unwrap();
    assert_same(&sandbox.src(), &target.join("src"));
}

#[test]
fn if_newer_never_leaves_a_file_that_is_newer_and_half_mended() {
    let sandbox = with_big();
    let target = sandbox.restore("latest", &[]);
    let path = target.join("src/big");
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"old", 9).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let inode = file.metadata().unwrap().ino();
    summary(&sandbox, &target, &["--overwrite", "if-newer"]);
    assert_ne!(fs::metadata(&path).unwrap().ino(), inode, "it was written to where it stood");
    assert_same(&sandbox.src(), &target.join("src"));
}

#[test]
fn zeros_become_holes_over_bytes_that_are_there() {
    let sandbox = Sandbox::with_tree(&[]);
    let mut bytes = Random::new(3).bytes(LEN);
    bytes[1 << 20..5 << 20].fill(0);
    fs::write(sandbox.src().join("f"), &bytes).unwrap();
    sandbox.backup(&[]);
    let target = sandbox.restore("latest", &[]);
    let path = target.join("src/f");
    File::options().write(true).open(&path).unwrap().write_all_at(&[9; 2 << 20], 2 << 20).unwrap();
    summary(&sandbox, &target, &["--sparse"]);
    assert_same(&sandbox.src(), &target.join("src"));
}

/// A file with more parts than a window holds, each one byte of data or hole.
#[test]
fn a_file_of_many_windows_is_restored_mended_and_read_back() {
    let sandbox = Sandbox::open();
    let parts = 600_000u64;
    craft::snapshot(&craft::open(&sandbox), craft::counts(2, 0, 2 * parts), |craft| {
        let bytes: Vec<ContentPart> = (1..=7).map(|byte| craft.data(&[byte])).collect();
        let mut list = ListBuilder::default();
        for number in 0..parts {
            let part =
                if number % 2 == 0 { bytes[number as usize % 7] } else { ContentPart::Hole { len: 1 } };
            list.push(part, &mut |piece| Ok(craft.piece(piece))).unwrap();
        }
        let content = list.finish(&mut |piece| Ok(craft.piece(piece))).unwrap();
        assert!(matches!(content, Content::List(_)));
        let file = craft::entry("f", Kind::File { size: parts, content });
        let last = craft.data(b"last");
        craft.dir(&[file, craft::file("g", &[last])])
    });
    let wanted: Vec<u8> = (0..parts).map(|n| if n % 2 == 0 { (n % 7) as u8 + 1 } else { 0 }).collect();
    let target = sandbox.new_target();
    let read = || fs::read(target.join("f")).unwrap();
    summary(&sandbox, &target, &["--verify"]);
    assert!(read() == wanted && fs::read(target.join("g")).unwrap() == b"last");
    File::options().write(true).open(target.join("f")).unwrap().write_all_at(&[99; 4], parts - 9).unwrap();
    let done = summary(&sandbox, &target, &["--verify"]);
    assert!(read() == wanted, "the second window's bytes");
    assert_eq!(done["bytes_restored"], 2);
    File::options().write(true).open(target.join("f")).unwrap().write_all_at(&[99; 4], 10).unwrap();
    summary(&sandbox, &target, &[]);
    assert!(read() == wanted, "the first window's bytes");
}
