//! Finds and starts the other program, and reads what it prints.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, ExitStatus, Stdio};

use serde_json::Value;
use snap_backup::util::programs;
use snap_backup::{Error, Result};

/// The other program, and the repository that it reads.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// `restic` or `borg`.
    pub(super) name: &'static str,
    path: PathBuf,
    /// Its version, such as `0.19.1`.
    pub(super) version: String,
    /// The repository as given to the program; `None` if its own environment variables name it.
    pub(super) repo: Option<OsString>,
    /// Options that are passed to the program.
    pub(super) options: Vec<OsString>,
}

impl Program {
    /// Finds the program: the one that `given` names, otherwise the first in PATH that is not snap.
    pub(super) fn find(
        name: &'static str,
        given: Option<&Path>,
        repo: Option<OsString>,
        options: Vec<OsString>,
    ) -> Result<Self> {
        let path = match given {
            Some(path) if is_snap(path) => return Err(refuse_snap(name, path)),
            Some(path) => path.to_path_buf(),
            None => search(name)?,
        };
        let mut program = Self { name, path, version: String::new(), repo, options };
        program.version = program.ask_version()?;
        Ok(program)
    }

    fn ask_version(&self) -> Result<String> {
        let mut command = programs::imported_from(&self.path);
        command.arg(if self.name == "restic" { "version" } else { "--version" }).stdin(Stdio::null());
        let text = self.text(command, "start", &self.path.display().to_string())?;
        let mut words = text.split_whitespace();
        // A copy of snap is a different file, but its version output reveals it.
        if text.contains("compiled with snap ") {
            return Err(refuse_snap(self.name, &self.path));
        }
        match (words.next(), words.next()) {
            (Some(name), Some(version)) if name == self.name => Ok(version.to_owned()),
            _ => Err(Error::Usage(format!(
                "{} is not {}: it does not print its version",
                self.path.display(),
                self.name
            ))),
        }
    }

    /// Returns whether the version is at least this one.
    pub(super) fn is_at_least(&self, major: u32, minor: u32) -> bool {
        let mut numbers =
            self.version.split(|byte: char| !byte.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
    }

    /// Returns a command of the program with the verb and the options that are passed on.
    pub(super) fn command(&self, verb: &[&str]) -> Command {
        let mut command = programs::imported_from(&self.path);
        // Borg prints local times without a zone.
        command.args(verb).args(&self.options).env("TZ", "UTC");
        // The program may ask for a password on a terminal; otherwise it must fail immediately.
        if !io::stdin().is_terminal() {
            command.stdin(Stdio::null());
        }
        command
    }

    /// Returns the repository as shown in messages.
    pub(super) fn shown(&self) -> String {
        let repo = self.repo.as_deref().map(OsStr::to_string_lossy);
        format!("{} repository {}", self.name, repo.as_deref().unwrap_or("of its variables"))
    }

    /// Runs a command and returns its output. Its standard error becomes the error message, unless it is a
    /// terminal, where the program may ask for a password.
    pub(super) fn output(&self, mut command: Command, doing: &'static str, what: &str) -> Result<Vec<u8>> {
        let failed = |source: io::Error| Error::Io { doing, what: what.to_owned(), source };
        command.stdout(Stdio::piped());
        command.stderr(if io::stdin().is_terminal() { Stdio::inherit() } else { Stdio::piped() });
        let output = command.spawn().and_then(std::process::Child::wait_with_output).map_err(failed)?;
        if self.succeeded(output.status) {
            Ok(output.stdout)
        } else {
            Err(failed(self.failure(output.status, &output.stderr)))
        }
    }

    fn text(&self, command: Command, doing: &'static str, what: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.output(command, doing, what)?).into_owned())
    }

    /// Runs a command and passes its output to `read` while it is produced.
    pub(super) fn stream<T>(
        &self,
        mut command: Command,
        doing: &'static str,
        what: &str,
        read: impl FnOnce(ChildStdout) -> io::Result<T>,
    ) -> Result<T> {
        let failed = |source: io::Error| Error::Io { doing, what: what.to_owned(), source };
        let stderr = if io::stdin().is_terminal() { Stdio::inherit() } else { Stdio::null() };
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().map_err(failed)?;
        let result = match child.stdout.take() {
            Some(stdout) => read(stdout),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        // If `read` failed, the pipe is closed, so that the program ends at its next write.
        let status = child.wait().map_err(failed)?;
        match (self.succeeded(status), result) {
            (true, result) => result.map_err(failed),
            (false, _) => Err(failed(self.failure(status, b""))),
        }
    }

    /// Runs a command and parses its JSON output.
    pub(super) fn json(&self, command: Command, doing: &'static str, what: &str) -> Result<Value> {
        let output = self.output(command, doing, what)?;
        serde_json::from_slice(&output).map_err(|err| Error::Io {
            doing,
            what: what.to_owned(),
            source: io::Error::other(format!("{} {} did not print JSON: {err}", self.name, self.version)),
        })
    }

    /// Returns whether an exit status means success. Borg exits with 1, or 100 to 127, after warnings.
    pub(super) fn succeeded(&self, status: ExitStatus) -> bool {
        status.success() || self.name == "borg" && matches!(status.code(), Some(1 | 100..=127))
    }

    /// Returns the error of a command that failed.
    pub(super) fn failure(&self, status: ExitStatus, said: &[u8]) -> io::Error {
        let last = reason(&String::from_utf8_lossy(said));
        let how = match status.code() {
            Some(code) => format!("{} {} failed with exit code {code}", self.name, self.version),
            None => format!("{} {} was killed by a signal", self.name, self.version),
        };
        io::Error::other(if last.is_empty() { how } else { format!("{how}: {last}") })
    }
}

/// Returns the last lines of the output, which contain the reason for a failure. The lines before them are
/// warnings.
fn reason(said: &str) -> String {
    // Drops borg's description of the machine, and most lines of a Python traceback.
    let report = said.split("\nPlatform: ").next().unwrap_or_default();
    let is_noise = |line: &&str| {
        line.is_empty()
            || line.starts_with([' ', '\t'])
            || ["Traceback", "Local Exception", "Exception ignored", "Error:"]
                .iter()
                .any(|word| line.starts_with(word))
    };
    let lines: Vec<String> =
        report.lines().map(str::trim_end).filter(|line| !is_noise(line)).map(message).collect();
    lines.get(lines.len().saturating_sub(2)..).unwrap_or_default().join("; ")
}

/// Returns a line, or the message in it if it is JSON from restic.
fn message(line: &str) -> String {
    let object: Option<Value> = serde_json::from_str(line).ok();
    let message = object.as_ref().and_then(|object| object.get("message")).and_then(Value::as_str);
    message.unwrap_or(line).lines().next().unwrap_or_default().to_owned()
}

/// Returns the first program with this name in PATH that is not snap.
fn search(name: &'static str) -> Result<PathBuf> {
    let mut own = None;
    for dir in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        let path = dir.join(name);
        let is_program =
            path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
        match is_program && is_snap(&path) {
            true => own = Some(path),
            false if is_program => return Ok(path),
            false => {}
        }
    }
    Err(match own {
        Some(path) => refuse_snap(name, &path),
        None => Error::Usage(format!(
            "there is no program {name} in PATH: snap reads its repositories through it, so install it, or \
             give its path with --program PATH"
        )),
    })
}

/// Returns whether a path is snap itself, such as the link that `snap restic --install` creates.
fn is_snap(path: &Path) -> bool {
    let id = |path: &Path| path.metadata().map(|meta| (meta.dev(), meta.ino())).ok();
    let own = std::env::current_exe().ok().and_then(|own| id(&own));
    own.is_some() && own == id(path)
}

fn refuse_snap(name: &str, path: &Path) -> Error {
    Error::Usage(format!(
        "{} is snap itself, which can be called as {name} but cannot read its repositories: give the path \
         of the real {name} with --program PATH",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::reason;

    #[test]
    fn the_reason_is_what_people_can_read() {
        let restic =
            r#"{"message_type":"exit_error","code":12,"message":"Fatal: wrong password or no key found"}"#;
        assert_eq!(reason(restic), "Fatal: wrong password or no key found");
        let borg = "Local Exception\nTraceback (most recent call last):\n  File \"x\"\nOSError: no\n\nPlatform: Linux\nPID: 1\n";
        assert_eq!(reason(borg), "OSError: no");
        assert_eq!(reason("Repository /nowhere does not exist.\n"), "Repository /nowhere does not exist.");
        assert_eq!(reason(""), "");
    }
}
