//! The summary that a backup prints: what changed, what was added, the size of the repository, and how long
//! its free space will last.

use snap_backup::model::entry::Time;
use snap_backup::model::manifest::SnapshotKind;
use snap_backup::ops::backup::{Options, Report};
use snap_backup::ops::status::Growth;
use snap_backup::repo::repository::Repository;
use snap_backup::run_log::RunLog;

use crate::context::Context;
use crate::terminal::output::{count, days, duration, size};

pub(crate) fn human(context: &Context, repo: &Repository, summary: &Report, options: &Options) -> String {
    let counts = &summary.counts;
    let mut text = format!("{} backup", summary.kind);
    if let Some(parent) = summary.parent {
        text += &format!(", compared with snapshot {}", parent.short());
    }
    text += &format!(
        "\nfiles:   {} new, {} changed, {} unchanged, {} removed; {}",
        counts.files_new,
        counts.files_changed,
        counts.files_unchanged,
        counts.files_removed,
        count(counts.dirs, "directory", "directories"),
    );
    text += &format!("\nread:    {}", read(counts.bytes_read, counts.bytes_total));
    if let Some(reread) = &summary.reread {
        let files = count(reread.files, "unchanged file", "unchanged files");
        text += &format!("\nreread:  {files} ({}), to find bit rot", size(reread.bytes));
    }
    text += &format!("\nadded:   {}", size(counts.bytes_added));
    // A dry run does not compress anything.
    if !options.dry_run {
        text += &format!(", stored as {}", size(counts.bytes_stored));
    }
    if counts.bytes_stored > 0 && counts.bytes_added > 0 {
        text += &format!(" (ratio {:.2})", counts.bytes_added as f64 / counts.bytes_stored as f64);
    }
    // Small amounts are directory pieces, which are not worth a line.
    if summary.deltas.plain >= 64 << 10 {
        let (plain, stored) = (size(summary.deltas.plain), size(summary.deltas.stored));
        text += &format!("\ndeltas:  {plain} of that as changes to stored data, in {stored}");
    }
    text += &format!("\ntime:    {}", duration(summary.duration.as_secs_f64()));
    if summary.snapshot.is_some() {
        text += &capacity(context, repo, summary);
    }
    if summary.vanished > 0 {
        text += &format!("\n{} vanished before being read", count(summary.vanished, "item", "items"));
    }
    if summary.changing > 0 {
        text += &format!("\n{} changed while being read", count(summary.changing, "file", "files"));
    }
    if !summary.problems.is_empty() {
        let number = summary.problems.len() as u64;
        text += &format!("\n{}: see the warnings", count(number, "problem", "problems"));
    }
    text + "\n" + &ending(summary, options)
}

fn ending(summary: &Report, options: &Options) -> String {
    let partial = if summary.time_up {
        " (partial: time limit reached; the next run continues from there)"
    } else if summary.partial {
        " (partial: interrupted; stored data is not stored again)"
    } else {
        ""
    };
    // These options save a snapshot even if nothing changed.
    let anyway = summary.kind == SnapshotKind::Full || options.allow_empty;
    match (summary.snapshot, summary.newest.filter(|_| summary.unchanged)) {
        (Some(id), _) => format!("snapshot {} saved{partial}", id.short()),
        (None, Some(newest)) if !options.dry_run => match healed(summary) {
            0 => format!("nothing changed since snapshot {}: nothing written", newest.short()),
            bytes => format!(
                "nothing changed since snapshot {}, but {} of its data was missing or damaged in the \
                 repository and was stored again",
                newest.short(),
                size(bytes)
            ),
        },
        (None, Some(newest)) if !anyway => {
            let heals = match healed(summary) {
                0 => String::new(),
                bytes => format!(", but {} that is missing or damaged would be stored again", size(bytes)),
            };
            format!(
                "dry run: nothing changed since snapshot {}, no snapshot would be saved{heals}",
                newest.short()
            )
        }
        (None, Some(newest)) => {
            format!("dry run: nothing changed since snapshot {}; a snapshot would be saved", newest.short())
        }
        (None, None) if options.dry_run => {
            format!("dry run: nothing written; a snapshot would be saved{partial}")
        }
        (None, None) => format!("no snapshot saved{partial}"),
    }
}

/// Returns the size of the repository, the free space of its storage, and for how many days that will last.
fn capacity(context: &Context, repo: &Repository, summary: &Report) -> String {
    let mut text = format!("\nholds:   {} in the repository", size(summary.repository_bytes));
    let Some(capacity) = repo.storage().capacity() else { return text };
    text += &format!("; {} of {} free", size(capacity.free), size(capacity.total));
    let records = || RunLog::new(context.global.state()?).read().ok();
    let location = repo.location();
    let runs = records().map(|read| read.runs).unwrap_or_default();
    let runs: Vec<_> = runs.iter().filter(|run| run.repository == location).collect();
    let growth = Growth::estimate(&runs, Some(summary.repository_bytes), Time::now());
    if let Some(growth) = growth.filter(|growth| growth.bytes_per_day > 0.0) {
        text += &format!(", enough for {}", days(capacity.free as f64 / growth.bytes_per_day));
    }
    text
}

/// Returns the bytes that were added to replace lost or damaged data: an unchanged run adds nothing else.
pub(crate) fn healed(summary: &Report) -> u64 {
    if summary.unchanged && summary.snapshot.is_none() { summary.counts.bytes_added } else { 0 }
}

/// Describes how many bytes were read. This exceeds the size of the snapshot if files were read twice, or
/// partly read before an interruption.
fn read(read: u64, total: u64) -> String {
    if read > total {
        format!("{}; the snapshot holds {}", size(read), size(total))
    } else {
        format!("{} of {}", size(read), size(total))
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn cat_reads_no_more_than_the_snapshot_counts() {
        assert_eq!(read(1 << 20, 3 << 20), "1.0 MiB of 3.0 MiB");
        assert_eq!(read(3 << 20, 1 << 20), "3.0 MiB; the snapshot holds 1.0 MiB");
    }
}
