//! `snap mount`: mounts the snapshots as directories.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use snap_backup::Result;
use snap_backup::ops::mount::Options;
use snap_backup::repo::snapshots::filter::SnapshotFilter;

use super::shared::select::{self, Among};
use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::output;
use crate::{mount, password};

#[derive(Debug, Args)]
pub(crate) struct Mount {
    /// An empty directory
    #[arg(value_name = "DIR")]
    pub(crate) target: PathBuf,
    /// Stay in the foreground until the directory is unmounted
    #[arg(short, long)]
    pub(crate) foreground: bool,
    /// Allow other users access, as modes and ACLs permit
    #[arg(long)]
    pub(crate) allow_other: bool,
    /// Show owners by number, not by name
    #[arg(long)]
    pub(crate) numeric_ids: bool,
    #[command(flatten)]
    pub(crate) among: Among,
}

pub(crate) fn run(context: &Context, args: &Mount) -> Result<Outcome> {
    args.among.with(context, |context, selection| mount(context, args, selection))
}

fn mount(context: &Context, args: &Mount, selection: SnapshotFilter) -> Result<Outcome> {
    let target = mount::check(&args.target)?;
    context.guard().check(&target)?;
    let log = mount::log(context.global.state());
    let options = Options { selection, numeric_ids: args.numeric_ids, others: args.allow_other };
    let how = mount::how_to_unmount(&target);
    if args.foreground || mount::is_child() {
        context.with(|repo| {
            select::warn_if_unmatched(context, repo, &options.selection)?;
            mount::serve(repo, &target, options, args.allow_other, || {
                if mount::is_child() {
                    return mount::ready(log.as_deref());
                }
                print(
                    context,
                    &target,
                    None,
                    &format!("mounted at {}; `{how}` or Ctrl-C unmounts it", target.display()),
                )
            })
        })?;
        return Ok(Outcome::Done);
    }
    let storage = context.storage()?;
    let found = context.find(&*storage)?;
    let mut access = context.access(&found, &storage.location())?;
    if password::is_asked_for(&context.global) {
        // The background process has no terminal to ask again.
        drop(context.open_found(storage, &found, &mut access)?);
    }
    let id = match mount::start(access.password.as_ref().map(|password| password.as_str()))? {
        Ok(id) => id,
        Err(ended) => return Ok(ended),
    };
    print(context, &target, Some(id), &format!("mounted at {}; `{how}` unmounts it", target.display()))?;
    Ok(Outcome::Done)
}

fn print(context: &Context, target: &std::path::Path, pid: Option<u32>, text: &str) -> Result<()> {
    if context.global.json {
        let pid = pid.unwrap_or_else(std::process::id);
        let line = json!({"message_type": "mounted", "target": target.display().to_string(), "pid": pid});
        return output::print(&line.to_string());
    }
    if context.prints_success() { output::print(text) } else { Ok(()) }
}
