//! Where passwords come from. They are kept in memory that is wiped, and never printed.

use std::env;
use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use snap_backup::{Error, Result};
use zeroize::Zeroizing;

use crate::args::Global;
use crate::output;

/// Where a new password comes from.
#[derive(Debug, Args)]
pub(crate) struct NewPassword {
    /// Read the new password from this file (else SNAP_NEW_PASSWORD, else it is asked for)
    #[arg(long, value_name = "FILE")]
    pub(crate) new_password_file: Option<PathBuf>,
}

type Password = Zeroizing<String>;

pub(crate) const VARIABLE: &str = "SNAP_PASSWORD";
const NEW_VARIABLE: &str = "SNAP_NEW_PASSWORD";

/// Whether a flag or a variable gives a password: a prompt is not counted.
pub(crate) fn is_given(global: &Global) -> bool {
    !global.insecure_no_password
        && (global.password_file().is_some()
            || global.password_command().is_some()
            || from_variable(global.password_variable).is_some())
}

/// The password of a repository that exists.
pub(crate) fn existing(global: &Global) -> Result<Option<Password>> {
    #[cfg(feature = "mount")]
    if crate::mount::is_child() {
        return crate::mount::password();
    }
    find(global, || ask("password: "))
}

/// The password of a repository to be made: who types it types it twice.
pub(crate) fn first(global: &Global) -> Result<Option<Password>> {
    find(global, ask_twice)
}

/// The password that is to be added.
pub(crate) fn new(args: &NewPassword, json: bool) -> Result<Password> {
    if let Some(path) = &args.new_password_file {
        return from_file(path, json);
    }
    if let Some(password) = from_variable(NEW_VARIABLE) {
        return Ok(password);
    }
    if !io::stdin().is_terminal() {
        return Err(Error::Usage(format!("no new password: give --new-password-file or {NEW_VARIABLE}")));
    }
    ask_twice()
}

fn find(global: &Global, prompt: impl FnOnce() -> Result<Password>) -> Result<Option<Password>> {
    if global.insecure_no_password {
        return Ok(None);
    }
    if let Some(path) = global.password_file() {
        return from_file(path, global.json).map(Some);
    }
    if let Some(command) = global.password_command() {
        return from_command(command).map(Some);
    }
    if let Some(password) = from_variable(global.password_variable) {
        return Ok(Some(password));
    }
    if io::stdin().is_terminal() { prompt().map(Some) } else { Ok(None) }
}

/// What is to be said of a password file that everybody may read.
pub(crate) fn exposed(path: &Path) -> Option<String> {
    let mode = path.metadata().ok().filter(|meta| meta.is_file())?.mode();
    let path = path.display();
    (mode & 0o007 != 0)
        .then(|| format!("the password file {path} is open to everybody: `chmod 600 {path}` closes it"))
}

fn from_file(path: &Path, json: bool) -> Result<Password> {
    if let Some(warning) = exposed(path) {
        output::warn(json, &warning);
    }
    let bytes = Zeroizing::new(std::fs::read(path).map_err(Error::io("read the password file", path))?);
    checked(&bytes, &format!("the password file {}", path.display()))
}

fn from_command(command: &std::ffi::OsStr) -> Result<Password> {
    let what = "the password command";
    let output =
        Command::new("sh").arg("-c").arg(command).stdin(Stdio::inherit()).stderr(Stdio::inherit()).output();
    let output = output.map_err(Error::io("run", what))?;
    let bytes = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(Error::io("run", what)(io::Error::other(output.status.to_string())));
    }
    checked(&bytes, what)
}

/// An empty variable counts as none: that is how scripts unset one.
fn from_variable(name: &str) -> Option<Password> {
    env::var(name).ok().filter(|text| !text.is_empty()).map(Zeroizing::new)
}

/// Line ends at the end are the editor's, not the password's.
fn checked(bytes: &[u8], what: &str) -> Result<Password> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::Usage(format!("{what} does not give UTF-8")))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(Error::Usage(format!("{what} gives an empty password")));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn ask(prompt: &str) -> Result<Password> {
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(Error::io("read", "a password from the terminal"))
}

fn ask_twice() -> Result<Password> {
    let password = ask("new password: ")?;
    if password.is_empty() {
        return Err(Error::Usage("an empty password protects nothing".to_owned()));
    }
    if *ask("again: ")? != *password {
        return Err(Error::Usage("the two passwords differ".to_owned()));
    }
    Ok(password)
}
