//! `snap undelete`: restores forgotten snapshots from the trash.

use clap::Args;
use serde_json::json;
use snap_backup::Result;
use snap_backup::ops::forget;

use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::output;

#[derive(Debug, Args)]
pub(crate) struct Undelete {
    /// Id prefix; without any, list what can be brought back
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &Undelete) -> Result<Outcome> {
    context.with(|repo| {
        if args.ids.is_empty() {
            return list(context, &forget::trashed(repo)?);
        }
        let back = forget::undelete(repo, &args.ids)?;
        if context.global.json {
            let ids: Vec<String> = back.iter().map(|id| id.hex()).collect();
            output::print(&json!({"message_type": "summary", "undeleted": ids}).to_string())?;
        } else if context.prints_success() {
            for id in &back {
                output::print(&format!("brought back snapshot {}", id.short()))?;
            }
        }
        Ok(Outcome::Done)
    })
}

type Trashed =
    (snap_backup::repo::sessions::trash_entries::TrashEntry, snap_backup::repo::snapshots::Snapshot);

fn list(context: &Context, trashed: &[Trashed]) -> Result<Outcome> {
    if context.global.json {
        let all: Vec<_> = trashed.iter().map(|(_, snapshot)| output::snapshot(snapshot)).collect();
        output::print(&serde_json::Value::from_iter(all).to_string())?;
        return Ok(Outcome::Done);
    }
    for (entry, snapshot) in trashed {
        let forgotten = entry.at.map_or_else(|| "some time ago".to_owned(), output::local);
        output::print(&format!(
            "{}  {}  {}  forgotten {forgotten}",
            snapshot.id.short(),
            output::local(snapshot.manifest.started),
            snapshot.manifest.kind
        ))?;
    }
    if trashed.is_empty() && context.prints_success() {
        output::print("the trash is empty")?;
    }
    Ok(Outcome::Done)
}
