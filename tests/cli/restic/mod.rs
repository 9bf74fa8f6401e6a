//! restic's command line on a repository of snap: names, JSON and exit codes.

mod schema;
mod script;
mod sentences;
mod tools;

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{Outcome, Sandbox, finish};

/// A directory with a link `restic`, and a repository without encryption.
struct Door {
    sandbox: Sandbox,
    /// Runs the real restic instead.
    other: Option<PathBuf>,
}

impl Door {
    fn bare() -> Self {
        let sandbox = Sandbox::bare();
        std::fs::create_dir(sandbox.path("bin")).unwrap();
        symlink(env!("CARGO_BIN_EXE_snap"), sandbox.path("bin/restic")).unwrap();
        Self { sandbox, other: None }
    }

    fn new() -> Self {
        let door = Self::bare();
        door.ok(&["init"]);
        door
    }

    /// Returns the program under the name restic, with only HOME and the repository in its environment,
    /// started next to `src/`.
    fn command(&self, args: &[&str]) -> Command {
        let program = self.other.clone().unwrap_or_else(|| self.sandbox.path("bin/restic"));
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.sandbox.path("")).env("HOME", self.sandbox.path("home"));
        command
            .env("RESTIC_REPOSITORY", self.sandbox.path("repo"))
            .env("TZ", "UTC")
            .env("PATH", "/usr/bin:/bin");
        if args.first().is_some_and(|verb| !["version", "nosuchverb"].contains(verb)) {
            command.arg("--insecure-no-password");
        }
        command.args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Outcome {
        finish(self.command(args), b"")
    }

    fn ok(&self, args: &[&str]) -> Outcome {
        self.run(args).expect(0)
    }

    /// Returns the ids of all snapshots, oldest first.
    fn ids(&self) -> Vec<String> {
        let all = self.ok(&["snapshots", "--json"]).json();
        let mut all = all.as_array().unwrap().clone();
        // A rewritten snapshot has the time of its original, so their order depends on random ids.
        all.sort_by_key(|one| (one["time"].to_string(), one["hostname"] == "renamed"));
        all.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    }
}
