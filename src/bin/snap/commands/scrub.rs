//! `snap check --scrub`: checks whether packs and key slots match their names.

use std::time::Duration;

use serde_json::json;
use snap_backup::ops::check::scrub::{self, Budget, Options, Report};
use snap_backup::repo::repository::Repository;
use snap_backup::{Control, Result};

use crate::context::Context;
use crate::exit::Outcome;
use crate::password;
use crate::terminal::output::{self, count, size};
use crate::terminal::progress::{Progress, stop_on_signals};

pub(crate) fn run(context: &Context, max_age: Option<Duration>, budget: Option<Budget>) -> Result<Outcome> {
    let options = Options { max_age, budget };
    let storage = context.storage()?;
    context.begin("check", false, |_| {});
    // Recording damage needs the keys. A configured password is used, but the user is not asked for one.
    let open = !Repository::is_encrypted(&*storage)? || password::is_given(&context.global);
    let repo = open.then(|| context.open(std::sync::Arc::clone(&storage))).transpose()?;
    let stop = stop_on_signals()?;
    let cache = context.global.cache();
    let progress = Progress::start(&context.global, "scrub", false);
    let result = scrub::run(
        &*storage,
        cache.as_deref(),
        repo.as_ref(),
        &options,
        &Control::new(&progress).with_cancel(&stop),
    );
    drop(progress);
    repo.iter().for_each(|repo| context.pass_on_warnings(repo));
    let report = result?;
    context.recorder.update(|record| {
        record.numbers.bytes_read = Some(report.bytes);
        record.numbers.problems = Some(report.errors.len() as u64);
        report.errors.iter().take(1).for_each(|error| record.set_error(&error.to_string()));
    });
    print(context, &report, repo.is_some())?;
    Ok(if report.errors.is_empty() { Outcome::Done } else { Outcome::Damage })
}

/// Returns the wording of findings or remarks.
pub(super) fn texts(said: &[impl ToString]) -> Vec<String> {
    said.iter().map(ToString::to_string).collect()
}

fn print(context: &Context, report: &Report, written_down: bool) -> Result<()> {
    if context.global.json {
        let summary = json!({
            "message_type": "summary",
            "num_errors": report.errors.len(),
            "errors": texts(&report.errors),
            "packs": report.packs,
            "packs_read": report.read,
            "bytes_read": report.bytes,
            "packs_recent": report.recent,
            "packs_later": report.later,
        });
        return output::print(&summary.to_string());
    }
    for error in &report.errors {
        output::error(&error.to_string());
    }
    if !report.errors.is_empty() {
        output::hint(if written_down {
            "`snap check` lists what is affected; then back up again, and run `snap repair packs` \
             (docs/repair.md)"
        } else {
            "with the password, `snap check --read-data` records the damage and lists what is affected"
        });
    }
    if !context.prints_success() {
        return Ok(());
    }
    let mut text = format!(
        "verified {} of {} ({} read)",
        report.read,
        count(report.packs, "pack", "packs"),
        size(report.bytes)
    );
    if report.recent > 0 {
        text += &format!("; {} verified recently", report.recent);
    }
    if report.later > 0 {
        text += &format!("; {} left for the next run", report.later);
    }
    output::print(&text)
}
