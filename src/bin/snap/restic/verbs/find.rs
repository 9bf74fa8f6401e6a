//! `restic find`.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use snap_backup::model::entry::Entry;
use snap_backup::ops::find::{self, Options};
use snap_backup::repo::snapshots::Snapshot;
use snap_backup::{Control, Error, Result};

use crate::args::times;
use crate::context::Context;
use crate::restic::codes::{End, refused};
use crate::restic::watch::Watch;
use crate::restic::{choose, flags, ids, shapes};
use crate::terminal::output::{self, failed};
use crate::terminal::progress::stop_on_signals;

/// Matches in one snapshot, in the order of paths.
type Matches = Vec<(Vec<u8>, Entry)>;

pub(in crate::restic) fn run(context: &Context, args: &flags::Find) -> Result<End> {
    for (given, name) in [
        (args.blob, "--blob"),
        (args.tree, "--tree"),
        (args.pack, "--pack"),
        (args.show_pack_id, "--show-pack-id"),
    ] {
        if given {
            return Err(refused(name, "`snap find --chunk ID` finds the files that need a chunk"));
        }
    }
    if args.patterns.is_empty() {
        return Err(Error::Usage("wrong number of arguments".to_owned()));
    }
    let time = |text: &Option<String>| text.as_deref().map(times::past).transpose().map_err(Error::Usage);
    let (newer, older) = (time(&args.oldest)?, time(&args.newest)?);
    let mut found = context.with(|repo| {
        let chosen = choose::several(repo, &args.snapshot, &args.filters)?;
        if chosen.is_empty() {
            return Ok(Vec::new());
        }
        let options = Options {
            choice: choose::exactly(&chosen),
            patterns: args.patterns.clone(),
            ignore_case: args.ignore_case,
            newer,
            older,
            ..Options::default()
        };
        let mut all: BTreeMap<usize, (Snapshot, Matches)> = BTreeMap::new();
        let watch = Watch::start(&context.global, "find", false);
        find::run(
            repo,
            &options,
            &mut |one| {
                for at in one.among.iter() {
                    let Some(snapshot) = one.snapshots.get(at) else { continue };
                    let (_, matches) = all.entry(at).or_insert_with(|| (snapshot.clone(), Vec::new()));
                    matches.push((one.path.to_vec(), one.entry.clone()));
                }
                Ok(())
            },
            &Control::new(&watch).with_cancel(&stop_on_signals()?),
        )?;
        Ok(all.into_values().collect())
    })?;
    if !args.reverse {
        found.reverse();
    }
    if context.global.json {
        print_json(&found)?
    } else {
        print(args, &found, context.global.quiet)?
    }
    Ok(End::Done)
}

fn print_json(found: &[(Snapshot, Matches)]) -> Result<()> {
    let all: Vec<Value> = found
        .iter()
        .map(|(snapshot, matches)| {
            let objects: Vec<Value> =
                matches.iter().map(|(path, entry)| Value::Object(shapes::found(path, entry))).collect();
            json!({"matches": objects, "hits": matches.len(), "snapshot": ids::long(&snapshot.id)})
        })
        .collect();
    output::emit(|out| writeln!(out, "{}", Value::from(all)).map_err(failed))
}

fn print(args: &flags::Find, found: &[(Snapshot, Matches)], quiet: bool) -> Result<()> {
    output::emit(|out| {
        for (number, (snapshot, matches)) in found.iter().enumerate() {
            let space = if number > 0 { "\n" } else { "" };
            let (id, time) = (snapshot.id.short(), output::local(snapshot.manifest.started));
            if !quiet {
                writeln!(out, "{space}Found matching entries in snapshot {id} from {time}")
                    .map_err(failed)?;
            }
            for (path, entry) in matches {
                let line = if args.long {
                    shapes::long(path, entry, args.human_readable)
                } else {
                    shapes::rooted(path)
                };
                writeln!(out, "{line}").map_err(failed)?;
            }
        }
        Ok(())
    })
}
