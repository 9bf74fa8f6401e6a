//! The command line, as clap reads it. Nothing here does anything; values are parsed where they are declared.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, Parser, Subcommand};
use snap_backup::codec::compress::NO_COMPRESSION;
use snap_backup::ops::check::Subset;
use snap_backup::store::repository::ChunkerProfile;

/// A content-addressed, deduplicating snapshot store: fast, small, safe backups.
#[derive(Debug, Parser)]
#[command(name = "snap", version, propagate_version = true, after_help = CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const CODES: &str = "Exit codes: 0 done, 1 failed, 2 usage, 3 done with problems, 10 no repository, \
    12 wrong or no password, 20 damage found, 21 storage full, 130 interrupted.";

/// Accepted before and after the verb. What a variable may give is an `OsString`, since an empty variable
/// counts as none and clap would refuse an empty path.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The repository: a directory, or file://DIRECTORY
    #[arg(short, long, global = true, env = "SNAP_REPO", value_name = "REPO")]
    pub(crate) repo: Option<OsString>,
    /// Read the password from this file
    #[arg(long, global = true, env = "SNAP_PASSWORD_FILE", value_name = "FILE")]
    pub(crate) password_file: Option<OsString>,
    /// Read the password from what this shell command prints
    #[arg(
        long,
        global = true,
        env = "SNAP_PASSWORD_COMMAND",
        value_name = "COMMAND",
        hide_env_values = true
    )]
    pub(crate) password_command: Option<OsString>,
    /// Use no password, even if one is given elsewhere: for a repository without encryption
    #[arg(long, global = true)]
    pub(crate) insecure_no_password: bool,
    /// Keep disposable local state here instead of the user's cache directory
    #[arg(long, global = true, env = "SNAP_CACHE_DIR", value_name = "DIR")]
    pub(crate) cache_dir: Option<OsString>,
    /// Print only warnings, problems and what was asked for
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print each item; twice: unchanged ones too
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print JSON, one object per line
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Global {
    /// Where the password is read from.
    pub(crate) fn password_file(&self) -> Option<&Path> {
        self.password_file.as_deref().filter(|path| !path.is_empty()).map(Path::new)
    }

    /// What prints the password.
    pub(crate) fn password_command(&self) -> Option<&OsStr> {
        self.password_command.as_deref().filter(|command| !command.is_empty())
    }

    /// Where local state is kept, if not in the user's cache directory.
    pub(crate) fn cache(&self) -> Option<PathBuf> {
        self.cache_dir.as_ref().filter(|path| !path.is_empty()).map(PathBuf::from)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a repository
    Init(Init),
    /// Save files and directories as a new snapshot
    Backup(Box<Backup>),
    /// List snapshots
    #[command(visible_alias = "list")]
    Snapshots(Snapshots),
    /// List what a snapshot holds
    Ls(Ls),
    /// Print a file of a snapshot
    #[command(visible_alias = "dump")]
    Cat(Cat),
    /// Write a snapshot, or a part of it, to a directory
    Restore(Restore),
    /// Verify the repository
    Check(Check),
    /// Manage the passwords of an encrypted repository
    #[command(subcommand)]
    Key(Key),
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Make a repository that anyone who can read it can read
    #[arg(long)]
    pub(crate) no_encryption: bool,
    /// Average size of chunks: 64K, 256K or 1M
    #[arg(long, value_name = "SIZE", default_value = "64K", value_parser = chunker)]
    pub(crate) chunker: ChunkerProfile,
    /// Default compression: fast, default, best, none or a zstd level
    #[arg(long, value_name = "LEVEL", default_value = "default", value_parser = level)]
    pub(crate) compression: i32,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Read every byte again, whatever the timestamps say
    #[arg(long, conflicts_with_all = ["incremental", "differential"])]
    pub(crate) full: bool,
    /// Compare with the newest snapshot of the same host and sources (the default)
    #[arg(long, conflicts_with = "differential")]
    pub(crate) incremental: bool,
    /// Compare with the newest full snapshot
    #[arg(long)]
    pub(crate) differential: bool,
    /// Make the repository if there is none
    #[arg(long)]
    pub(crate) init: bool,
    /// With --init: make it without encryption
    #[arg(long, requires = "init")]
    pub(crate) no_encryption: bool,
    /// Label the snapshot
    #[arg(long = "tag", value_name = "TAG", value_delimiter = ',')]
    pub(crate) tags: Vec<String>,
    /// Record this host name instead of the machine's
    #[arg(long)]
    pub(crate) host: Option<String>,
    /// Leave out what matches
    #[arg(short = 'e', long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,
    /// Like --exclude, upper and lower case alike
    #[arg(long, value_name = "PATTERN")]
    pub(crate) iexclude: Vec<String>,
    /// Read patterns from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) exclude_file: Vec<PathBuf>,
    /// Leave out directories that hold FILE (beginning with HEADER)
    #[arg(long, value_name = "FILE[:HEADER]")]
    pub(crate) exclude_if_present: Vec<String>,
    /// Leave out directories with a CACHEDIR.TAG
    #[arg(long)]
    pub(crate) exclude_caches: bool,
    /// Leave out files larger than this (K, M, G and T are powers of 1024)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) exclude_larger_than: Option<u64>,
    /// Obey .gitignore files
    #[arg(long)]
    pub(crate) gitignore: bool,
    /// Stay within the file systems of the sources
    #[arg(short = 'x', long)]
    pub(crate) one_file_system: bool,
    /// Read sources from a file, one a line; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) files_from: Vec<PathBuf>,
    /// Save what comes from standard input as one file
    #[arg(long, conflicts_with_all = ["stdin_from_command", "files_from", "paths"])]
    pub(crate) stdin: bool,
    /// The name of that file
    #[arg(long, value_name = "NAME", default_value = "stdin")]
    pub(crate) stdin_filename: OsString,
    /// Save what a command prints as one file: -- COMMAND ARGUMENT...
    #[arg(long, requires = "paths", conflicts_with = "files_from")]
    pub(crate) stdin_from_command: bool,
    /// Compare with this snapshot
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "full")]
    pub(crate) parent: Option<String>,
    /// Do not take a file for changed because its ctime is
    #[arg(long)]
    pub(crate) ignore_ctime: bool,
    /// Save a snapshot even if nothing changed
    #[arg(long)]
    pub(crate) allow_empty: bool,
    /// Write nothing, say what would be
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Store the source under this path
    #[arg(long = "as", value_name = "PATH")]
    pub(crate) store_as: Option<OsString>,
    /// Compression: fast, default, best, none or a zstd level
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    pub(crate) compression: Option<i32>,
    /// What to save
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Snapshots {
    /// Only of this host
    #[arg(long)]
    pub(crate) host: Vec<String>,
    /// Only with all of these tags; given twice: either
    #[arg(long, value_name = "TAG[,TAG]")]
    pub(crate) tag: Vec<String>,
    /// Only of this source
    #[arg(long)]
    pub(crate) path: Vec<PathBuf>,
    /// Only the newest N of each host and set of sources
    #[arg(long, value_name = "N")]
    pub(crate) latest: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// latest, latest~N, an id prefix or a time, with :PATH for a part
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub(crate) selector: String,
    /// With permissions, owner, size and time
    #[arg(short, long)]
    pub(crate) long: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Cat {
    /// Which file
    #[arg(value_name = "SNAPSHOT:PATH")]
    pub(crate) selector: String,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// latest, latest~N, an id prefix or a time, with :PATH for a part
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub(crate) selector: String,
    /// Where to
    #[arg(short, long, value_name = "DIR")]
    pub(crate) target: PathBuf,
    /// Only what matches
    #[arg(short, long, value_name = "PATTERN")]
    pub(crate) include: Vec<String>,
    /// Not what matches
    #[arg(short, long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,
    /// Set owners by number, not by name
    #[arg(long)]
    pub(crate) numeric_ids: bool,
    /// Leave owners as they come
    #[arg(long)]
    pub(crate) no_owner: bool,
    /// Make holes of zeros
    #[arg(long)]
    pub(crate) sparse: bool,
    /// Read back what was written
    #[arg(long)]
    pub(crate) verify: bool,
    /// Write nothing, say what would be
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Read all data, not only the structure
    #[arg(long)]
    pub(crate) read_data: bool,
    /// Read a part of the data: the n-th of t parts, a percentage, or a size
    #[arg(long, value_name = "N/T|P%|SIZE", value_parser = subset, conflicts_with = "read_data")]
    pub(crate) read_data_subset: Option<Subset>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Add a password
    Add(NewKey),
    /// List key slots
    List,
    /// Remove a password, not the one in use
    Remove {
        /// Beginning of the id of the slot
        id: String,
    },
    /// Change the password in use
    Passwd(NewPassword),
}

#[derive(Debug, Args)]
pub(crate) struct NewKey {
    /// What the password is for
    #[arg(long, default_value = "")]
    pub(crate) label: String,
    #[command(flatten)]
    pub(crate) new: NewPassword,
}

#[derive(Debug, Args)]
pub(crate) struct NewPassword {
    /// Read the new password from this file (else SNAP_NEW_PASSWORD, else it is asked for)
    #[arg(long, value_name = "FILE")]
    pub(crate) new_password_file: Option<PathBuf>,
}

fn chunker(text: &str) -> Result<ChunkerProfile, String> {
    match text.to_ascii_uppercase().trim_end_matches("IB") {
        "64K" => Ok(ChunkerProfile::K64),
        "256K" => Ok(ChunkerProfile::K256),
        "1M" => Ok(ChunkerProfile::M1),
        _ => Err("one of 64K, 256K and 1M".to_owned()),
    }
}

fn level(text: &str) -> Result<i32, String> {
    match text {
        "none" => Ok(NO_COMPRESSION),
        "fast" => Ok(1),
        "default" => Ok(3),
        "best" => Ok(19),
        number => match number.parse() {
            Ok(level) if (1..=22).contains(&level) => Ok(level),
            _ => Err("one of fast, default, best, none and the numbers 1 to 22".to_owned()),
        },
    }
}

fn size(text: &str) -> Result<u64, String> {
    let wrong = || "a number of bytes, with K, M, G or T for powers of 1024".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.trim().to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return Err(wrong()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).ok_or_else(wrong);
    }
    let number: f64 = number.parse().map_err(|_| wrong())?;
    // A fraction is for people: a cast that saturates is exact enough.
    Ok((number * (1_u64 << shift) as f64) as u64)
}

fn subset(text: &str) -> Result<Subset, String> {
    let wrong = || "N/T with N from 1 to T, a percentage up to 100%, or a size".to_owned();
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
        return if percent > 0.0 && percent <= 100.0 { Ok(Subset::Percent(percent)) } else { Err(wrong()) };
    }
    if let Some((index, of)) = text.split_once('/') {
        let (index, of) = (index.parse().map_err(|_| wrong())?, of.parse().map_err(|_| wrong())?);
        return if 1 <= index && index <= of { Ok(Subset::Part { index, of }) } else { Err(wrong()) };
    }
    match size(text) {
        Ok(bytes) if bytes > 0 => Ok(Subset::Bytes(bytes)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{Cli, size};

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(size("10"), Ok(10));
        assert_eq!(size("1.5K"), Ok(1536));
        assert_eq!(size("2MiB"), Ok(2 << 20));
        assert!(["", "K", "1X", "-1", "1..2", "99999999T"].iter().all(|text| size(text).is_err()));
    }
}
