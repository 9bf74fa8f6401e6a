//! The second repository of a verb that uses two, and its password.

use std::env;
use std::ffi::OsString;
use std::sync::Arc;

use clap::{ArgMatches, Args};
use snap_backup::repo::options::{InitOptions, SharedChunking};
use snap_backup::repo::repository::Repository;
use snap_backup::storage::Storage;
use snap_backup::{Error, Result};

use crate::args::kdf::Kdf;
use crate::context::Context;
use crate::password;
use crate::terminal::repository_messages;

/// The variable that replaces SNAP_PASSWORD for the second repository.
const VARIABLE: &str = "SNAP_TO_PASSWORD";

/// Where to. What opens it is, in this order: what is said of it here, what the configuration says of it, and
/// what opens the first one.
#[derive(Debug, Args)]
#[command(next_help_heading = "Other repository")]
pub(crate) struct Other {
    /// Destination: a name in the configuration, a directory or a URL, as for -r
    #[arg(long, value_name = "REPO")]
    pub(crate) to: OsString,
    /// Read its password from this file [default: SNAP_TO_PASSWORD, else the configuration, else the password
    /// of the source]
    #[arg(long, env = "SNAP_TO_PASSWORD_FILE", value_name = "FILE")]
    to_password_file: Option<OsString>,
    /// Read its password from the output of this shell command
    #[arg(long, env = "SNAP_TO_PASSWORD_COMMAND", value_name = "COMMAND", hide_env_values = true)]
    to_password_command: Option<OsString>,
    /// Its key file, like --key-file for the source repository
    #[arg(long, env = "SNAP_TO_KEY_FILE", value_name = "FILE")]
    to_key_file: Option<OsString>,
    /// The other repository is not encrypted
    #[arg(long)]
    to_insecure_no_password: bool,
}

impl Other {
    /// Chooses the source of its password. A flag takes precedence over a variable.
    pub(crate) fn choose_password(&mut self, matches: &ArgMatches) -> Result<(), String> {
        let (file, command) = (&mut self.to_password_file, &mut self.to_password_command);
        password::choose(matches, ["to_password_file", "to_password_command"], file, command, VARIABLE)
    }

    /// Returns the context for the second repository.
    pub(crate) fn context(&self, context: &Context) -> Context {
        let mut other = context.for_repository(&self.to);
        let given = |value: &Option<OsString>| value.clone().filter(|value| !value.is_empty());
        let (file, command) = (given(&self.to_password_file), given(&self.to_password_command));
        let variable = env::var_os(VARIABLE).is_some_and(|value| !value.is_empty());
        let own = other.repository_settings();
        let global = &mut other.global;
        global.insecure_no_password = self.to_insecure_no_password;
        // This option is an id of the first repository's key slots.
        global.key = None;
        let key_file = given(&self.to_key_file).or(own.key_file.map(Into::into));
        if file.is_some() || command.is_some() || variable {
            global.key_file = key_file;
            (global.password_file, global.password_command) = (file, command);
            global.password_variable = VARIABLE;
        } else if own.password_file.is_some() || own.password_command.is_some() {
            global.key_file = key_file;
            global.password_file = own.password_file.map(Into::into);
            global.password_command = own.password_command.map(|command| command.0.into());
        } else if key_file.is_some() {
            global.key_file = key_file;
        }
        other
    }

    /// Creates the second repository. It shares chunk names with the first one if that is possible.
    pub(crate) fn make(
        other: &Context,
        storage: Arc<dyn Storage>,
        from: &Repository,
        no_encryption: bool,
    ) -> Result<Repository> {
        let kdf = Kdf::default().costs()?;
        other.may_make(&*storage)?;
        crate::commands::init::warn_of_neighbours(other, &*storage);
        let password = if no_encryption { None } else { password::of_new_repository(&other.global)? };
        if password.is_none() && !no_encryption {
            return Err(Error::Usage(
                "no password for the new repository: give one with --to-password-file, \
                 --to-password-command or SNAP_TO_PASSWORD, or pass --no-encryption"
                    .to_owned(),
            ));
        }
        let shared_chunking = Some(SharedChunking::of(from))
            .filter(|shared_chunking| shared_chunking.allows(password.is_some()));
        let (level, cache, control) =
            (from.config().level, other.global.cache(), repository_messages::control());
        Repository::init(
            storage,
            &InitOptions { password, kdf, level, cache, shared_chunking, control, ..InitOptions::default() },
        )
    }
}
