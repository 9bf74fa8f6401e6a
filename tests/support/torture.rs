//! A tree with every property that a file can have, and four strict comparisons of two such trees.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, IFlags, Mode, SeekFrom, Timespec, Timestamps, Uid, XattrFlags,
};

use super::Random;

/// Programs that the comparison needs.
const TOOLS: [&str; 6] = ["rsync", "getfattr", "setfacl", "lsattr", "chattr", "touch"];

/// Returns whether such a tree can be made and compared here; otherwise says loudly why not.
pub fn can_torture(test: &str) -> bool {
    let missing: Vec<&str> = TOOLS.into_iter().filter(|tool| !is_installed(tool)).collect();
    if !rustix::process::geteuid().is_root() || !missing.is_empty() {
        super::skipped(&format!("{test} needs root and {TOOLS:?}; missing: {missing:?}"));
        return false;
    }
    true
}

fn is_installed(tool: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(tool).exists())
}

/// A directory that can be removed whatever flags its files have.
pub struct Unlocked(pub tempfile::TempDir);

impl Unlocked {
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Unlocked {
    fn drop(&mut self) {
        let _ = Command::new("chattr").args(["-R", "-f", "-i", "-a"]).arg(self.0.path()).output();
    }
}

pub fn set_times(path: &Path, sec: i64, nanos: i64) {
    let time = Timespec { tv_sec: sec, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

pub fn set_owner(path: &Path, user: u32, group: u32) {
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    rustix::fs::chownat(CWD, path, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

pub fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    let set = rustix::fs::lsetxattr(path, name, value, XattrFlags::empty());
    set.unwrap_or_else(|err| panic!("{name} of {}: {err}", path.display()));
}

pub fn set_flags(path: &Path, flags: IFlags) {
    let file = fs::File::open(path).unwrap();
    let there = rustix::fs::ioctl_getflags(&file).unwrap();
    rustix::fs::ioctl_setflags(&file, there | flags).unwrap();
}

fn set_acl(path: &Path, acl: &str) {
    let status = Command::new("setfacl").args(["-m", acl]).arg(path).status().unwrap();
    assert!(status.success(), "setfacl {acl}");
}

pub fn make_node(path: &Path, kind: FileType, device: u64) {
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), device).unwrap();
}

/// A file of `len` bytes with data at these places and holes elsewhere.
pub fn sparse(path: &Path, len: u64, data: &[(u64, &[u8])]) {
    let file = fs::File::create(path).unwrap();
    file.set_len(len).unwrap();
    data.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
    // Only what is on the disk has blocks for certain.
    file.sync_all().unwrap();
}

/// Creates the tree; the directory must not exist.
pub fn torture(root: &Path) {
    fs::create_dir(root).unwrap();
    let dir = |name: &str| {
        let path = root.join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    modes_and_owners(&dir("modes"));
    names(&dir("names"));
    attributes(&dir("attributes"));
    holes(&dir("holes"));
    nodes(&dir("nodes"));
    fs::create_dir(root.join("empty")).unwrap();
    let many = dir("many");
    (0..3000).for_each(|number| fs::write(many.join(format!("{number}")), format!("{number}")).unwrap());
    fs::write(root.join("large"), Random::new(7).bytes(3 << 20)).unwrap();
    times(&dir("times"));
    locks(&dir("locks"));
}

fn modes_and_owners(dir: &Path) {
    for (number, mode) in [0o4755, 0o6755, 0o2711, 0o1777, 0o000, 0o444, 0o7777].into_iter().enumerate() {
        let (file, below) = (dir.join(format!("f{mode:o}")), dir.join(format!("d{mode:o}")));
        fs::write(&file, format!("{mode}")).unwrap();
        fs::create_dir(&below).unwrap();
        fs::write(below.join("in"), "").unwrap();
        let number = u32::try_from(number).unwrap();
        for path in [file, below] {
            set_owner(&path, 12_340 + number, 54_320 - number);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    fs::write(dir.join("far"), "").unwrap();
    set_owner(&dir.join("far"), u32::MAX - 1, u32::MAX - 1);
    fs::write(dir.join("named"), "").unwrap();
    set_owner(&dir.join("named"), 1, 1);
}

fn names(dir: &Path) {
    let every: Vec<u8> = (1..=255u8).filter(|byte| *byte != b'/').collect();
    let odd: [&[u8]; 10] = [
        &[0xff; 255],
        &every[..127],
        &every[127..],
        b" ",
        b"new\nline",
        b"-rf",
        b"...",
        b"\\",
        b"'\"`$(x)*?[",
        b"\xc3\x28",
    ];
    for name in odd {
        fs::write(dir.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let nested = dir.join(OsStr::from_bytes(&[0xfe; 255])).join(OsStr::from_bytes(&[b'x'; 255]));
    fs::create_dir_all(nested).unwrap();
}

fn attributes(dir: &Path) {
    let file = |name: &str| {
        let path = dir.join(name);
        fs::write(&path, name).unwrap();
        path
    };
    let (rich, capable, listed) = (file("rich"), file("capable"), file("acl"));
    set_xattr(&rich, "user.empty", b"");
    set_xattr(&rich, "user.binary", b"\0\n\xff=\"");
    set_xattr(&rich, "user.large", &[b'v'; 3000]);
    set_xattr(&rich, "trusted.secret", b"root's");
    set_owner(&rich, 33, 44);
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    set_owner(&capable, 33, 44);
    set_xattr(&capable, "security.capability", &capability);
    set_acl(&listed, "u:33:rwx,u:4444:r,g:55:-,m::rx");
    set_owner(&listed, 7, 7);
    let read_only = file("read-only");
    set_xattr(&read_only, "user.note", b"on a file that nobody may write");
    fs::set_permissions(&read_only, fs::Permissions::from_mode(0o400)).unwrap();
    let below = dir.join("default-acl");
    fs::create_dir(&below).unwrap();
    fs::write(below.join("before"), "").unwrap();
    set_acl(&below, "u:33:rwx,d:u:33:rwx,d:g:66:r,d:m::rwx");
    fs::write(below.join("inherits"), "").unwrap();
    fs::create_dir(below.join("inherits-too")).unwrap();
    set_xattr(&below, "user.of-a-directory", b"1");
    set_xattr(&below, "trusted.of-a-directory", b"2");
    symlink("nowhere", dir.join("link")).unwrap();
    set_xattr(&dir.join("link"), "trusted.of-a-link", b"3");
    make_node(&dir.join("pipe"), FileType::Fifo, 0);
    set_xattr(&dir.join("pipe"), "trusted.of-a-pipe", b"4");
}

fn holes(dir: &Path) {
    let block = [7u8; 4096];
    sparse(&dir.join("nothing-but"), 1 << 20, &[]);
    sparse(&dir.join("less-than-a-block"), 100, &[]);
    sparse(&dir.join("first"), 300_000, &[(200_704, &[1; 99_296])]);
    sparse(&dir.join("last"), 300_001, &[(0, &[2; 5000])]);
    sparse(&dir.join("between"), 10 << 20, &[(0, &block), (5 << 20, &[3; 100_000]), ((10 << 20) - 1, b"x")]);
    sparse(&dir.join("far"), 64 << 20, &[(32 << 20, b"few bytes")]);
    let many: Vec<(u64, &[u8])> = (0..2000).map(|number| (number * 8192, &block[..])).collect();
    sparse(&dir.join("many"), 2000 * 8192, &many);
    // A hole that the number of blocks does not show, because the attribute takes a block, too.
    sparse(&dir.join("hidden"), 8192, &[(0, &block)]);
    set_xattr(&dir.join("hidden"), "user.large", &[b'v'; 3000]);
    fs::write(dir.join("zeros-are-no-hole"), [0; 100_000]).unwrap();
}

fn nodes(dir: &Path) {
    fs::write(dir.join("one"), "of three").unwrap();
    fs::create_dir(dir.join("below")).unwrap();
    fs::hard_link(dir.join("one"), dir.join("two")).unwrap();
    fs::hard_link(dir.join("one"), dir.join("below/three")).unwrap();
    make_node(&dir.join("pipe"), FileType::Fifo, 0);
    fs::hard_link(dir.join("pipe"), dir.join("pipe-too")).unwrap();
    make_node(&dir.join("socket"), FileType::Socket, 0);
    make_node(&dir.join("null"), FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    make_node(&dir.join("far"), FileType::CharacterDevice, rustix::fs::makedev(300, 70_000));
    make_node(&dir.join("loop"), FileType::BlockDevice, rustix::fs::makedev(7, 200));
    symlink("one", dir.join("link")).unwrap();
    symlink("../nowhere/\u{e4}", dir.join("dangling")).unwrap();
    symlink("x".repeat(4000), dir.join("long-link")).unwrap();
    set_owner(&dir.join("dangling"), 77, 88);
    set_times(&dir.join("dangling"), 1_000_000_000, 123_456_789);
    for name in ["pipe", "socket", "null", "loop"] {
        set_owner(&dir.join(name), 11, 22);
        set_times(&dir.join(name), 1_234_567_890, 1);
    }
}

fn times(dir: &Path) {
    let all =
        [(-2, 500_000_000), (-1, 0), (0, 0), (-2_000_000_000, 7), (13_569_465_600, 999_999_999), (1, 1)];
    for (number, (sec, nanos)) in all.into_iter().enumerate() {
        let (file, below) = (dir.join(format!("f{number}")), dir.join(format!("d{number}")));
        fs::write(&file, "").unwrap();
        fs::create_dir(&below).unwrap();
        fs::write(below.join("in"), "").unwrap();
        [file, below].iter().for_each(|path| set_times(path, sec, nanos));
    }
}

fn locks(dir: &Path) {
    let flags =
        [("i", IFlags::IMMUTABLE), ("a", IFlags::APPEND), ("d", IFlags::NODUMP), ("c", IFlags::COMPRESSED)];
    for (name, flags) in flags {
        let (file, below) = (dir.join(format!("f{name}")), dir.join(format!("d{name}")));
        fs::write(&file, "locked").unwrap();
        fs::create_dir_all(below.join("deep")).unwrap();
        fs::write(below.join("deep/in"), "").unwrap();
        set_owner(&file, 5, 6);
        set_times(&file, 999, 9);
        set_flags(&file, flags);
        set_flags(&below, flags);
    }
    let linked = dir.join("linked");
    fs::write(&linked, "by two names").unwrap();
    fs::hard_link(&linked, dir.join("linked-too")).unwrap();
    set_flags(&linked, IFlags::IMMUTABLE | IFlags::NODUMP);
}

/// Returns every difference between two trees.
pub fn differences(a: &Path, b: &Path) -> Vec<String> {
    let mut all = differences_but_flags(a, b);
    all.extend(listings(a, b, "flags", "lsattr", &["-R", "-a", "."]));
    all
}

/// Like `differences`, without inode flags.
pub fn differences_but_flags(a: &Path, b: &Path) -> Vec<String> {
    let mut all = rsync(a, b);
    let args = ["-d", "-m", "-", "-e", "hex", "-h", "-R", "--absolute-names", "."];
    all.extend(listings(a, b, "extended attributes", "getfattr", &args));
    for path in super::files_below(a) {
        let name = path.strip_prefix(a).unwrap();
        let (left, right) = (hole_map(&path), hole_map(&b.join(name)));
        if left != right {
            all.push(format!("holes of {}: {left:?} and {right:?}", name.display()));
        }
    }
    all
}

fn listings(a: &Path, b: &Path, what: &str, tool: &str, args: &[&str]) -> Vec<String> {
    let (left, right) = (listing(a, tool, args), listing(b, tool, args));
    let of = |side: &str, one: &String| format!("{what}: only {side}: {one}");
    let only_left = left.difference(&right).map(|one| of("left", one));
    only_left.chain(right.difference(&left).map(|one| of("right", one))).collect()
}

fn rsync(a: &Path, b: &Path) -> Vec<String> {
    let slash = |path: &Path| PathBuf::from(format!("{}/", path.display()));
    let mut command = Command::new("rsync");
    // libfaketime shifts the times of files, too, in each process by another fraction of a second.
    command.env_remove("LD_PRELOAD");
    command.args(["-naHAXi", "--delete", "--checksum", "--numeric-ids", "--devices", "--specials"]);
    let output = command.arg(slash(a)).arg(slash(b)).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().map(|line| format!("rsync: {line}")).collect()
}

/// Returns what a tool prints for each entry, in a defined order.
fn listing(root: &Path, tool: &str, args: &[&str]) -> std::collections::BTreeSet<String> {
    let mut command = Command::new(tool);
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let output = command.args(args).current_dir(root).env("PATH", path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let between = if tool == "getfattr" { "\n\n" } else { "\n" };
    let parts = text.split(between).map(str::to_owned);
    parts.filter(|part| !part.trim().is_empty()).collect()
}

/// Returns the data ranges of a file: (start, end).
pub fn hole_map(path: &Path) -> Vec<(u64, u64)> {
    let Ok(file) = fs::File::open(path) else { return vec![(u64::MAX, 0)] };
    let (mut runs, mut at) = (Vec::new(), 0);
    while let Ok(start) = rustix::fs::seek(&file, SeekFrom::Data(at)) {
        at = rustix::fs::seek(&file, SeekFrom::Hole(start)).unwrap();
        runs.push((start, at));
    }
    runs
}
