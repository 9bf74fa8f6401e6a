//! `snap repair known`: accepts the repository that is at the location now.

use serde_json::json;
use snap_backup::ops::gc;
use snap_backup::repo::divergence;
use snap_backup::repo::options::OpenOptions;
use snap_backup::repo::repository::Repository;
use snap_backup::run_log::known::KnownPlace;
use snap_backup::{Error, Result};

use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::{output, repository_messages};

pub(crate) fn run(context: &Context, dry_run: bool) -> Result<Outcome> {
    let storage = context.storage()?;
    let known = KnownPlace::new(context.global.state().as_deref(), &storage.location());
    if !Repository::exists(&*storage)? {
        if known.read().repositories.is_empty() {
            return Err(Error::NoRepository { location: storage.location() });
        }
        let what = vec!["there is no longer a repository".to_owned()];
        if !dry_run {
            known.clear()?;
        }
        return print(context, &what, dry_run);
    }
    let mut differences = divergence::of_place(&*storage, &known)?;
    let found = Repository::discover(&*storage)?;
    let access = OpenOptions { accept: !dry_run, ..context.access(&found, &storage.location())? };
    if dry_run && !differences.is_empty() {
        return print(context, &differences, dry_run);
    }
    let repo = Repository::open_found(storage, found, &access)?;
    let missing = gc::missing(&repo)?;
    differences.extend(missing.describe());
    if !dry_run {
        missing.accept(&repo)?;
        repo.accept()?;
    }
    for what in repo.divergence()? {
        if !differences.contains(&what) {
            differences.push(what);
        }
    }
    // Discards the warnings: they are about the differences that were just accepted.
    repository_messages::take_warnings(&repo);
    print(context, &differences, dry_run)
}

fn print(context: &Context, differences: &[String], dry_run: bool) -> Result<Outcome> {
    if context.global.json {
        let summary = json!({"message_type": "summary", "differences": differences, "dry_run": dry_run});
        return output::print(&summary.to_string()).map(|()| Outcome::Done);
    }
    for what in differences {
        let does = if dry_run { "would accept" } else { "accepted" };
        output::print(&format!("{does}: {}", output::printable(what)))?;
    }
    if differences.is_empty() && context.prints_success() {
        output::print("the repository matches this machine's records")?;
    }
    Ok(Outcome::Done)
}
