//! Every command of docs/guide.md and of the README's quick start is run unchanged, in an empty home
//! directory.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::finish;

/// Returns the blocks marked `sh` of the sections of a page whose titles begin with one of these, as one
/// script.
fn script(page: &str, titles: &[&str]) -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let (mut wanted, mut inside, mut script) = (false, false, String::new());
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            wanted = titles.iter().any(|start| title.starts_with(start));
        }
        match line.trim() {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside && wanted => script += &format!("{line}\n"),
            _ => {}
        }
    }
    assert!(!inside && script.matches("snap ").count() > 2, "no commands under {titles:?}");
    script
}

/// Returns the only block of a section.
fn block(page: &str, title: &str) -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let section = page.split("\n## ").find(|section| section.starts_with(title)).unwrap();
    section.split("```").nth(1).unwrap().to_owned()
}

fn run(home: &Path, titles: &[&str]) -> String {
    run_script(home, &script("docs/guide.md", titles))
}

/// `snap` is the first program in PATH. Programs that would change the machine are replaced by ones that only
/// record their calls.
pub(crate) fn run_script(home: &Path, script: &str) -> String {
    let bin = home.join("bin");
    fs::create_dir(&bin).unwrap();
    for name in ["crontab", "systemctl"] {
        let program = bin.join(name);
        let text = format!(
            "#!/bin/sh\necho {name} \"$@\" >> \"$HOME/scheduled\"\n[ \"$1\" != - ] || cat >> \"$HOME/scheduled\"\n"
        );
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_snap"), bin.join("snap")).unwrap();
    let mut command = Command::new("bash");
    command.args(["-euxo", "pipefail", "-c", script]).current_dir(home).env_clear();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    command.env("PATH", path).env("HOME", home);
    let outcome = finish(command, b"").expect(0);
    outcome.all()
}

#[test]
fn from_the_first_backup_to_automatic_ones() {
    let home = tempfile::tempdir().unwrap();
    let titles = ["The first backup", "Getting it back", "Trust", "Making room", "Automatic backups"];
    let all = run(home.path(), &titles);
    for told in ["nothing changed since", "before-the-move", "no errors were found", "restored and compared"]
    {
        assert!(all.contains(told), "{told} in {all}");
    }
}

#[test]
fn the_quick_start_of_the_readme_works_as_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let (home, disk) = (dir.path().join("home"), dir.path().join("disk"));
    fs::create_dir_all(home.join(".cache")).unwrap();
    fs::create_dir(&disk).unwrap();
    fs::write(home.join("notes.txt"), "do not forget").unwrap();
    fs::write(home.join(".cache/page"), "anybody's").unwrap();
    // What a test cannot have: a disk that is mounted there.
    let script = script("README.md", &["Quick start"]).replace("/mnt/backup", disk.to_str().unwrap());
    let all = run_script(&home, &script);
    assert!(all.contains("no errors were found"), "{all}");
    assert!(fs::read_to_string(home.join("scheduled")).unwrap().contains("snap"), "{all}");
    let mut snap = Command::new(env!("CARGO_BIN_EXE_snap"));
    snap.env_clear().env("HOME", &home).args(["ls", "-R", "latest"]).current_dir(&home);
    let listed = finish(snap, b"").expect(0).text().to_owned();
    assert!(listed.contains("notes.txt") && !listed.contains(".cache/page"), "{listed}");
}

#[test]
fn the_commands_for_a_new_machine_work_as_they_stand() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("home/me"), dir.path().join("home/new"));
    fs::create_dir_all(old.join("documents")).unwrap();
    fs::create_dir_all(&new).unwrap();
    fs::write(old.join("documents/text"), "an important text").unwrap();
    let repo = dir.path().join("repo");
    let snap = |args: &[&str], at: &Path| {
        let mut snap = Command::new(env!("CARGO_BIN_EXE_snap"));
        snap.env_clear().env("HOME", at).env("SNAP_REPO", &repo).env("SNAP_PASSWORD", "on paper");
        snap.current_dir(at).args(args);
        finish(snap, b"").expect(0)
    };
    snap(&["init"], &old);
    snap(&["backup", old.to_str().unwrap()], &old);
    fs::remove_dir_all(&old).unwrap();
    // What a test cannot have: a server, a prompt, and the root directory of a machine.
    let here = dir.path().to_str().unwrap();
    let script = block("README.md", "On a new machine")
        .replace("sftp://me@server/backup/snap", repo.to_str().unwrap())
        .replace("latest /home/me", &format!("latest {here}/home/me"))
        .replace("--include /home/me", &format!("--include {here}/home/me"))
        .replace("/mnt/new", new.join("all").to_str().unwrap());
    run_script(&new, &format!("export SNAP_PASSWORD='on paper'\n{script}"));
    for back in [old.join("documents/text"), new.join(format!("all{here}/home/me/documents/text"))] {
        assert_eq!(fs::read_to_string(back).unwrap(), "an important text");
    }
}

#[test]
fn commands_of_the_readme_work_as_written() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("src")).unwrap();
    fs::write(home.path().join("src/lib.rs"), "").unwrap();
    // Cargo has built the program that the tests run.
    let back_up = block("README.md", "Two commands").replace("cargo run --release -- ", "snap ");
    let install = block("README.md", "Install").replace("cargo install --path . --locked", "");
    assert!(back_up.contains("snap -r target/demo backup --init src") && install.contains("snap man"));
    run_script(home.path(), &format!("mkdir target\n{back_up}\n{install}"));
    assert!(home.path().join("target/demo/config").is_dir());
    let share = home.path().join(".local/share");
    assert!(fs::read_to_string(share.join("bash-completion/completions/snap")).unwrap().contains("_snap"));
    assert!(share.join("man/man1/snap-backup.1").is_file());
}

/// The scheduled calls of the legacy script, and the import, as shown in its page.
#[test]
fn the_page_on_the_old_script_works_as_it_stands() {
    let home = tempfile::tempdir().unwrap();
    old_archives(home.path());
    let import = block("docs/from-the-old-script.md", "The old archives");
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/from-the-old-script.md"))
        .unwrap();
    let crontab = page.split("```").nth(1).unwrap();
    let calls: Vec<&str> =
        crontab.lines().filter_map(|line| line.find("snap ").map(|at| &line[at..])).collect();
    assert_eq!(calls.len(), 3, "{crontab}");
    let script = format!(
        "cd app\nexport INCREMENTAL_BACKUP_PATH=./backups/incremental\n{import}\nsnap snapshots\n{}\nsnap check --read-data\n",
        calls.join("\n")
    );
    let all = run_script(home.path(), &script);
    assert!(
        all.contains("1 snapshot was saved") && all.contains("incremental backup, compared with"),
        "{all}"
    );
    assert!(all.contains("no errors were found"), "{all}");
}

/// The files of the script: a full backup with the last component of each source as root, and the chain.
fn old_archives(home: &Path) {
    let app = home.join("app");
    fs::create_dir_all(app.join("data")).unwrap();
    fs::create_dir_all(app.join("uploads")).unwrap();
    fs::create_dir_all(app.join("backups/incremental")).unwrap();
    fs::write(app.join("data/db.json"), "{\"users\": 2}").unwrap();
    let name = "full-2026-11-01T01-00-00-000Z.tar.gz";
    let mut tar = Command::new("tar");
    tar.current_dir(&app).args(["-czf", &format!("backups/incremental/{name}")]);
    assert!(tar.args(["data", "uploads"]).status().unwrap().success());
    let time = "2026-11-01T01:00:00.000Z";
    let path = format!("/srv/app/backups/incremental/{name}");
    let metadata = serde_json::json!({
        "lastFullBackup": time, "version": 1, "fileHashes": {"data/db.json": "00"},
        "backupChain": [{"type": "full", "timestamp": time, "path": path, "size": 1, "fileCount": 1}],
    });
    fs::write(app.join("backups/incremental/metadata.json"), metadata.to_string()).unwrap();
}

/// The two blocks of the guide that are not marked `sh`: a crontab, and a loop that needs restic.
#[test]
fn the_crontab_and_the_move_from_restic_work_as_they_stand() {
    let home = tempfile::tempdir().unwrap();
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide.md")).unwrap();
    let blocks: Vec<&str> = page.split("```").skip(1).step_by(2).collect();
    let block = |word: &str| *blocks.iter().find(|block| block.contains(word)).unwrap();
    let calls: Vec<&str> = block("* * 0    snap backup --full")
        .lines()
        .filter_map(|line| line.find("snap ").map(|at| &line[at..]))
        .collect();
    assert_eq!(calls.len(), 3);
    // What a test cannot have: restic. A function restores a file that names its snapshot.
    let moved = block("restic restore").replace("/tmp/old", home.path().join("old").to_str().unwrap());
    let restic =
        "restic() { mkdir -p \"$4\"; echo \"$2\" > \"$4/file\"; touch -d \"@$((16#$2))\" \"$4/file\"; }";
    let script = format!(
        "export SNAP_PASSWORD=x SNAP_REPO=$HOME/repo\n{restic}\nsnap init\n{moved}\nsnap snapshots\n\
         mkdir -p app/data\ncd app\necho one > data/file\nunset SNAP_PASSWORD SNAP_REPO\n\
         export INCREMENTAL_BACKUP_PATH=./backups\nsnap backup\n{}\n",
        calls.join("\n")
    );
    let all = run_script(home.path(), &script);
    for told in ["restic-1a2b3c4d", "restic-5e6f7a8b", "2 snapshots", "full backup"] {
        assert!(all.contains(told), "{told} in {all}");
    }
}

/// A block that is added to the README or the guide needs a test here.
#[test]
fn every_block_of_commands_is_run_by_a_test() {
    for (page, wanted) in [
        ("README.md", &["Two commands", "Install", "Quick start", "On a new machine"][..]),
        ("docs/guide.md", &["From the old script, step by step", "From restic or borg"]),
    ] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        let mut titles = Vec::new();
        for section in text.split("\n## ").skip(1) {
            let title = section.lines().next().unwrap();
            let mut blocks = section.split("```").skip(1).step_by(2);
            // All marked blocks of the guide are run.
            if blocks.any(|block| page == "README.md" || !block.starts_with("sh\n")) {
                titles.push(title);
            }
        }
        assert_eq!(titles, wanted, "{page}");
    }
}

#[test]
fn from_the_old_script_step_by_step() {
    let home = tempfile::tempdir().unwrap();
    old_archives(home.path());
    let all = run(home.path(), &["From the old script"]);
    assert!(all.contains("is not encrypted"), "{all}");
    assert!(all.contains("incremental backup, compared with"), "{all}");
    // What only the archive contained is in the repository.
    let mut snap = Command::new(env!("CARGO_BIN_EXE_snap"));
    snap.env_clear().args(["-r", "app/backups/incremental", "cat", "2026-11-02:data/db.json"]);
    snap.current_dir(home.path()).env("HOME", home.path());
    assert_eq!(finish(snap, b"").expect(0).text(), "{\"users\": 2}");
    assert!(!home.path().join("app/backups/incremental/metadata.json").exists());
}
