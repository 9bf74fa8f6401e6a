//! `snap init`: makes a repository.

use std::sync::Arc;

use serde_json::json;
use snap_backup::store::repository::{ChunkerProfile, InitOptions, Repository};
use snap_backup::store::storage::Storage;
use snap_backup::{Error, Result};

use super::Context;
use crate::args;
use crate::report::Outcome;
use crate::{output, password};

pub(super) fn run(context: &Context, args: &args::Init) -> Result<Outcome> {
    let repo = create(context, context.storage()?, args.no_encryption, args.chunker, args.compression)?;
    context.watch(&repo, |repo| {
        let id = repo.config().repo;
        if context.global.json {
            output::tell(
                &json!({"message_type": "initialized", "id": id.hex(), "repository": repo.location()})
                    .to_string(),
            )?;
        } else if context.talks() {
            output::tell(&made(repo, args.no_encryption))?;
        }
        Ok(Outcome::Done)
    })
}

/// Also for `backup --init`.
pub(super) fn create(
    context: &Context,
    storage: Arc<dyn Storage>,
    no_encryption: bool,
    chunker: ChunkerProfile,
    level: i32,
) -> Result<Repository> {
    let password = if no_encryption {
        if password::is_given(&context.global) {
            let why = "a password and --no-encryption contradict each other: leave out one of them";
            return Err(Error::Usage(why.to_owned()));
        }
        None
    } else if let Some(password) = password::first(&context.global)? {
        Some(password)
    } else {
        return Err(Error::Usage(
            "no password for the new repository: give one with --password-file, --password-command or \
             SNAP_PASSWORD, or pass --no-encryption to make it without"
                .to_owned(),
        ));
    };
    Repository::init(storage, &InitOptions { password, chunker, level, cache: context.global.cache() })
}

/// What a person should know about a repository just made.
pub(super) fn made(repo: &Repository, no_encryption: bool) -> String {
    let care = if no_encryption {
        "it is not encrypted: whoever can read it can read what is saved in it"
    } else {
        "keep the password: without it nothing in the repository can be read"
    };
    format!(
        "made repository {} at {}\n{care}",
        repo.config().repo.short(),
        output::printable(&repo.location())
    )
}
