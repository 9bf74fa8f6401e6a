//! What is said about repositories without encryption, and about logins that cross the network in the
//! clear. Warnings are given once on a machine, because those that come with every run are not read.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Once;

use snap_backup::Result;
use snap_backup::codec::crypto::hash;
use snap_backup::repo::repository::{Discovered, Repository};
use snap_backup::run_log::known::KnownPlace;
use snap_backup::util::new_file;

use crate::args::global::Global;
use crate::terminal::output;

/// Warns of a backup into an unencrypted repository that this machine has not used before, unless something
/// acknowledges it. It may lie in the place of an encrypted one, and whoever put it there can read what is
/// saved. Opening it makes it known, so the warning is given once.
pub(crate) fn warn_of_unknown_open(
    global: &Global,
    is_meant: bool,
    found: &Discovered,
    (known, location): (&KnownPlace, &str),
) -> Result<()> {
    let is_meant = is_meant || global.insecure_no_password || global.quiet && global.state().is_none();
    if !found.is_encrypted() && !is_meant && !found.is_known_open(known)? {
        let text = format!(
            "the repository at {} is not encrypted and this machine has not used it before: if yours is encrypted, \
             somebody has put another one in its place",
            output::printable(location)
        );
        output::warn(global.json, &text);
    }
    Ok(())
}

/// Warns that the repository is not encrypted. The legacy script had no encryption, so nobody has decided
/// against it. The warning is not given to users who have decided since.
pub(crate) fn warn_of_openness(global: &Global, by_legacy: bool, repo: &Repository) {
    let is_open = by_legacy && !repo.config().is_encrypted();
    if is_open
        && !global.insecure_no_password
        && !was_warned(global, "unencrypted", &repo.config().repo.hex())
    {
        output::warn(
            global.json,
            &format!(
                "the repository at {} is not encrypted: whoever can read it can read what is saved in it",
                repo.location()
            ),
        );
    }
}

/// Warns that the login of a REST server goes to another machine in the clear.
pub(crate) fn warn_of_plain_login(global: &Global, location: &str) {
    // A run opens the storage several times.
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        let name: String =
            hash::sha256(location.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        if !was_warned(global, "plain-logins", &name) {
            let place = output::printable(location);
            let text = format!(
                "the login for {place} crosses the network unencrypted, and whoever listens can use it: take \
                 rest:https://, or a tunnel"
            );
            output::warn(global.json, &text);
        }
    });
}

/// Returns whether this machine has warned of something before, and records that it has. `name` is what the
/// warning is about, as a file name.
fn was_warned(global: &Global, of: &str, name: &str) -> bool {
    let Some(dir) = global.state().map(|dir| dir.join(of)) else { return global.quiet };
    let file = dir.join(name);
    // If nothing can be recorded, the warning is repeated.
    if file.exists() {
        return true;
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    let _ = made.and_then(|()| new_file::create(&file));
    false
}
