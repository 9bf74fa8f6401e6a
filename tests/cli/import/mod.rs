//! Archives of any program become snapshots, and hostile ones are refused.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::type_complexity, unreachable_pub)]

mod archives;
mod bounds;
mod everything;
mod foreign;
mod hostile;
mod legacy;
mod trees;
mod trees_times;

use std::path::Path;
use std::process::Command;

use snap_backup::codec::tar::write::Stored;
use snap_backup::codec::tar::{Node, TarMember, padding, write};
use snap_backup::model::entry::Time;

fn run(program: &str, args: &[&str], dir: &Path) {
    let output = Command::new(program).args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn has(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("NOT TESTED: there is no {program} here");
    }
    there
}

fn member(path: &[u8], node: Node) -> TarMember {
    TarMember {
        path: path.to_vec(),
        node,
        mode: 0o644,
        uid: 0,
        gid: 0,
        user: Vec::new(),
        group: Vec::new(),
        mtime: Time::default(),
        xattrs: Vec::new(),
        acls: Vec::new(),
        flags: 0,
        born: None,
    }
}

/// An archive of members with content.
fn archive(members: &[(&[u8], Node, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, node, content) in members {
        write::member(&member(path, node.clone()), Stored::Plain(content.len() as u64), &mut out);
        out.extend_from_slice(content);
        out.resize(out.len() + padding(content.len() as u64) as usize, 0);
    }
    out.extend_from_slice(&write::END);
    out
}

/// A header made by hand, for what the library does not write.
fn header(name: &[u8], kind: u8, size: &[u8]) -> Vec<u8> {
    let mut head = vec![0u8; 512];
    head[..name.len()].copy_from_slice(name);
    for at in [100, 108, 116] {
        head[at..at + 7].copy_from_slice(b"0000644");
    }
    head[124..124 + size.len()].copy_from_slice(size);
    head[136..147].copy_from_slice(b"00000000000");
    head[148..156].copy_from_slice(b"        ");
    head[156] = kind;
    head[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u64 = head.iter().map(|byte| u64::from(*byte)).sum();
    head[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    head
}

fn pax(records: &[u8], name: &[u8], size: &[u8]) -> Vec<u8> {
    let mut out = header(b"PaxHeaders/x", b'x', format!("{:011o}", records.len()).as_bytes());
    out.extend_from_slice(records);
    out.resize(out.len() + padding(records.len() as u64) as usize, 0);
    out.extend_from_slice(&header(name, b'0', size));
    out
}

/// pax records: `key=value`, separated by spaces.
fn records(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for line in text.split(' ') {
        let (key, value) = line.split_once('=').unwrap();
        snap_backup::codec::tar::pax::put(&mut out, key.as_bytes(), value.as_bytes());
    }
    out
}
