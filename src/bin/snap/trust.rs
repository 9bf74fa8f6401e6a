//! Warnings about repositories without encryption, and about logins that are sent unencrypted over the
//! network. They are printed once on a machine, because warnings on every run are ignored.

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

/// Warns about a backup into an unencrypted repository that this machine has not used before, unless the user
/// has acknowledged it. The repository may have replaced an encrypted one, and the attacker can then read what
/// is saved. Opening it records it as known, so the warning is printed once.
pub(crate) fn warn_of_unknown_open(
    global: &Global,
    is_meant: bool,
    found: &Discovered,
    (known, location): (&KnownPlace, &str),
) -> Result<()> {
    let is_meant = is_meant || global.insecure_no_password || global.quiet && global.state().is_none();
    if !found.is_encrypted() && !is_meant && !found.is_known_open(known)? {
        let text = format!(
            "the repository at {} is not encrypted and this machine has not used it before: if yours is \
             encrypted, it has been replaced by another one",
            output::printable(location)
        );
        output::warn(global.json, &text);
    }
    Ok(())
}

/// Warns that the repository is not encrypted. The legacy script had no encryption, so its users have not
/// chosen this. Users who have chosen since are not warned.
pub(crate) fn warn_of_openness(global: &Global, by_legacy: bool, repo: &Repository) {
    let is_open = by_legacy && !repo.config().is_encrypted();
    if is_open
        && !global.insecure_no_password
        && !was_warned(global, "unencrypted", &repo.config().repo.hex())
    {
        output::warn(
            global.json,
            &format!(
                "the repository at {} is not encrypted: anybody who can read its files can read the backups",
                repo.location()
            ),
        );
    }
}

/// Warns that the login of a REST server is sent unencrypted to another machine.
pub(crate) fn warn_of_plain_login(global: &Global, location: &str) {
    // A run opens the storage several times.
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        let name: String =
            hash::sha256(location.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        if !was_warned(global, "plain-logins", &name) {
            let place = output::printable(location);
            let text = format!(
                "the login for {place} is sent over the network unencrypted: use rest:https:// or a tunnel"
            );
            output::warn(global.json, &text);
        }
    });
}

/// Returns whether this machine has printed a warning before, and records it. `name` identifies its subject,
/// as a file name.
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
