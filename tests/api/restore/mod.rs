//! Restores: to existing files, over links that must not be followed, and from data that must not be trusted.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::type_complexity, unreachable_pub)]

mod chosen;
mod craft;
mod delete;
mod foreign;
mod hostile;
mod limits;
mod links;
mod modes;
mod odd_targets;
mod protected;
mod random_targets;
mod repair;
mod resume;
mod watch;
mod ways;

use std::path::Path;

use crate::support::{Outcome, Sandbox};

/// Restores to a directory with further arguments, whatever the result is.
fn restore(sandbox: &Sandbox, target: &Path, args: &[&str]) -> Outcome {
    sandbox.snap(&[&["restore", "latest", "--target", target.to_str().unwrap()], args].concat())
}

/// Like `restore`, but must succeed. Returns the summary.
fn summary(sandbox: &Sandbox, target: &Path, args: &[&str]) -> serde_json::Value {
    restore(sandbox, target, &[args, &["--json"]].concat()).expect(0).summary()
}

/// Root may do what others may not, and some things can only be tested as root.
fn is_root(why: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED, only root can: {why}");
    }
    root
}
