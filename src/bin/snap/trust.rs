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

/// Warns about a backup to an unencrypted repository that this machine has not used before, unless the user
/// intends it. It may have replaced an encrypted repository, by an attacker who wants to read what is saved.
/// Opening it records it as known, so the warning is printed once.
pub(crate) fn warn_if_unknown_and_unencrypted(
    global: &Global,
    is_intended: bool,
    found: &Discovered,
    (known, location): (&KnownPlace, &str),
) -> Result<()> {
    let is_intended = is_intended || global.insecure_no_password || global.quiet && global.state().is_none();
    if !found.is_encrypted() && !is_intended && !found.is_known_open(known)? {
        let text = format!(
            "the repository at {} is not encrypted and this machine has not used it before: if yours is \
             encrypted, it has been replaced by another one",
            output::printable(location)
        );
        output::warn(global.json, &text);
    }
    Ok(())
}

/// Warns that a repository which only the legacy script's variables name is not encrypted: the script had no
/// encryption, so its users have not chosen this. `--insecure-no-password` counts as a choice.
pub(crate) fn warn_if_unencrypted(global: &Global, by_legacy: bool, repo: &Repository) {
    if by_legacy
        && !repo.config().is_encrypted()
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

/// Returns whether this machine has printed a warning of this kind before, and records it. `name` is a file
/// name that identifies the repository.
fn was_warned(global: &Global, kind: &str, name: &str) -> bool {
    let Some(dir) = global.state().map(|dir| dir.join(kind)) else { return global.quiet };
    let file = dir.join(name);
    // If nothing can be recorded, the warning is repeated.
    if file.exists() {
        return true;
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    let _ = made.and_then(|()| new_file::create(&file));
    false
}
