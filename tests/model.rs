//! Random stories against plain copies: whatever happened to the source, every snapshot restores to its moment.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use support::Random;
use support::Sandbox;
use support::chmod;
use support::compare_trees;
use support::copy_tree;
use support::files_below;

const STEPS: u64 = 15;

#[test]
fn every_snapshot_restores_to_its_moment_encrypted() {
    for seed in [1, 2, 3] {
        Story::new(seed, Sandbox::new()).run();
    }
}

#[test]
fn every_snapshot_restores_to_its_moment_unencrypted() {
    for seed in [4, 5, 6] {
        Story::new(seed, Sandbox::open()).run();
    }
}

struct Story {
    seed: u64,
    random: Random,
    sandbox: Sandbox,
    /// The copy of each snapshot's moment.
    copies: BTreeMap<String, PathBuf>,
    newest: Option<PathBuf>,
    /// What happened, for the message.
    told: Vec<String>,
}

impl Story {
    fn new(seed: u64, sandbox: Sandbox) -> Self {
        let random = Random::new(seed);
        Self { seed, random, sandbox, copies: BTreeMap::new(), newest: None, told: Vec::new() }
    }

    fn run(mut self) {
        for _ in 0..STEPS {
            for _ in 0..=self.random.below(4) {
                self.change();
            }
            if self.random.below(4) == 0 {
                self.harm_the_view();
            }
            self.back_up();
        }
        for (id, copy) in &self.copies {
            let target = self.sandbox.restore(id, &[]);
            let differences = compare_trees(copy, &target.join("src"));
            assert!(differences.is_empty(), "seed {}, {id}: {differences:#?}\n{:#?}", self.seed, self.told);
        }
        self.sandbox.assert_clean();
    }

    fn back_up(&mut self) {
        let kind = *self.random.pick(&["--full", "--incremental", "--incremental", "--differential"]);
        self.told.push(format!("backup {kind}"));
        match self.sandbox.try_backup(&[kind]) {
            Some(id) => {
                let copy = self.sandbox.path(&format!("copy-{id}"));
                copy_tree(&self.sandbox.src(), &copy);
                self.copies.insert(id, copy.clone());
                self.newest = Some(copy);
            }
            None => {
                let newest = self.newest.as_ref().unwrap();
                let differences = compare_trees(newest, &self.sandbox.src());
                let told = &self.told;
                assert!(differences.is_empty(), "seed {}: not saved: {differences:#?}\n{told:#?}", self.seed);
            }
        }
    }

    fn change(&mut self) {
        let files = files_below(&self.sandbox.src());
        let action = if files.is_empty() { 0 } else { self.random.below(9) };
        let fresh = self.fresh_name();
        let file = if files.is_empty() { fresh.clone() } else { self.random.pick(&files).clone() };
        let shown = file.strip_prefix(self.sandbox.src()).unwrap().display().to_string();
        self.told.push(format!("action {action} on {shown}"));
        match action {
            0 | 1 => {
                let most = *self.random.pick(&[1, 100, 20_000, 400_000]);
                let len = self.random.below(most);
                fs::write(fresh, self.bytes(len)).unwrap();
            }
            2 => {
                let mut bytes = fs::read(&file).unwrap();
                let more = self.random.below(5000);
                bytes.extend(self.bytes(more));
                fs::write(&file, bytes).unwrap();
            }
            3 => same_size_edit(&file, &mut self.random),
            4 => fs::rename(&file, fresh).unwrap(),
            5 => fs::remove_file(&file).unwrap(),
            6 => chmod(&file, *self.random.pick(&[0o600, 0o644, 0o755, 0o400])),
            7 => fs::create_dir(fresh).unwrap(),
            _ => fs::hard_link(&file, fresh).unwrap(),
        }
    }

    /// A name in a random directory that nothing has.
    fn fresh_name(&mut self) -> PathBuf {
        let all = walkdir::WalkDir::new(self.sandbox.src()).sort_by_file_name().into_iter().flatten();
        let folders = all.filter(|entry| entry.file_type().is_dir()).map(|entry| entry.into_path());
        let folders = folders.collect::<Vec<_>>();
        let folder = self.random.pick(&folders).clone();
        folder.join(format!("n{}", self.random.next()))
    }

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        self.random.bytes(usize::try_from(len).unwrap())
    }

    fn harm_the_view(&mut self) {
        let views = walkdir::WalkDir::new(self.sandbox.path("cache")).into_iter().flatten();
        let views = views.filter(|entry| entry.file_name() == "view").map(|entry| entry.into_path());
        let gone = self.random.below(2) == 0;
        for view in views.collect::<Vec<_>>() {
            self.told.push(format!("view {}", if gone { "deleted" } else { "garbled" }));
            if gone {
                fs::remove_dir_all(view).unwrap();
                continue;
            }
            for file in files_below(&view) {
                fs::write(file, self.random.bytes(4096)).unwrap();
            }
        }
    }
}

/// Another content of the same length, written in place; a read-only file is opened for it by its owner.
fn same_size_edit(file: &Path, random: &mut Random) {
    let len = fs::read(file).unwrap().len();
    chmod(file, 0o644);
    fs::write(file, random.bytes(len)).unwrap();
}
