//! What a program did to files, in order, as strace reports it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Outcome, finish};

/// One call that changed something, or made it durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// A new file.
    Create(PathBuf),
    /// An existing one, truncated.
    Empty(PathBuf),
    /// Bytes, at an offset or appended.
    Write(PathBuf, Option<u64>, Vec<u8>),
    /// Allocated space without data.
    Extend(PathBuf, u64),
    Mkdir(PathBuf),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Remove(PathBuf),
    /// Of a file or a folder.
    Sync(PathBuf),
    /// To standard output.
    Say(Vec<u8>),
}

impl Call {
    /// For people: without the bytes.
    pub fn words(&self) -> String {
        match self {
            Self::Write(path, at, bytes) => {
                format!("Write({}, {at:?}, {} bytes)", path.display(), bytes.len())
            }
            Self::Say(words) => format!("Say({:?})", String::from_utf8_lossy(words)),
            other => format!("{other:?}"),
        }
    }
}

/// The traced calls.
const CALLS: &str = "openat,creat,write,pwrite64,ftruncate,fallocate,rename,renameat,renameat2,link,linkat,unlink,\
                     unlinkat,mkdir,mkdirat,rmdir,fsync,fdatasync";

/// A command that runs another under strace with these options; `None` where that does not work.
pub fn under_strace(command: &Command, options: &[&str]) -> Option<Command> {
    let works = Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "true"]).output();
    if !works.is_ok_and(|output| output.status.success()) {
        super::skipped("no strace, or it may not trace");
        return None;
    }
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-e", "signal=none"]).args(options);
    traced.arg(command.get_program()).args(command.get_args()).env_clear();
    command.get_envs().filter_map(|(name, value)| Some((name, value?))).for_each(|(name, value)| {
        traced.env(name, value);
    });
    traced.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.get_current_dir().map(|dir| traced.current_dir(dir));
    Some(traced)
}

/// Runs a command and returns its calls; `None` without strace.
pub fn record(command: &Command, log: &Path) -> Option<(Outcome, Vec<Call>)> {
    let trace = format!("trace={CALLS}");
    let options = ["-y", "-xx", "-s", "100000000", "-e", &trace, "-o", log.to_str().unwrap()];
    let outcome = finish(under_strace(command, &options)?, b"");
    let here = command.get_current_dir().unwrap().canonicalize().unwrap();
    let mut begun: HashMap<String, String> = HashMap::new();
    let mut calls = Vec::new();
    for line in fs::read_to_string(log).unwrap().lines() {
        let (pid, text) = line.split_once(char::is_whitespace).unwrap();
        let text = text.trim();
        if let Some(start) = text.strip_suffix("<unfinished ...>") {
            begun.insert(pid.to_owned(), start.to_owned());
        } else if let Some((_, rest)) =
            text.strip_prefix("<... ").and_then(|text| text.split_once(" resumed>"))
        {
            let start = begun.remove(pid).unwrap();
            calls.extend(parse(&format!("{start}{rest}"), &here));
        } else {
            calls.extend(parse(text, &here));
        }
    }
    assert!(!calls.is_empty(), "strace told nothing");
    Some((outcome, calls))
}

/// Parses a line, if the call changed something.
fn parse(line: &str, here: &Path) -> Option<Call> {
    let (name, rest) = line.split_once('(')?;
    let (args, result) = rest.rsplit_once(')')?;
    let result = result.trim().strip_prefix('=')?.trim();
    if result.starts_with('-') || result.starts_with('?') {
        return None;
    }
    let args: Vec<&str> = args.split(',').map(str::trim).collect();
    let path = |at: usize| Some(here.join(text(args.get(at)?)?));
    let of_fd = |at: usize| Some(PathBuf::from(of_fd(args.get(at)?)?));
    let call = match name {
        "openat" if args.get(2)?.contains("O_CREAT") => {
            if args.get(2)?.contains("O_TRUNC") {
                Call::Empty(path(1)?)
            } else {
                Call::Create(path(1)?)
            }
        }
        "write" if args.first()?.starts_with("1<") => Call::Say(bytes(args.get(1)?)?),
        "write" => Call::Write(of_fd(0)?, None, bytes(args.get(1)?)?),
        "pwrite64" => Call::Write(of_fd(0)?, args.get(3)?.parse().ok(), bytes(args.get(1)?)?),
        "fallocate" => Call::Extend(of_fd(0)?, args.get(3)?.parse().ok()?),
        "mkdir" => Call::Mkdir(path(0)?),
        "mkdirat" => Call::Mkdir(path(1)?),
        "rename" => Call::Rename(path(0)?, path(1)?),
        "renameat" | "renameat2" => Call::Rename(path(1)?, path(3)?),
        "link" => Call::Link(path(0)?, path(1)?),
        "linkat" => Call::Link(path(1)?, path(3)?),
        "unlink" | "rmdir" => Call::Remove(path(0)?),
        "unlinkat" => Call::Remove(path(1)?),
        "fsync" | "fdatasync" => Call::Sync(of_fd(0)?),
        _ => return None,
    };
    Some(call)
}

/// Returns what is between the quotes.
fn text(arg: &str) -> Option<String> {
    String::from_utf8(bytes(arg)?).ok()
}

fn bytes(arg: &str) -> Option<Vec<u8>> {
    let inside = arg.split_once('"')?.1.rsplit_once('"')?.0;
    inside.split("\\x").skip(1).map(|hex| u8::from_str_radix(hex, 16).ok()).collect()
}

/// Returns what strace prints after a descriptor.
fn of_fd(arg: &str) -> Option<String> {
    let inside = arg.split_once('<')?.1.strip_suffix('>')?;
    bytes(&format!("\"{inside}\"")).and_then(|raw| String::from_utf8(raw).ok())
}
