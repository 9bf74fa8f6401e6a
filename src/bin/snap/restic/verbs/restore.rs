//! `restic restore` and `restic dump`.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Map, Value};
use snap_backup::fs::atomic_file::AtomicFile;
use snap_backup::fs::filter;
use snap_backup::fs::xattr_choice::XattrChoice;
use snap_backup::ops::export::Format;
use snap_backup::ops::ls::Levels;
use snap_backup::ops::restore::{Options, Overwrite, Report};
use snap_backup::ops::{cat, export, ls, restore};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::Snapshot;
use snap_backup::{Control, Error, Result};

use super::ls::described;
use crate::context::Context;
use crate::restic::codes::{End, refused};
use crate::restic::lines::{duration, size};
use crate::restic::watch::Watch;
use crate::restic::{choose, flags};
use crate::terminal::output;
use crate::terminal::progress::{Progress, stop_on_signals};
use crate::zip_archive;

pub(in crate::restic) fn run(context: &Context, args: &flags::Restore) -> Result<End> {
    refuse(args)?;
    let Some(target) = &args.target else {
        return Err(Error::Usage("please specify a directory to restore to (--target)".to_owned()));
    };
    context.with(|repo| {
        let (snapshot, below) = choose::one(repo, &args.snapshot, &args.filters)?;
        if !context.global.json && !context.global.quiet {
            let text = format!("restoring {} to {}", described(&snapshot), target.display());
            output::print(&output::printable(&text))?;
        }
        let options = options(context, args, target, &snapshot, below)?;
        let stop = stop_on_signals()?;
        let watch = Watch::start(&context.global, "restore", true);
        let result = restore::run(repo, &options, &Control::new(&watch).with_cancel(&stop));
        drop(watch);
        let summary = result?;
        if context.global.json {
            output::print(&Value::Object(json(&summary)).to_string())?;
        } else {
            output::print(&text(&summary))?;
        }
        // For restic, a pattern that matches nothing is no error.
        match (summary.problems.len() as u64).saturating_sub(summary.unmatched_includes) {
            0 => Ok(End::Done),
            errors => Ok(End::Code(1, format!("Fatal: There were {errors} errors"))),
        }
    })
}

fn refuse(args: &flags::Restore) -> Result<()> {
    let lists = [("--iexclude", &args.iexclude), ("--iinclude", &args.iinclude)];
    let files = [("--iexclude-file", &args.iexclude_file), ("--iinclude-file", &args.iinclude_file)];
    let given = lists.iter().filter(|(_, list)| !list.is_empty()).map(|(name, _)| *name);
    let given = given.chain(files.iter().filter(|(_, list)| !list.is_empty()).map(|(name, _)| *name));
    if let Some(name) = given.into_iter().next() {
        return Err(refused(name, "patterns are always case-sensitive"));
    }
    if !args.exclude_xattr.is_empty() && !args.include_xattr.is_empty() {
        return Err(Error::Usage("exclude and include xattr patterns are mutually exclusive".to_owned()));
    }
    Ok(())
}

fn options(
    context: &Context,
    args: &flags::Restore,
    target: &Path,
    snapshot: &Snapshot,
    below: Option<Vec<u8>>,
) -> Result<Options> {
    let (mut include, mut exclude) = (args.include.clone(), args.exclude.clone());
    for file in &args.include_file {
        include.extend(filter::patterns_of(file)?);
    }
    for file in &args.exclude_file {
        exclude.extend(filter::patterns_of(file)?);
    }
    let overwrite = match args.overwrite.as_str() {
        "always" => Overwrite::Always,
        "if-changed" => Overwrite::IfChanged,
        "if-newer" => Overwrite::IfNewer,
        "never" => Overwrite::Never,
        other => {
            return Err(Error::Usage(format!(
                "invalid argument \"{other}\" for \"--overwrite\" flag: invalid overwrite behavior \"{other}\", must be one of (always|if-changed|if-newer|never)"
            )));
        }
    };
    Ok(Options {
        selector: snapshot.id.hex(),
        below,
        target: target.to_path_buf(),
        include,
        exclude,
        count_ahead: Progress::is_watched(&context.global),
        numeric_ids: !args.ownership_by_name,
        xattrs: XattrChoice::matching(&args.include_xattr, &args.exclude_xattr)?,
        protected: context.protected(),
        sparse: args.sparse,
        overwrite,
        delete: args.delete,
        dry_run: args.dry_run,
        verify: args.verify,
        ..Options::default()
    })
}

/// Returns the number of entries that were not restored because they were up to date or kept.
fn skipped(summary: &Report) -> u64 {
    summary.unchanged + summary.kept
}

fn total(summary: &Report) -> u64 {
    summary.files + summary.dirs + summary.others
}

fn json(summary: &Report) -> Map<String, Value> {
    let restored = total(summary).saturating_sub(skipped(summary));
    let bytes_skipped =
        if skipped(summary) > 0 { summary.bytes.saturating_sub(summary.bytes_written) } else { 0 };
    let numbers = [
        ("seconds_elapsed", summary.duration.as_secs()),
        // The total does not include skipped entries.
        ("total_files", restored),
        ("files_restored", restored),
        ("files_skipped", skipped(summary)),
        ("files_deleted", summary.deleted),
        ("total_bytes", summary.bytes.saturating_sub(bytes_skipped)),
        ("bytes_restored", summary.bytes_written),
        ("bytes_skipped", bytes_skipped),
    ];
    // Like restic, leaves out zero values.
    let told = numbers.into_iter().filter(|(_, number)| *number > 0);
    let told = told.map(|(name, number)| (name.to_owned(), number.into()));
    [("message_type".to_owned(), Value::from("summary"))].into_iter().chain(told).collect()
}

fn text(summary: &Report) -> String {
    let (restored, bytes) = (total(summary).saturating_sub(skipped(summary)), size(summary.bytes_written));
    let mut text = format!(
        "Summary: Restored {restored} files/dirs ({bytes}) in {}",
        duration(summary.duration.as_secs_f64())
    );
    if skipped(summary) > 0 {
        let bytes = size(summary.bytes.saturating_sub(summary.bytes_written));
        text += &format!(", skipped {} files/dirs {bytes}", skipped(summary));
    }
    if summary.deleted > 0 {
        text += &format!(", deleted {} files/dirs", summary.deleted);
    }
    text
}

pub(in crate::restic) fn dump(context: &Context, args: &flags::Dump) -> Result<End> {
    let is_zip = match args.archive.as_str() {
        "tar" => false,
        "zip" => true,
        other => return Err(Error::Usage(format!("unknown archive format \"{other}\""))),
    };
    context.with(|repo| {
        let (snapshot, below) = choose::one(repo, &args.snapshot, &args.filters)?;
        let mut path = below.unwrap_or_default();
        let named = choose::stored(args.file.as_bytes());
        if !path.is_empty() && !named.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&named);
        let dir = zip_archive::Dir {
            repo,
            snapshot: &snapshot.id,
            path: &path,
            prefix: &prefix(&named),
            names: None,
        };
        let form = match is_dir(repo, &snapshot, &path)? {
            false => Form::File,
            true if is_zip => Form::Zip,
            true => Form::Tar,
        };
        if let Some(target) = &args.target {
            context.may_write(target)?;
            let mut whole = AtomicFile::create_private(target, true)?;
            write(context, dir, form, &mut whole)?;
            return whole.publish().map(|()| End::Done);
        }
        if form != Form::File && io::stdout().is_terminal() {
            return Err(Error::Usage("stdout is the terminal, please redirect output".to_owned()));
        }
        let out = io::stdout().as_fd().try_clone_to_owned().map_err(output::failed)?;
        write(context, dir, form, &mut File::from(out))?;
        Ok(End::Done)
    })
}

/// The output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The content of a file.
    File,
    /// A directory as an archive.
    Tar,
    Zip,
}

/// Returns the prefix for names in an archive. Names start at the snapshot or the path after the colon: `dump
/// ID /a/b` gives `a/b/c`, and `dump ID:/a /b` gives `b/c`.
fn prefix(named: &[u8]) -> Vec<u8> {
    match named {
        [] => Vec::new(),
        named => [named, b"/"].concat(),
    }
}

fn write(
    context: &Context,
    dir: zip_archive::Dir<'_>,
    form: Form,
    out: &mut (dyn Write + Send),
) -> Result<()> {
    let (repo, selector) = (dir.repo, zip_archive::selector(dir.snapshot, dir.path));
    if form == Form::File {
        return cat::run(repo, &selector, &mut *out);
    }
    let prefix = dir.prefix.to_vec();
    let options = export::Options { selector, format: Format::Tar, prefix, ..export::Options::default() };
    let watch = Watch::start(&context.global, "export", false);
    if form == Form::Zip {
        return zip_archive::write(dir, out, &Control::new(&watch).with_cancel(&stop_on_signals()?));
    }
    export::run(repo, &options, out, &Control::new(&watch).with_cancel(&stop_on_signals()?)).map(drop)
}

fn is_dir(repo: &Repository, snapshot: &Snapshot, path: &[u8]) -> Result<bool> {
    if path.is_empty() {
        return Ok(true);
    }
    let mut is_dir = true;
    let listed = ls::run(repo, &choose::selector(snapshot, path), Levels::One, &mut |found, entry| {
        // Listing a file returns the file itself.
        is_dir &= found != path || entry.is_dir();
        Ok(())
    });
    match listed {
        Err(Error::NotFound { .. }) => {
            let path = String::from_utf8_lossy(path);
            Err(Error::Usage(format!("cannot dump file: path \"/{path}\" not found in snapshot")))
        }
        other => other.map(|_| is_dir),
    }
}
