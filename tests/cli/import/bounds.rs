//! Memory limits, and interruptions.

use std::fs;
use std::io::{Cursor, Write};
use std::process::{Child, Stdio};
use std::sync::Arc;

use snap_backup::Control;
use snap_backup::codec::tar::write::Stored;
use snap_backup::codec::tar::{Node, write};
use snap_backup::ops::import;
use snap_backup::storage::memory::MemoryStorage;

use super::{archive, member};
use crate::support::library::Library;
use crate::support::{Random, Sandbox};

/// Starts an import of standard input.
fn begin(sandbox: &Sandbox) -> Child {
    let mut command = sandbox.command(&["import", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn peak_of(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// Waits for the end and returns the peak memory that was seen, in KiB.
fn peak(mut child: Child) -> u64 {
    let mut peak = 0;
    loop {
        peak = peak.max(peak_of(child.id()).unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            return peak;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn gzip(plain: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut compressor = snap_backup::codec::gzip::GzipCompressor::new(6).unwrap();
    let (mut all, mut out) = (Vec::new(), Vec::new());
    for piece in plain {
        compressor.compress(&piece, &mut out).unwrap();
        all.extend_from_slice(&out);
    }
    all
}

#[test]
fn a_bomb_of_zeros_takes_bounded_memory() {
    let sandbox = Sandbox::open();
    // A file of 1 GiB in an archive of a million bytes.
    let mut head = Vec::new();
    write::member(&member(b"zeros", Node::File), Stored::Plain(1 << 30), &mut head);
    let zeros = (0..1024).map(|_| vec![0; 1 << 20]);
    let bomb = gzip(std::iter::once(head).chain(zeros).chain([write::END.to_vec()]));
    assert!(bomb.len() < 4 << 20, "{}", bomb.len());
    let mut child = begin(&sandbox);
    child.stdin.take().unwrap().write_all(&bomb).unwrap();
    let peak = peak(child);
    assert!(peak > 0 && peak < 160 << 10, "{peak} KiB");
    assert!(sandbox.ok(&["ls", "-lR", "latest"]).text().contains("1073741824"));
}

#[test]
fn a_large_archive_takes_bounded_memory() {
    let sandbox = Sandbox::open();
    let mut random = Random::new(3);
    let mut child = begin(&sandbox);
    let mut input = child.stdin.take().unwrap();
    let mut head = Vec::new();
    write::member(&member(b"noise", Node::File), Stored::Plain(400 << 20), &mut head);
    input.write_all(&head).unwrap();
    for _ in 0..400 {
        input.write_all(&random.bytes(1 << 20)).unwrap();
    }
    input.write_all(&write::END).unwrap();
    drop(input);
    let peak = peak(child);
    assert!(peak > 0 && peak < 200 << 10, "{peak} KiB");
}

/// Imports with a limit on memory for names and metadata.
fn within(memory: u64, archive: Vec<u8>) -> Result<import::Report, String> {
    let library = Library::on(Arc::new(MemoryStorage::default()), None);
    let options = import::Options { memory: Some(memory), ..import::Options::default() };
    let done = import::run(&library.open(), &options, Box::new(Cursor::new(archive)), &Control::default());
    assert_eq!(library.snapshots().len(), usize::from(done.is_ok()));
    done.map_err(|err| err.chain())
}

#[test]
fn names_and_metadata_take_no_more_memory_than_they_may() {
    // Each path has 8000 directories without members of their own: a small archive with gigabytes of them.
    let deep = |nth: u32| [format!("{nth}").into_bytes(), b"/d".repeat(8000)].concat();
    let members: Vec<(Vec<u8>, Node, &[u8])> = (0..60).map(|nth| (deep(nth), Node::File, &b""[..])).collect();
    let borrowed: Vec<(&[u8], Node, &[u8])> =
        members.iter().map(|(path, node, bytes)| (path.as_slice(), node.clone(), *bytes)).collect();
    let bomb = archive(&borrowed);
    let why = within(16 << 20, bomb).unwrap_err();
    assert!(why.starts_with("cannot import ") && why.contains("need more than 16 MiB"), "{why}");
    // Types that are left out are reported, which takes memory as well.
    let odd: Vec<u8> = (0..20_000).flat_map(|_| super::header(&[b'n'; 90], b'Z', b"00000000000")).collect();
    let why = within(2 << 20, [odd, write::END.to_vec()].concat()).unwrap_err();
    assert!(why.contains("need more than 2 MiB"), "{why}");
    // Repeated reports take no more memory than one.
    let same: Vec<(&[u8], Node, &[u8])> =
        (0..20_000).map(|_| (&b"d/same"[..], Node::File, &b""[..])).collect();
    assert_eq!(within(1 << 20, archive(&same)).unwrap().counts.files_new, 1);
}

#[test]
fn directories_as_deep_as_they_may_be_come_and_go_again() {
    let sandbox = Sandbox::open();
    let deep = [&b"d/".repeat(8000)[..], b"file"].concat();
    let bytes = archive(&[(&deep, Node::File, b"deep down")]);
    crate::support::finish(sandbox.command(&["import", "-"]), &bytes).expect(0);
    let exported = sandbox.ok(&["export", "latest", "--format", "tar"]).stdout;
    crate::support::finish(sandbox.command(&["import", "-"]), &exported).expect(0);
    let path = format!("latest:{}", String::from_utf8(deep).unwrap());
    assert_eq!(sandbox.ok(&["cat", &path]).text(), "deep down");
}

#[test]
fn a_refusal_does_not_wait_for_the_rest_of_a_pipe() {
    let sandbox = Sandbox::open();
    let mut child = begin(&sandbox);
    let mut input = child.stdin.take().unwrap();
    let mut head = Vec::new();
    write::member(&member(b"../evil", Node::File), Stored::Plain(1 << 30), &mut head);
    input.write_all(&head).unwrap();
    // A pipe is passed on only when its buffer is full. A process that has refused no longer reads.
    let _ = input.write_all(&vec![0; 1 << 20]);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    drop(input);
}

#[test]
fn an_interrupt_does_not_wait_for_a_pipe_that_gives_nothing() {
    for given in [0, 1024] {
        let sandbox = Sandbox::open();
        let mut child = begin(&sandbox);
        let mut input = child.stdin.take().unwrap();
        input.write_all(&archive(&[(b"a", Node::File, b"1")])[..given]).unwrap();
        // Once there is a session, signals are handled.
        let begun = || fs::read_dir(sandbox.path("repo/sessions")).is_ok_and(|found| found.count() > 0);
        while !begun() {
            assert!(child.try_wait().unwrap().is_none());
            std::thread::yield_now();
        }
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        drop(input);
        assert!(sandbox.snapshot_names().is_empty());
    }
}
