//! Arguments of restic's verbs.

mod keep;
mod read;
mod write;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use snap_backup::ops::gc::MaxUnused;

use crate::args::values;
use crate::commands::gc::max_unused;
pub(super) use keep::{Cache, Check, Forget, Key, NewKey, Prune, Repair, Unlock};
pub(super) use read::{Diff, Dump, Find, Ls, Mount, Restore, Snapshots, Stats};
pub(super) use write::{Backup, Copy, Init, Rewrite, Tag};

/// Words without flags.
#[derive(Debug, Args)]
pub(super) struct Words {
    #[arg(value_name = "WORD")]
    pub(super) words: Vec<String>,
}

/// Of a verb that is refused, whatever it is given.
#[derive(Debug, Args)]
pub(super) struct Anything {
    #[arg(value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// Which snapshots are meant.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Filters {
    /// Only of this host (RESTIC_HOST)
    #[arg(short = 'H', long)]
    pub(super) host: Vec<String>,
    /// Only with all of these tags
    #[arg(long, value_name = "TAG[,TAG]")]
    pub(super) tag: Vec<String>,
    /// Only with this source
    #[arg(long)]
    pub(super) path: Vec<PathBuf>,
}

/// The repository to read from.
#[derive(Debug, Clone, Args)]
pub(super) struct From {
    /// Location of the repository to copy from (RESTIC_FROM_REPOSITORY)
    #[arg(long, value_name = "REPO")]
    pub(super) from_repo: Option<OsString>,
    /// Read its location from this file (RESTIC_FROM_REPOSITORY_FILE)
    #[arg(long, value_name = "FILE")]
    pub(super) from_repository_file: Option<PathBuf>,
    /// Read its password from this file (RESTIC_FROM_PASSWORD_FILE)
    #[arg(long, value_name = "FILE")]
    pub(super) from_password_file: Option<OsString>,
    /// Read its password from the output of this command (RESTIC_FROM_PASSWORD_COMMAND)
    #[arg(long, value_name = "COMMAND")]
    pub(super) from_password_command: Option<OsString>,
    /// The other repository is not encrypted
    #[arg(long)]
    pub(super) from_insecure_no_password: bool,
    /// No effect, like --key-hint
    #[arg(long, value_name = "KEY")]
    from_key_hint: Option<String>,
}

/// How to collect.
#[derive(Debug, Args)]
pub(super) struct Collect {
    /// How much unused data may stay
    #[arg(long, value_name = "LIMIT", default_value = "5%", value_parser = max_unused)]
    pub(super) max_unused: MaxUnused,
    /// Rewrite at most this many bytes
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(super) max_repack_size: Option<u64>,
    /// No effect: packs to rewrite are chosen by their unused data
    #[arg(long)]
    repack_cacheable_only: bool,
    /// No effect, like --repack-cacheable-only
    #[arg(long)]
    repack_uncompressed: bool,
    /// No effect, like --repack-cacheable-only
    #[arg(long, value_name = "SIZE")]
    repack_smaller_than: Option<String>,
}
