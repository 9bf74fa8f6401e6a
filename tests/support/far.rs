//! A remote repository, and the scenarios that every remote storage must pass.

use std::fs;
use std::process::{Command, Stdio};

use super::{Outcome, Random, Sandbox, assert_same, finish};

/// A sandbox, and the location of its repository.
pub struct Far {
    pub sandbox: Sandbox,
    pub url: String,
    pub variables: Vec<(String, String)>,
}

impl Far {
    /// With a few files, one of them large. The location may be in the sandbox.
    pub fn new(place: impl FnOnce(&Sandbox) -> (String, Vec<(String, String)>)) -> Self {
        let sandbox = Sandbox::bare();
        sandbox.write(&[("a", "hello"), ("d/b", "deep")]);
        fs::write(sandbox.path("src/big"), Random::new(1).bytes(3_000_000)).unwrap();
        let (url, variables) = place(&sandbox);
        Self { sandbox, url, variables }
    }

    pub fn command_at(&self, url: &str, args: &[&str]) -> Command {
        let mut command = self.sandbox.bin();
        command.args(["-r", url]).args(args).envs(self.variables.iter().cloned());
        command
    }

    pub fn command(&self, args: &[&str]) -> Command {
        self.command_at(&self.url, args)
    }

    pub fn snap(&self, args: &[&str]) -> Outcome {
        finish(self.command(args), b"")
    }

    fn snap_at(&self, url: &str, args: &[&str]) -> Outcome {
        finish(self.command_at(url, args), b"")
    }

    pub fn assert_restores(&self) {
        self.assert_restores_from(&self.url);
    }

    fn assert_restores_from(&self, url: &str) {
        let target = self.sandbox.new_target();
        self.snap_at(url, &["restore", "latest", "--target", target.to_str().unwrap()]).expect(0);
        assert_same(&self.sandbox.src(), &target.join("src"));
    }

    /// A second location next to it.
    fn second(&self) -> String {
        let end = if self.url.ends_with('/') { "/" } else { "" };
        format!("{}-second{end}", self.url.trim_end_matches('/'))
    }

    /// In a repository created with these options.
    pub fn bears_every_verb(&self, init: &[&str]) {
        self.snap(&["snapshots"]).expect(10);
        self.snap(&[&["init"], init].concat()).expect(0);
        self.snap(&["init"]).expect(1);
        self.snap(&["backup", "src"]).expect(0);
        self.sandbox.write(&[("a", "changed"), ("new", "file")]);
        self.snap(&["backup", "src"]).expect(0);
        assert!(self.snap(&["backup", "src"]).expect(0).text().contains("nothing changed"));
        self.snap(&["check", "-v", "--read-data"]).expect(0);
        assert_eq!(self.snap(&["cat", "latest~1:src/a"]).expect(0).text(), "hello");
        self.assert_restores();
        self.snap(&["tag", "latest", "--add", "kept"]).expect(0);
        self.snap(&["forget", "latest~1"]).expect(0);
        self.snap(&["undelete"]).expect(0);
        self.snap(&["gc", "--empty-trash", "--max-unused", "0"]).expect(0);
        self.snap(&["key", "passwd", "--new-password-file", "nowhere"]).expect(12);
        self.snap(&["repair", "index"]).expect(0);
        self.snap(&["status"]).expect(0);
        self.snap(&["check", "-v", "--read-data"]).expect(0);
        self.assert_restores();
    }

    /// From a disk to it, from it to a disk, and from it to another.
    pub fn bears_copies(&self) {
        let second = self.second();
        let (near, back) = (self.sandbox.path("near"), self.sandbox.path("back"));
        let (near, back) = (near.to_str().unwrap(), back.to_str().unwrap());
        self.snap_at(near, &["backup", "--init", "src"]).expect(0);
        self.snap_at(near, &["sync", "--to", &self.url, "--init"]).expect(0);
        self.assert_restores();
        self.snap(&["copy", "--to", &second, "--init"]).expect(0);
        self.assert_restores_from(&second);
        self.snap_at(&second, &["sync", "--to", back, "--init"]).expect(0);
        self.assert_restores_from(back);
        self.sandbox.write(&[("a", "changed"), ("new", "file")]);
        fs::write(self.sandbox.path("src/big"), Random::new(2).bytes(3_000_000)).unwrap();
        self.snap_at(near, &["backup", "--mirror", &self.url, "src"]).expect(0);
        self.assert_restores();
        let again = self.snap(&["copy", "--to", &second]).expect(0).text();
        assert!(again.contains("1 snapshot copied"), "{again}");
        self.assert_restores_from(&second);
        let again = self.snap_at(near, &["sync", "--to", &self.url]).expect(0).text();
        assert!(again.contains("nothing to copy"), "{again}");
        for url in [&self.url, &second] {
            self.snap_at(url, &["check", "--read-data"]).expect(0);
        }
    }

    /// Each time with so many new bytes.
    pub fn bears_two_machines_while_a_third_collects(&self, bytes: usize) {
        self.snap(&["init"]).expect(0);
        self.snap(&["backup", "src"]).expect(0);
        self.snap(&["forget", "latest", "--allow-remove-all"]).expect(0);
        let start = |name: &str, args: &[&str]| {
            let mut command = self.command(args);
            command.env("SNAP_CACHE_DIR", self.sandbox.path(&format!("cache-{name}")));
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        for round in 0..3 {
            fs::write(self.sandbox.path("src/big"), Random::new(10 + round).bytes(bytes)).unwrap();
            let children = [
                start("one", &["backup", "--host", "one", "src"]),
                start("two", &["backup", "--host", "two", "src"]),
                start("three", &["gc", "--empty-trash", "--max-unused", "0"]),
            ];
            for child in children {
                let output = child.wait_with_output().unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
        }
        self.snap(&["check", "-v", "--read-data"]).expect(0);
        let snapshots = self.snap(&["snapshots", "--json"]).expect(0).json();
        assert_eq!(snapshots.as_array().unwrap().len(), 6);
        for snapshot in snapshots.as_array().unwrap() {
            let target = self.sandbox.new_target();
            let id = snapshot["id"].as_str().unwrap();
            self.snap(&["restore", id, "--target", target.to_str().unwrap()]).expect(0);
            fs::remove_dir_all(target).unwrap();
        }
        self.assert_restores();
    }
}
