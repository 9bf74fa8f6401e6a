//! Arguments of the verbs that remove or repair data.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use snap_backup::ops::check::Subset;
use snap_backup::ops::forget::age::Age;
use snap_backup::ops::forget::groups::GroupBy;
use snap_backup::ops::forget::policy::Count;

use super::{Collect, Filters, Words};
use crate::args::keep::group_by;
use crate::args::values::{self, snapshot_count};

#[derive(Debug, Args)]
pub(in crate::restic) struct Cache {
    /// No effect: old directories are removed automatically
    #[arg(long)]
    cleanup: bool,
    /// No effect, like --cleanup
    #[arg(long, value_name = "DAYS")]
    max_age: Option<u32>,
    /// Do not show sizes
    #[arg(long)]
    pub(in crate::restic) no_size: bool,
}

#[derive(Debug, Args)]
pub(in crate::restic) struct Unlock {
    /// No effect
    #[arg(long)]
    remove_all: bool,
}

#[derive(Debug, Args)]
pub(in crate::restic) struct Check {
    /// Read all data
    #[arg(long)]
    pub(in crate::restic) read_data: bool,
    /// Read a part of the data: n/t, x%, or a size
    #[arg(long, value_name = "SUBSET", value_parser = values::subset)]
    pub(in crate::restic) read_data_subset: Option<Subset>,
    /// No effect: cached data is verified when it is used
    #[arg(long)]
    with_cache: bool,
    /// Refused: all snapshots are checked together
    #[command(flatten)]
    pub(in crate::restic) filters: Filters,
}

#[derive(Debug, Args)]
pub(in crate::restic) struct Forget {
    #[arg(short = 'l', long, value_name = "N", value_parser = snapshot_count)]
    pub(in crate::restic) keep_last: Option<Count>,
    #[arg(short = 'H', long, value_name = "N", value_parser = snapshot_count)]
    pub(in crate::restic) keep_hourly: Option<Count>,
    #[arg(short = 'd', long, value_name = "N", value_parser = snapshot_count)]
    pub(in crate::restic) keep_daily: Option<Count>,
    #[arg(short = 'w', long, value_name = "N", value_parser = snapshot_count)]
    pub(in crate::restic) keep_weekly: Option<Count>,
    #[arg(short = 'm', long, value_name = "N", value_parser = snapshot_count)]
    pub(in crate::restic) keep_monthly: Option<Count>,
    #[arg(short = 'y', long, value_name = "N", value_parser = snapshot_count)]
    pub(in crate::restic) keep_yearly: Option<Count>,
    #[arg(long, value_name = "DURATION", value_parser = values::age)]
    pub(in crate::restic) keep_within: Option<Age>,
    #[arg(long, value_name = "DURATION", value_parser = values::age)]
    pub(in crate::restic) keep_within_hourly: Option<Age>,
    #[arg(long, value_name = "DURATION", value_parser = values::age)]
    pub(in crate::restic) keep_within_daily: Option<Age>,
    #[arg(long, value_name = "DURATION", value_parser = values::age)]
    pub(in crate::restic) keep_within_weekly: Option<Age>,
    #[arg(long, value_name = "DURATION", value_parser = values::age)]
    pub(in crate::restic) keep_within_monthly: Option<Age>,
    #[arg(long, value_name = "DURATION", value_parser = values::age)]
    pub(in crate::restic) keep_within_yearly: Option<Age>,
    #[arg(long, value_name = "TAG[,TAG]")]
    pub(in crate::restic) keep_tag: Vec<String>,
    /// Refused: the newest snapshot of a set is only forgotten by name
    #[arg(long)]
    pub(in crate::restic) unsafe_allow_remove_all: bool,
    #[arg(long)]
    pub(in crate::restic) host: Vec<String>,
    #[arg(long, value_name = "TAG[,TAG]")]
    pub(in crate::restic) tag: Vec<String>,
    #[arg(long)]
    pub(in crate::restic) path: Vec<PathBuf>,
    /// Print a narrower table
    #[arg(short, long)]
    pub(in crate::restic) compact: bool,
    /// Apply the rules to each group of snapshots with the same host, paths or tags
    #[arg(short, long, value_name = "GROUPS", default_value = "host,paths", value_parser = group_by)]
    pub(in crate::restic) group_by: GroupBy,
    /// Write nothing
    #[arg(short = 'n', long)]
    pub(in crate::restic) dry_run: bool,
    /// Run a garbage collection afterwards
    #[arg(long)]
    pub(in crate::restic) prune: bool,
    #[command(flatten)]
    pub(in crate::restic) how: Collect,
    #[arg(value_name = "SNAPSHOT")]
    pub(in crate::restic) snapshots: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::restic) struct Prune {
    /// Write nothing
    #[arg(short = 'n', long)]
    pub(in crate::restic) dry_run: bool,
    #[command(flatten)]
    pub(in crate::restic) how: Collect,
}

#[derive(Debug, Subcommand)]
pub(in crate::restic) enum Key {
    /// Add a password
    Add(NewKey),
    /// List keys
    List,
    /// Change the password
    Passwd(NewKey),
    /// Remove a key
    Remove {
        #[arg(value_name = "ID")]
        id: String,
    },
}

#[derive(Debug, Args)]
pub(in crate::restic) struct NewKey {
    /// Read the new password from this file
    #[arg(long, value_name = "FILE")]
    pub(in crate::restic) new_password_file: Option<PathBuf>,
    /// Refused: a key with an empty password protects nothing
    #[arg(long)]
    pub(in crate::restic) new_insecure_no_password: bool,
    /// Refused: a key records where it was made
    #[arg(long)]
    pub(in crate::restic) host: Option<String>,
    /// Refused: a key records who made it
    #[arg(long)]
    pub(in crate::restic) user: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(in crate::restic) enum Repair {
    /// Rebuild the index
    Index {
        /// No effect: the tables of all packs are always read
        #[arg(long)]
        read_all_packs: bool,
    },
    /// Salvage damaged packs
    Packs(Words),
    /// Replace damaged snapshots with what is left of them
    Snapshots(RepairSnapshots),
}

#[derive(Debug, Args)]
pub(in crate::restic) struct RepairSnapshots {
    /// Write nothing
    #[arg(short = 'n', long)]
    pub(in crate::restic) dry_run: bool,
    /// No effect: replaced snapshots always go to the trash
    #[arg(long)]
    pub(in crate::restic) forget: bool,
    #[command(flatten)]
    pub(in crate::restic) filters: Filters,
    #[arg(value_name = "SNAPSHOT")]
    pub(in crate::restic) snapshots: Vec<String>,
}
