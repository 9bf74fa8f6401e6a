//! A server of OpenSSH's on two pipes: what snap runs as ssh.

use std::path::Path;

/// The command that is run as ssh, if there is a server.
pub fn server() -> Option<String> {
    let places =
        ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"];
    let found = places.into_iter().find(|place| Path::new(place).exists());
    if found.is_none() {
        super::skipped("there is no sftp-server (Debian: openssh-sftp-server): nothing is tried over SFTP");
    }
    // The shell takes ssh's arguments for its own names.
    found.map(|server| format!("sh -c 'exec {server}'"))
}
