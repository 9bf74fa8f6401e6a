//! `snap key`: manages the passwords of an encrypted repository. Each opens keys with a role.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use snap_backup::codec::crypto::kdf::KdfParams;
use snap_backup::model::config::Role;
use snap_backup::ops::key::{self, Slot};
use snap_backup::repo::repository::Repository;
use snap_backup::{Error, Result};

use crate::args::kdf::{self, Kdf};
use crate::context::Context;
use crate::exit::Outcome;
use crate::password::{self, NewPassword, recovery};
use crate::terminal::output::{self, failed, printable};

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Add a password
    Add(NewKey),
    /// List key slots
    List,
    /// Remove a password (not the one in use)
    Remove {
        /// Id prefix of the key slot
        id: String,
    },
    /// Change the password in use
    Passwd(ChangedKey),
    /// Change the memory and passes that trying the password in use takes
    Rehash {
        #[command(flatten)]
        kdf: Kdf,
    },
    /// Encrypt new data with a new key, which removed passwords do not open
    Rotate {
        #[command(flatten)]
        kdf: Kdf,
    },
}

/// A role on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyRole {
    Full,
    Write,
    Read,
}

impl From<KeyRole> for Role {
    fn from(role: KeyRole) -> Self {
        match role {
            KeyRole::Full => Self::Full,
            KeyRole::Write => Self::Write,
            KeyRole::Read => Self::Read,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct NewKey {
    /// Description of the password
    #[arg(long, default_value = "")]
    pub(crate) label: String,
    /// What the key may do: full; write (make backups, read nothing back); or read (restore and check, write
    /// nothing)
    #[arg(long, value_enum, value_name = "ROLE", default_value = "full", hide_possible_values = true)]
    pub(crate) role: KeyRole,
    #[command(flatten)]
    pub(crate) new: NewPassword,
    /// Generate the password: 24 words with a checksum, to write down or print. It is shown only once
    #[arg(long, conflicts_with_all = ["new_password_file", "new_key_file"])]
    pub(crate) recovery: bool,
    #[command(flatten)]
    pub(crate) kdf: Kdf,
}

#[derive(Debug, Args)]
pub(crate) struct ChangedKey {
    #[command(flatten)]
    pub(crate) new: NewPassword,
    #[command(flatten)]
    pub(crate) kdf: Kdf,
}

pub(crate) fn run(context: &Context, args: &Key) -> Result<Outcome> {
    if let Key::Rotate { kdf } = args {
        return rotate(context, kdf.costs()?);
    }
    context.with(|repo| {
        if !matches!(args, Key::List) {
            // Checked before the user is asked for a password.
            repo.may_write()?;
        }
        let (action, id) = match args {
            Key::List | Key::Rotate { .. } => {
                list(context, repo)?;
                return Ok(Outcome::Done);
            }
            Key::Add(args) if args.recovery => {
                add_recovery(context, repo, args)?;
                return Ok(Outcome::Done);
            }
            Key::Add(args) => {
                let costs = args.kdf.costs()?;
                let password = password::new(&args.new, context.global.json)?;
                ("added", key::add_role(repo, &password, costs, (args.role.into(), &args.label))?)
            }
            Key::Remove { id } => ("removed", key::remove(repo, id)?),
            Key::Passwd(args) => {
                let costs = args.kdf.costs()?;
                ("changed", key::change(repo, &password::replacement(&args.new, &context.global)?, costs)?)
            }
            Key::Rehash { kdf } => {
                let costs = kdf.costs()?;
                let password = password::of_repository(&context.global, &repo.location())?;
                let missing = || Error::NoPassword { location: repo.location() };
                ("rehashed", key::rehash(repo, &password.ok_or_else(missing)?, costs)?)
            }
        };
        if let Key::Add(NewKey { new: NewPassword { new_key_file: None, .. }, .. }) = args
            && context.global.key_file().is_some()
        {
            output::note(context.global.json, "the new password works without the key file");
        }
        if context.global.json {
            output::print(&json!({"message_type": "key", "action": action, "id": id.hex()}).to_string())?;
        } else if context.prints_success() {
            let text = match action {
                "rehashed" => format!("the password is unchanged; the key slot is now {}", id.short()),
                "changed" => format!("the password was changed; the key slot is now {}", id.short()),
                "removed" => format!(
                    "removed key slot {}; anybody who has a copy of it and its password still has the key: \
                     `snap key rotate` protects data that is written later",
                    id.short()
                ),
                action => format!("key slot {} {action}", id.short()),
            };
            output::print(&text)?;
        }
        Ok(Outcome::Done)
    })
}

/// Adds a recovery key. It is printed after it has been verified to open the repository.
fn add_recovery(context: &Context, repo: &Repository, args: &NewKey) -> Result<()> {
    let words = recovery::new()?;
    let label = if args.label.is_empty() { "recovery key" } else { &args.label };
    let id = key::add_role(repo, &words, args.kdf.costs()?, (args.role.into(), label))?;
    if context.global.json {
        let line = json!({"message_type": "key", "action": "added", "id": id.hex(), "recovery_key": *words});
        return output::print(&line.to_string());
    }
    output::print(&recovery::table(&words))?;
    if context.prints_success() {
        output::print(&format!(
            "\nThese words are a password of the repository at {} (key slot {}). They are shown only once: \
             write them down and keep them away from this machine.",
            output::printable(&repo.location()),
            id.short()
        ))?;
    }
    Ok(())
}

fn rotate(context: &Context, costs: KdfParams) -> Result<Outcome> {
    let storage = context.storage()?;
    let found = Repository::discover(&*storage)?.with_key(context.global.key());
    let mut access = context.access(&found, &storage.location())?;
    let repo = context.open_found(storage, &found, &mut access)?;
    context.with_open(&repo, |repo| {
        // Without a password there is no key to rotate, which the operation reports.
        let rotated = key::rotate(repo, &access.password.unwrap_or_default(), costs)?;
        let others: Vec<String> = rotated.others.iter().map(|id| id.short()).collect();
        if context.global.json {
            let line = json!({
                "message_type": "key", "action": "rotated", "id": rotated.id.hex(), "epoch": rotated.epoch,
                "others": rotated.others.iter().map(|id| id.hex()).collect::<Vec<_>>(),
            });
            output::print(&line.to_string())?;
        } else if context.prints_success() {
            let others = match others.as_slice() {
                [] => "no other password is valid".to_owned(),
                [one] => format!("key slot {one} stays valid, too"),
                all => format!("key slots {} stay valid, too", all.join(", ")),
            };
            output::print(&format!(
                "new data is encrypted in epoch {} of the key; the key slot of this password is now {}; \
                 {others}",
                rotated.epoch,
                rotated.id.short()
            ))?;
        }
        Ok(Outcome::Done)
    })
}

fn list(context: &Context, repo: &Repository) -> Result<()> {
    let slots = key::list(repo)?;
    output::emit(|out| {
        if context.global.json {
            let all = slots.iter().map(value).collect();
            return writeln!(out, "{}", Value::Array(all)).map_err(failed);
        }
        for slot in &slots {
            let mark = if slot.current { '*' } else { ' ' };
            let (id, created) = (slot.id.short(), output::local(slot.created));
            let (user, host, label) = (printable(&slot.user), printable(&slot.host), printable(&slot.label));
            let costs = kdf::format_costs(slot.costs);
            let role = role(slot);
            let line = format!("{mark}{id}  {created}  {costs}  {role}  {user}@{host}  {label}");
            writeln!(out, "{}", line.trim_end()).map_err(failed)?;
        }
        Ok(())
    })
}

fn role(slot: &Slot) -> &'static str {
    slot.role.map_or("unknown role", Role::name)
}

fn value(slot: &Slot) -> Value {
    json!({
        "id": slot.id.hex(),
        "short_id": slot.id.short(),
        "current": slot.current,
        "hostName": slot.host,
        "userName": slot.user,
        "created": output::rfc3339(slot.created),
        "label": slot.label,
        "role": role(slot),
        "kdf_memory": u64::from(slot.costs.memory) << 10,
        "kdf_passes": slot.costs.passes,
    })
}
