//! `snap init`: creates a repository.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use clap::{ArgAction, Args};
use serde_json::json;
use snap_backup::repo::divergence;
use snap_backup::repo::options::{ChunkerProfile, InitOptions, SharedChunking};
use snap_backup::repo::repository::Repository;
use snap_backup::storage::{ObjectKind, Storage};
use snap_backup::{Error, Result};

use crate::args::kdf::Kdf;
use crate::args::values;
use crate::context::Context;
use crate::exit::Outcome;
use crate::password;
use crate::terminal::{output, repository_messages};

/// Default compression level of a new repository.
pub(crate) const LEVEL: i32 = 3;

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Do not encrypt: anybody who can access the repository can read the backups
    #[arg(long)]
    pub(crate) no_encryption: bool,
    /// Average chunk size: 64K, 256K or 1M
    #[arg(long, value_name = "SIZE", default_value = "64K", value_parser = chunker)]
    pub(crate) chunker: ChunkerProfile,
    /// Compression if a backup specifies none: fast, default, best, none or a zstd level [default: default]
    #[arg(long, value_name = "LEVEL", value_parser = values::level)]
    pub(crate) compression: Option<i32>,
    /// Allow chunks to be stored as deltas against other chunks: on or off
    #[arg(long, value_name = "SWITCH", default_value = "on", action = ArgAction::Set, value_parser = values::switch)]
    pub(crate) delta: bool,
    /// Prepare for write-only keys, one for each client (`snap key add --role write`)
    #[arg(long, conflicts_with = "no_encryption")]
    pub(crate) for_clients: bool,
    /// Store parity for each pack, as a percentage of its size, to repair some bad sectors
    #[arg(long, value_name = "N%", default_value = "0%", value_parser = values::parity)]
    pub(crate) parity: u8,
    #[command(flatten)]
    pub(crate) kdf: Kdf,
}

/// Settings of a new repository.
pub(crate) struct Make {
    pub(crate) no_encryption: bool,
    pub(crate) chunker: ChunkerProfile,
    pub(crate) level: i32,
    pub(crate) parity: u8,
    /// Whether blocks may be deltas.
    pub(crate) deltas: bool,
    /// Whether there will be write keys.
    pub(crate) clients: bool,
    /// Names and cuts chunks as this one does.
    pub(crate) shared_chunking: Option<SharedChunking>,
    /// What trying the password costs.
    pub(crate) kdf: Kdf,
}

pub(crate) fn run(context: &Context, args: &Init) -> Result<Outcome> {
    let own = context.repository_settings();
    let no_encryption = args.no_encryption || own.no_encryption;
    let level = args.compression.or(own.compression.0).unwrap_or(LEVEL);
    let make = Make {
        no_encryption,
        chunker: args.chunker,
        level,
        parity: args.parity,
        deltas: args.delta,
        clients: args.for_clients,
        shared_chunking: None,
        kdf: args.kdf,
    };
    let repo = create(context, context.storage()?, make)?;
    context.with_open(&repo, |repo| {
        let id = repo.config().repo;
        if context.global.json {
            output::print(
                &json!({"message_type": "initialized", "id": id.hex(), "repository": repo.location()})
                    .to_string(),
            )?;
        } else if context.prints_success() {
            output::print(&made(repo, no_encryption))?;
        }
        Ok(Outcome::Done)
    })
}

/// The options of a verb that creates a missing repository.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    pub(crate) no_encryption: bool,
    pub(crate) parity: u8,
    /// `None` means the configuration's level.
    pub(crate) level: Option<i32>,
    /// Whether --init was given, as opposed to the configuration or the legacy script's variables.
    pub(crate) init: bool,
    pub(crate) dry_run: bool,
}

/// Creates a missing repository, for `backup --init` and `import --init`.
pub(crate) fn make_missing(
    context: &Context,
    storage: Arc<dyn Storage>,
    asked: Missing,
) -> Result<Repository> {
    if asked.dry_run {
        return Err(makes_none(&*storage));
    }
    divergence::refuse_emptied(&*storage, context.global.state().as_deref())?;
    let own = context.repository_settings();
    let level = asked.level.or(own.compression.0).unwrap_or(LEVEL);
    // The legacy backup script needed no password, so its replacement does not ask for one.
    let asked_for = asked.no_encryption || own.no_encryption;
    let unasked = context.legacy_alone().is_some() && !asked.init && !password::is_given(&context.global);
    let no_encryption = asked_for || unasked;
    let (chunker, parity) = (ChunkerProfile::default(), asked.parity);
    let kdf = Kdf::default();
    let make = Make {
        no_encryption,
        chunker,
        level,
        parity,
        deltas: true,
        clients: false,
        shared_chunking: None,
        kdf,
    };
    let repo = create(context, storage, make)?;
    if context.prints_success() && !context.global.json {
        output::print(&made(&repo, no_encryption))?;
    }
    Ok(repo)
}

/// Returns the error of a dry run for which the repository would have to be created first.
pub(crate) fn makes_none(storage: &dyn Storage) -> Error {
    let place = storage.location();
    Error::Usage(format!(
        "there is no repository at {place} yet, and --dry-run creates none: run the command without it \
         first"
    ))
}

/// Creates a repository. Also used by `backup --init`.
pub(crate) fn create(
    context: &Context,
    storage: Arc<dyn Storage>,
    Make { no_encryption, chunker, level, parity, deltas, clients, shared_chunking, kdf }: Make,
) -> Result<Repository> {
    // Check first, so that nobody is asked for a password that would not be used.
    if Repository::exists(&*storage).map_err(more_is_missing)? {
        return Err(Error::RepositoryExists { location: storage.location() });
    }
    let costs = kdf.costs()?;
    context.may_make(&*storage)?;
    warn_of_neighbours(context, &*storage);
    let password = if no_encryption {
        if password::is_given(&context.global) {
            let why = "a password and --no-encryption contradict each other: use only one of them";
            return Err(Error::Usage(why.to_owned()));
        }
        if kdf.is_given() {
            let why =
                "--kdf-memory and --kdf-passes apply to passwords: they cannot be used with --no-encryption";
            return Err(Error::Usage(why.to_owned()));
        }
        None
    } else if let Some(password) = password::of_new_repository(&context.global)? {
        Some(password)
    } else {
        return Err(Error::Usage(
            "no password for the new repository: give one with --password-file, --password-command or \
             SNAP_PASSWORD, or pass --no-encryption"
                .to_owned(),
        ));
    };
    let (cache, state) = (context.global.cache(), context.global.state());
    let shared_chunking =
        shared_chunking.filter(|shared_chunking| shared_chunking.allows(password.is_some()));
    let options = InitOptions {
        password,
        kdf: costs,
        chunker,
        level,
        cache,
        state,
        parity,
        deltas,
        clients,
        shared_chunking,
        control: repository_messages::control(),
        ..InitOptions::default()
    };
    let repo = Repository::init(Arc::clone(&storage), &options).map_err(more_is_missing)?;
    let weakness = storage.weakness()?;
    // A caution is about a weakness, and also says what follows from it.
    let cautions = storage.cautions();
    let warning = weakness.filter(|_| cautions.is_empty()).map(|kind| {
        format!(
            "the repository is on {kind}: garbage collections delete nothing there while other processes use it"
        )
    });
    cautions.iter().chain(&warning).for_each(|text| output::warn(context.global.json, text));
    Ok(repo)
}

/// Converts an error of the creation: here, a missing repository means that its bucket or parent is
/// missing.
fn more_is_missing(err: Error) -> Error {
    match err {
        Error::NoRepository { location } => {
            let (place, why) = location.split_once(": ").unwrap_or((&location, "it cannot be created there"));
            Error::CannotInit { location: place.to_owned(), why: why.to_owned() }
        }
        other => other,
    }
}

/// Warns if the directory contains other files: a repository is easier to move, delete and keep apart in a
/// directory of its own. Archives of the legacy backup script may be there, as its documentation describes.
pub(crate) fn warn_of_neighbours(context: &Context, storage: &dyn Storage) {
    let location = storage.location();
    let entries = Path::new(&location).is_absolute().then(|| fs::read_dir(&location).ok()).flatten();
    let own = |name: &str| name == "lost+found" || ObjectKind::ALL.iter().any(|area| area.folder() == name);
    let names =
        entries.into_iter().flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| !own(name)).collect();
    names.sort();
    let Some(first) = names.first().filter(|_| context.legacy_alone().is_none()) else { return };
    let others = output::count(names.len() as u64, "other entry", "other entries");
    output::warn(
        context.global.json,
        &format!(
            "{location} contains {others} ({first}{}): the repository is created among them; a separate \
             directory, such as {location}/repository, would be easier to move and to delete",
            if names.len() > 1 { " ..." } else { "" }
        ),
    );
}

/// Returns what the user should know about a new repository.
pub(crate) fn made(repo: &Repository, no_encryption: bool) -> String {
    let care = if no_encryption {
        "it is not encrypted: anybody who can read its files can read the backups"
    } else {
        "keep the password: without it the repository cannot be read"
    };
    format!(
        "created repository {} at {}\n{care}",
        repo.config().repo.short(),
        output::printable(&repo.location())
    )
}

fn chunker(text: &str) -> Result<ChunkerProfile, String> {
    match text.to_ascii_uppercase().trim_end_matches("IB") {
        "64K" => Ok(ChunkerProfile::K64),
        "256K" => Ok(ChunkerProfile::K256),
        "1M" => Ok(ChunkerProfile::M1),
        _ => Err("one of 64K, 256K and 1M".to_owned()),
    }
}
