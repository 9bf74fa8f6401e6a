//! `snap key`: manages the passwords of an encrypted repository. Each of them opens the same master key.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use snap_backup::ops::key;
use snap_backup::ops::key::Slot;
use snap_backup::repo::repository::Repository;
use snap_backup::{Error, Result};

use crate::args::kdf;
use crate::args::kdf::Kdf;
use crate::context::Context;
use crate::exit::Outcome;
use crate::password;
use crate::password::NewPassword;
use crate::terminal::output;
use crate::terminal::output::{failed, printable};

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Add a password
    Add(NewKey),
    /// List key slots
    List,
    /// Remove a password, not the one in use
    Remove {
        /// Beginning of the id of the slot
        id: String,
    },
    /// Change the password in use
    Passwd(ChangedKey),
    /// Keep the password in use and let each try of it cost more or less
    Rehash {
        #[command(flatten)]
        kdf: Kdf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct NewKey {
    /// What the password is for
    #[arg(long, default_value = "")]
    pub(crate) label: String,
    #[command(flatten)]
    pub(crate) new: NewPassword,
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
    context.with(|repo| {
        let (action, id) = match args {
            Key::List => {
                list(context, repo)?;
                return Ok(Outcome::Done);
            }
            Key::Add(args) => {
                let costs = args.kdf.costs()?;
                let password = password::new(&args.new, context.global.json)?;
                ("added", key::add(repo, &password, costs, &args.label)?)
            }
            Key::Remove { id } => ("removed", key::remove(repo, id)?),
            Key::Passwd(args) => {
                let costs = args.kdf.costs()?;
                ("changed", key::change(repo, &password::new(&args.new, context.global.json)?, costs)?)
            }
            Key::Rehash { kdf } => {
                let costs = kdf.costs()?;
                let password = password::existing(&context.global, &repo.location())?;
                let missing = || Error::NoPassword { location: repo.location() };
                ("rehashed", key::rehash(repo, &password.ok_or_else(missing)?, costs)?)
            }
        };
        if context.global.json {
            output::tell(&json!({"message_type": "key", "action": action, "id": id.hex()}).to_string())?;
        } else if context.talks() {
            let text = match action {
                "rehashed" => format!("the same password; the key slot is now {}", id.short()),
                "changed" => format!("password changed; the key slot is now {}", id.short()),
                action => format!("key slot {} {action}", id.short()),
            };
            output::tell(&text)?;
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
            let costs = kdf::written(slot.costs);
            let line = format!("{mark}{id}  {created}  {costs}  {user}@{host}  {label}");
            writeln!(out, "{}", line.trim_end()).map_err(failed)?;
        }
        Ok(())
    })
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
        "kdf_memory": u64::from(slot.costs.memory) << 10,
        "kdf_passes": slot.costs.passes,
    })
}
