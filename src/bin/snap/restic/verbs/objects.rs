//! Verbs about the repository as such: `init`, `cat`, `list`, `key`, `version`, `cache`.

use serde_json::{Value, json};
use snap_backup::ops::key;
use snap_backup::repo::options::{ChunkerProfile, SharedChunking};
use snap_backup::repo::pack::header_bundles;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::sessions::session::RepoState;
use snap_backup::repo::snapshots;
use snap_backup::{Error, Result};

use crate::args::kdf::Kdf;
use crate::commands::init;
use crate::context::Context;
use crate::password::{self, NewPassword};
use crate::restic::codes::{End, refused};
use crate::restic::flags::Filters;
use crate::restic::lines::Column;
use crate::restic::{choose, flags, ids, lines, shapes, variables};
use crate::terminal::output;

/// The version of restic whose command line is implemented.
pub(in crate::restic) const RESTIC: &str = "0.19.1";
const SNAP: &str = concat!("snap ", env!("CARGO_PKG_VERSION"));
/// A placeholder, because callers expect a polynomial; snap's chunker does not use one.
const POLYNOMIAL: &str = "3bbdf8b44273c3";

pub(in crate::restic) fn version(json: bool) -> Result<End> {
    let (os, arch) = (std::env::consts::OS, architecture());
    let text = if json {
        json!({
            "message_type": "version",
            "version": RESTIC,
            "go_version": SNAP,
            "go_os": os,
            "go_arch": arch,
        })
        .to_string()
    } else {
        format!("restic {RESTIC} compiled with {SNAP} on {os}/{arch}")
    };
    output::print(&text).map(|()| End::Done)
}

/// Returns the architecture by Go's name.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

pub(in crate::restic) fn init(context: &Context, args: &flags::Init, level: Option<i32>) -> Result<End> {
    if !["2", "latest", "stable"].contains(&args.repository_version.as_str()) {
        return Err(refused(
            &format!("--repository-version {}", args.repository_version),
            "repositories have snap's format",
        ));
    }
    let shared_chunking = if !args.copy_chunker_params {
        None
    } else {
        let other = Context::plain(variables::other(&context.global, &args.from)?);
        Some(other.with(|repo| Ok(SharedChunking::of(repo)))?)
    };
    let make = init::Make {
        no_encryption: context.global.insecure_no_password,
        chunker: ChunkerProfile::default(),
        level: level.unwrap_or(init::LEVEL),
        parity: 0,
        deltas: true,
        clients: false,
        shared_chunking,
        kdf: Kdf::default(),
    };
    if !make.no_encryption && !password::is_given(&context.global) && !password::is_asked_for(&context.global)
    {
        return Err(Error::NoPassword { location: String::new() });
    }
    let repo = init::create(context, context.storage()?, make)?;
    context.with_open(&repo, |repo| {
        let (id, location) = (ids::long_repo(&repo.config().repo), repo.location());
        if context.global.json {
            let value = json!({"message_type": "initialized", "id": id, "repository": location});
            return output::print(&value.to_string()).map(|()| End::Done);
        }
        if !context.global.quiet {
            let short: String = id.chars().take(10).collect();
            output::print(&format!(
                "created restic repository {short} at {}\n\nPlease note that knowledge of your password is required to \
                 access\nthe repository. Losing your password means that your data is\nirrecoverably lost.",
                output::printable(&location)
            ))?;
        }
        Ok(End::Done)
    })
}

pub(in crate::restic) fn cat(context: &Context, words: &[String]) -> Result<End> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let value = match words.as_slice() {
        ["config"] => context.with(|repo| {
            let id = ids::long_repo(&repo.config().repo);
            Ok(json!({"version": 2, "id": id, "chunker_polynomial": POLYNOMIAL}))
        })?,
        ["snapshot", name] => context.with(|repo| {
            let found = choose::one(repo, name, &Filters::default())?;
            Ok(Value::Object(shapes::manifest(&found.0)))
        })?,
        ["key", name] => context.with(|repo| {
            let slots = key::list(repo)?;
            let found = slots.iter().find(|slot| slot.id.hex().starts_with(name));
            let slot = found.ok_or_else(|| Error::Usage(crate::restic::codes::no_match(name)))?;
            let created = output::rfc3339(slot.created);
            Ok(json!({"created": created, "username": slot.user, "hostname": slot.host}))
        })?,
        [kind @ ("masterkey" | "pack" | "blob" | "tree" | "index" | "lock"), ..] => {
            return Err(refused(
                &format!("cat {kind}"),
                "the objects of a snap repository have other formats",
            ));
        }
        ["snapshot" | "key"] => return Err(Error::Usage("ID not specified".to_owned())),
        [kind, ..] => {
            return Err(Error::Usage(format!(
                "invalid type \"{kind}\", must be one of [config|index|snapshot|key|masterkey|lock|pack|blob|tree]"
            )));
        }
        [] => return Err(Error::Usage("type not specified".to_owned())),
    };
    let text = serde_json::to_string_pretty(&value).map_err(|_| Error::Bug { what: "JSON is text" })?;
    output::print(&text).map(|()| End::Done)
}

pub(in crate::restic) fn list(context: &Context, words: &[String]) -> Result<End> {
    let [kind] = words else { return Err(Error::Usage("type not specified".to_owned())) };
    let names = context.with(|repo| names(repo, kind))?;
    output::emit(|out| names.iter().try_for_each(|name| writeln!(out, "{name}")).map_err(output::failed))?;
    Ok(End::Done)
}

fn names(repo: &Repository, kind: &str) -> Result<Vec<String>> {
    match kind {
        // There are no locks.
        "locks" => Ok(Vec::new()),
        "snapshots" => Ok(snapshots::list(repo)?.iter().map(|one| ids::long(&one.id)).collect()),
        "keys" => Ok(key::list(repo)?.iter().map(|slot| slot.id.hex()).collect()),
        "packs" => Ok(RepoState::packs(repo.storage())?.iter().map(|(id, _)| id.hex()).collect()),
        "index" => {
            Ok(header_bundles::open_all(repo)?.into_iter().map(|(name, _)| format!("{name:0<64}")).collect())
        }
        "blobs" => Err(refused("list blobs", "`snap stats` counts chunks")),
        other => Err(Error::Usage(format!("invalid argument \"{other}\" for \"restic list\""))),
    }
}

pub(in crate::restic) fn key(context: &Context, args: &flags::Key) -> Result<End> {
    context.with(|repo| match args {
        flags::Key::List => key_list(context, repo),
        flags::Key::Add(args) => {
            let id = key::add(repo, &new_password(context, args)?, Kdf::default().costs()?, "")?;
            output::print(&format!("saved new key with ID {}", id.short())).map(|()| End::Done)
        }
        flags::Key::Passwd(args) => {
            let id = key::change(repo, &new_password(context, args)?, Kdf::default().costs()?)?;
            output::print(&format!("saved new key as {}", id.short())).map(|()| End::Done)
        }
        flags::Key::Remove { id } => {
            let id = key::remove(repo, id)?;
            output::print(&format!("removed key {}", id.hex())).map(|()| End::Done)
        }
    })
}

fn new_password(context: &Context, args: &flags::NewKey) -> Result<zeroize::Zeroizing<String>> {
    for (given, name) in [
        (args.new_insecure_no_password, "--new-insecure-no-password"),
        (args.host.is_some(), "--host"),
        (args.user.is_some(), "--user"),
    ] {
        if given {
            return Err(refused(name, "a key has a password, and says where and by whom it was made"));
        }
    }
    password::new(
        &NewPassword { new_password_file: args.new_password_file.clone(), new_key_file: None },
        context.global.json,
    )
}

fn key_list(context: &Context, repo: &Repository) -> Result<End> {
    let slots = key::list(repo)?;
    if context.global.json {
        let value = |slot: &key::Slot| {
            json!({
                "current": slot.current,
                "id": slot.id.hex(),
                "userName": slot.user,
                "hostName": slot.host,
                "created": output::local(slot.created),
            })
        };
        return output::print(&slots.iter().map(value).collect::<Value>().to_string()).map(|()| End::Done);
    }
    let column = |head, cell: &dyn Fn(&key::Slot) -> String| Column {
        head,
        cells: slots.iter().map(|slot| vec![cell(slot)]).collect(),
    };
    let columns = [
        column(" ID", &|slot| format!("{}{}", if slot.current { '*' } else { ' ' }, slot.id.short())),
        column("User", &|slot| output::printable(&slot.user)),
        column("Host", &|slot| output::printable(&slot.host)),
        column("Created", &|slot| output::local(slot.created)),
    ];
    output::print(&lines::table(&columns, &[]).join("\n")).map(|()| End::Done)
}

/// Prints the number of caches and their directory. The cache needs no cleanup.
pub(in crate::restic) fn cache(context: &Context, args: &flags::Cache) -> Result<End> {
    let Some(dir) = context.global.cache() else { return Ok(End::Done) };
    let number = std::fs::read_dir(&dir)
        .map_or(0, |entries| entries.flatten().filter(|one| one.path().is_dir()).count());
    let sizes = if args.no_size { "" } else { ", sizes: `du`" };
    let text = format!("{number} cache dirs in {}{sizes}", dir.display());
    output::print(&output::printable(&text)).map(|()| End::Done)
}
