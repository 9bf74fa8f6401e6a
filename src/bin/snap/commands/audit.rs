//! `snap audit`: lists who forgot, rewrote or purged which snapshots, and when.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use snap_backup::model::entry::Time;
use snap_backup::model::id::SnapshotId;
use snap_backup::model::records::{AuditAct, AuditRecord};
use snap_backup::ops::receipt;
use snap_backup::repo::audit::{self, AuditEntry};
use snap_backup::{Error, Result};

use crate::args::times;
use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::output::{self, printable};

/// Maximum number of snapshots in a line; JSON contains all of them.
const SHOWN: usize = 4;
/// Maximum length of a receipt in bytes.
const LONGEST: u64 = 64 << 10;
/// Seconds by which the clocks of a machine and of the storage may differ before that is reported.
const CLOCKS: u64 = 3600;

#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// Only actions since then: a date, a time, or an age (30d)
    #[arg(long, value_name = "WHEN", value_parser = times::past)]
    pub(crate) since: Option<Time>,
    /// Compare the repository with this receipt of `snap backup --receipt`; -: standard input
    #[arg(long, value_name = "FILE", conflicts_with = "since")]
    pub(crate) receipt: Option<PathBuf>,
}

pub(crate) fn run(context: &Context, args: &Audit) -> Result<Outcome> {
    if let Some(file) = &args.receipt {
        return compare(context, file);
    }
    context.with(|repo| {
        let (mut entries, unreadable) = audit::list(repo)?;
        for err in &unreadable {
            output::warn(context.global.json, &format!("{}: this record cannot be read", err.chain()));
        }
        entries.retain(|entry| args.since.is_none_or(|since| entry.time() >= since));
        if context.global.json {
            let records: Vec<Value> = entries.iter().map(json_of).collect();
            output::print(&json!({"message_type": "summary", "records": records}).to_string())?;
        } else if entries.is_empty() && context.prints_success() {
            output::print("no records")?;
        } else {
            entries.iter().try_for_each(|entry| output::print(&line(entry)))?;
        }
        Ok(if unreadable.is_empty() { Outcome::Done } else { Outcome::Problems })
    })
}

fn compare(context: &Context, file: &Path) -> Result<Outcome> {
    let mut text = String::new();
    let read: Box<dyn Read> = if file.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(file).map_err(Error::io("read", file))?)
    };
    read.take(LONGEST).read_to_string(&mut text).map_err(Error::io("read", file))?;
    let receipt = receipt::parse(&text)?;
    context.with(|repo| {
        let differences = receipt::differences(repo, &receipt)?;
        if context.global.json {
            let line =
                json!({"message_type": "receipt", "snapshot": receipt.snapshot, "differences": differences});
            output::print(&line.to_string())?;
        } else {
            differences.iter().try_for_each(|what| output::print(&printable(what)))?;
            if differences.is_empty() && context.prints_success() {
                output::print("the repository is at least as new as the receipt")?;
            }
        }
        Ok(if differences.is_empty() { Outcome::Done } else { Outcome::Damage })
    })
}

fn line(entry: &AuditEntry) -> String {
    let AuditRecord { host, user, command, detail, snapshots, .. } = &entry.record;
    let mut text = format!(
        "{}  {:<12}  {}@{}",
        output::local(entry.time()),
        name(&entry.record),
        printable(user),
        printable(host)
    );
    if !snapshots.is_empty() {
        text += &format!("  {}", named(snapshots));
    }
    if !detail.is_empty() {
        text += &format!("  {}", printable(detail));
    }
    if !command.is_empty() {
        text += &format!("\n    {}", printable(command));
    }
    if entry.arrived.is_some_and(|at| at.sec.abs_diff(entry.record.at.sec) > CLOCKS) {
        text += &format!("\n    by that machine's clock {}", output::local(entry.record.at));
    }
    text
}

fn named(snapshots: &[SnapshotId]) -> String {
    let ids: Vec<String> = snapshots.iter().take(SHOWN).map(|id| id.short()).collect();
    let more = match snapshots.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", ids.join(" "))
}

fn name(record: &AuditRecord) -> String {
    AuditAct::of_code(record.act).map_or_else(|| format!("act {}", record.act), |act| act.name().to_owned())
}

fn json_of(entry: &AuditEntry) -> Value {
    let AuditRecord { host, user, program, command, detail, snapshots, at, .. } = &entry.record;
    let ids: Vec<String> = snapshots.iter().map(|id| id.hex()).collect();
    let mut value = json!({
        "id": entry.name,
        "time": output::rfc3339(entry.time()),
        "time_claimed": output::rfc3339(*at),
        "act": name(&entry.record),
        "user": user,
        "hostname": host,
        "program": program,
        "snapshots": ids,
    });
    if let Some(map) = value.as_object_mut() {
        for (key, text) in [("command", command), ("detail", detail)] {
            if !text.is_empty() {
                map.insert(key.to_owned(), text.clone().into());
            }
        }
    }
    value
}
