//! An OpenSSH server on two pipes, which snap runs as ssh; and a whole one behind ssh.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Returns the command that is run as ssh, if there is a server.
pub fn server() -> Option<String> {
    let places =
        ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"];
    let found = places.into_iter().find(|place| Path::new(place).exists());
    if found.is_none() {
        super::skipped("there is no sftp-server (Debian: openssh-sftp-server): nothing is tried over SFTP");
    }
    // The shell takes ssh's arguments as its own positional parameters.
    found.map(|server| format!("sh -c 'exec {server}'"))
}

/// An SSH server on this machine's loopback, with keys made for it; it ends with this value.
pub struct Sshd {
    dir: tempfile::TempDir,
    child: Child,
    /// Its port.
    pub port: u16,
}

impl Sshd {
    /// Starts one, if it is installed. This needs root, because an SSH server becomes the user who logs in.
    pub fn start() -> Option<Self> {
        Self::with("")
    }

    /// Starts one that accepts the key with these options before it in `authorized_keys`.
    pub fn with(words: &str) -> Option<Self> {
        let sshd =
            ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].into_iter().find(|place| Path::new(place).exists());
        let (Some(sshd), true) = (sshd, rustix::process::geteuid().is_root()) else {
            super::skipped("no sshd (Debian: openssh-server), or not root: nothing is tried over a real ssh");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        for name in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.path().join(name));
            assert!(keygen.status().unwrap().success(), "ssh-keygen");
        }
        let key = fs::read_to_string(dir.path().join("user.pub")).unwrap();
        fs::write(dir.path().join("authorized_keys"), format!("{words} {key}")).unwrap();
        // The server's directory for privilege separation.
        fs::create_dir_all("/run/sshd").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let here = dir.path().display();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {here}/host\nPidFile none\nStrictModes no\nUsePAM no\n\
             AuthorizedKeysFile {here}/authorized_keys\nPermitRootLogin prohibit-password\nMaxStartups 100\n\
             Subsystem sftp internal-sftp\n"
        );
        fs::write(dir.path().join("sshd_config"), config).unwrap();
        let mut command = Command::new(sshd);
        command.arg("-D").arg("-e").arg("-f").arg(dir.path().join("sshd_config"));
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let server = Self { dir, child, port };
        let is_up = |_| {
            std::thread::sleep(Duration::from_millis(50));
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        };
        assert!((0..200).any(is_up), "{}", fs::read_to_string(server.dir.path().join("log")).unwrap());
        Some(server)
    }

    /// What snap runs as ssh to reach it.
    pub fn command(&self) -> String {
        let here = self.dir.path().display();
        format!(
            "ssh -F none -i {here}/user -oBatchMode=yes -oStrictHostKeyChecking=accept-new \
             -oUserKnownHostsFile={here}/known -oLogLevel=ERROR"
        )
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
