//! Sources of passwords. They are kept in memory that is zeroed on drop, and are never printed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{env, io};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use snap_backup::util::programs;
use snap_backup::{Error, Result};
use zeroize::Zeroizing;

use crate::args::global::Global;
use crate::terminal::output;

mod key_file;
pub(crate) mod recovery;

/// Where a new password comes from.
#[derive(Debug, Args)]
pub(crate) struct NewPassword {
    /// Read the new password from this file [default: SNAP_NEW_PASSWORD, else ask for it]
    #[arg(long, value_name = "FILE")]
    pub(crate) new_password_file: Option<PathBuf>,
    /// Require this key file with the new password; pass it as --key-file from then on
    #[arg(long, value_name = "FILE")]
    pub(crate) new_key_file: Option<PathBuf>,
}

pub(crate) type Password = Zeroizing<String>;

/// Maximum length of a password or a key file. A larger password file is not the one that was meant, and a
/// larger key file is more likely to change one day.
const MAX_BYTES: u64 = 1 << 20;

const NEW_VARIABLE: &str = "SNAP_NEW_PASSWORD";

/// Reduces the given sources of a password to one. A flag takes precedence over every variable; among
/// variables, the one that contains the password precedes the one that names a file, which precedes the one
/// that names a command.
///
/// # Errors
/// Two flags contradict each other, or one is empty.
pub(crate) fn choose(
    matches: &ArgMatches,
    [file_id, command_id]: [&str; 2],
    file: &mut Option<OsString>,
    command: &mut Option<OsString>,
    variable: &str,
) -> Result<(), String> {
    let by_flag = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let flag = |id: &str| format!("--{}", id.replace('_', "-"));
    for (id, value) in [(file_id, &*file), (command_id, &*command)] {
        if by_flag(id) && value.as_ref().is_some_and(|value| value.is_empty()) {
            return Err(format!(
                "{} is empty: it must be a file or command that gives the password",
                flag(id)
            ));
        }
    }
    match (by_flag(file_id), by_flag(command_id)) {
        (true, true) => {
            return Err(format!(
                "{} and {} both give a password: use only one of them",
                flag(file_id),
                flag(command_id)
            ));
        }
        (true, false) => *command = None,
        (false, true) => *file = None,
        (false, false) if from_variable(variable).is_some() => (*file, *command) = (None, None),
        (false, false) if file.as_ref().is_some_and(|file| !file.is_empty()) => *command = None,
        (false, false) => {}
    }
    Ok(())
}

/// Returns whether a flag or a variable supplies a password. A prompt does not count.
pub(crate) fn is_given(global: &Global) -> bool {
    !global.insecure_no_password
        && (global.password_file().is_some()
            || global.password_command().is_some()
            || from_variable(global.password_variable).is_some())
}

/// Number of attempts to type a password.
pub(crate) const TRIES: usize = 3;

/// Returns whether the user is asked for the repository's password on the terminal.
pub(crate) fn is_asked_for(global: &Global) -> bool {
    #[cfg(feature = "mount")]
    if crate::mount::is_child() {
        return false;
    }
    !global.insecure_no_password && !is_given(global) && io::stdin().is_terminal()
}

/// Asks again after a wrong password.
pub(crate) fn ask_again(global: &Global, location: &str) -> Result<Password> {
    let text = format!("wrong password; password for the repository at {}: ", output::printable(location));
    let password = ask(&text)?;
    warn_of_typing_error(global, &password);
    with_key_file(password, global.key_file())
}

fn warn_of_typing_error(global: &Global, password: &Password) {
    if let Some(why) = recovery::typing_error(password) {
        output::warn(global.json, &why);
    }
}

/// Combines the password with its key file to the input of key derivation.
fn with_key_file(password: Password, key_file: Option<&Path>) -> Result<Password> {
    let password = recovery::normalize(password);
    key_file.map_or(Ok(password.clone()), |path| key_file::join(&password, path))
}

/// Returns the password of an existing repository.
pub(crate) fn of_repository(global: &Global, location: &str) -> Result<Option<Password>> {
    #[cfg(feature = "mount")]
    if crate::mount::is_child() {
        return crate::mount::password();
    }
    let found =
        find(global, || ask(&format!("password for the repository at {}: ", output::printable(location))))?;
    found.iter().for_each(|password| warn_of_typing_error(global, password));
    found.map(|password| with_key_file(password, global.key_file())).transpose()
}

/// Returns the password of a new repository. A typed one must be typed twice.
pub(crate) fn of_new_repository(global: &Global) -> Result<Option<Password>> {
    find(global, ask_twice)?.map(|password| with_key_file(password, global.key_file())).transpose()
}

/// Returns the password to be added.
pub(crate) fn new(args: &NewPassword, json: bool) -> Result<Password> {
    with_key_file(new_text(args, json)?, args.new_key_file.as_deref())
}

/// Like [`new`], to replace the one in use: it needs the same key file, if there is one.
pub(crate) fn replacement(args: &NewPassword, global: &Global) -> Result<Password> {
    with_key_file(new_text(args, global.json)?, args.new_key_file.as_deref().or(global.key_file()))
}

/// Returns a new password without a key file, for purposes other than a repository.
pub(crate) fn new_text(args: &NewPassword, json: bool) -> Result<Password> {
    if let Some(path) = &args.new_password_file {
        return from_file(path, json);
    }
    if let Some(password) = from_variable(NEW_VARIABLE) {
        return password;
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
        // Programs that call restic may read both streams as one, so no warning is printed.
        let is_for_restic = global.json && global.password_variable.starts_with("RESTIC");
        return if is_for_restic { read(path) } else { from_file(path, global.json) }.map(Some);
    }
    if let Some(command) = global.password_command() {
        return from_command(command).map(Some);
    }
    if let Some(password) = from_variable(global.password_variable) {
        return password.map(Some);
    }
    if io::stdin().is_terminal() { prompt().map(Some) } else { Ok(None) }
}

/// Returns a warning about a password file that all users can read.
pub(crate) fn warning_if_readable(path: &Path) -> Option<String> {
    let mode = path.metadata().ok().filter(|meta| meta.is_file())?.mode();
    let path = path.display();
    (mode & 0o007 != 0).then(|| {
        format!("the password file {path} is accessible to everybody: `chmod 600 {path}` fixes this")
    })
}

fn from_file(path: &Path, json: bool) -> Result<Password> {
    if let Some(warning) = warning_if_readable(path) {
        output::warn(json, &warning);
    }
    read(path)
}

fn read(path: &Path) -> Result<Password> {
    let source = format!("the password file {}", path.display());
    parse(&read_bytes(path, &source)?, &source)
}

/// Reads a file up to one byte more than is allowed.
fn read_bytes(path: &Path, source: &str) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|err| no_password(source, err.to_string()))
}

fn from_command(line: &OsStr) -> Result<Password> {
    let source = "the password command";
    let mut command = programs::foreign("sh");
    command.arg("-c").arg(line).stdin(Stdio::inherit()).stderr(Stdio::inherit());
    let output = command.output().map_err(|err| no_password(source, err.to_string()))?;
    let bytes = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(no_password(source, format!("it failed ({})", output.status)));
    }
    parse(&bytes, source)
}

pub(super) fn no_password(source: &str, why: impl Into<String>) -> Error {
    Error::PasswordSource { source_name: source.to_owned(), why: why.into() }
}

/// Returns a password from a variable. An empty one counts as unset, because scripts unset variables that
/// way.
fn from_variable(name: &str) -> Option<Result<Password>> {
    match env::var(name) {
        Ok(text) if text.is_empty() => None,
        Ok(text) => Some(Ok(Zeroizing::new(text))),
        Err(env::VarError::NotPresent) => None,
        Err(env::VarError::NotUnicode(_)) => Some(Err(no_password(name, "its value is not UTF-8"))),
    }
}

/// Decodes a password, without what editors add: line ends at its end, a byte order mark before it.
fn parse(bytes: &[u8], source: &str) -> Result<Password> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(no_password(source, "it gives more than 1 MiB"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| no_password(source, "its output is not UTF-8"))?;
    // Editors of Windows begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(no_password(source, "it is empty"));
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
