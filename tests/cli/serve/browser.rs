//! The pages in a browser: a visitor finds a file that was deleted three weeks ago, compares its versions,
//! restores it, and downloads a directory, mostly with the keyboard, at three widths, and with axe-core if it
//! is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Serving;
use crate::support::dates::{days, redate};
use crate::support::{PASSWORD, Sandbox, skipped};

/// A document with one empty page.
const PDF: &str = "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj \
    3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]>>endobj trailer<</Size 4/Root 1 0 R>>\n%%EOF\n";
/// An image of one pixel.
const GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

/// A program in PATH.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// axe-core, which `.ci/run` installs next to npm's programs.
fn axe() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let beside = |dir: PathBuf| Some(dir.parent()?.join("axe-core/axe.min.js"));
    std::env::split_paths(&path).filter_map(beside).find(|file| file.is_file())
}

#[test]
fn visitor_finds_a_deleted_file_and_restores_it() {
    let (Some(chromium), true) = (program("chromium"), Path::new("/usr/bin/python3").exists()) else {
        return skipped("no chromium and python3: the pages of `snap serve` are tried in no browser");
    };
    let axe = axe();
    if axe.is_none() {
        skipped("no axe-core: the pages of `snap serve` are not checked for accessibility");
    }
    let sandbox =
        Sandbox::with_tree(&[("notes/holiday-plan.txt", "go to Oslo\nby train\n"), ("notes/a/b", "b")]);
    fs::write(sandbox.src().join("notes/paper.pdf"), PDF).unwrap();
    fs::write(sandbox.src().join("notes/dot.gif"), GIF).unwrap();
    let source = sandbox.src().display().to_string();
    let config = format!(
        "[repositories.main]\nlocation = \"repo\"\n[defaults]\nrepository = \"main\"\nmax-age = \"1h\"\n\
         [sets.notes]\nsources = [\"{source}\"]\n[sets.late]\nsources = [\"{source}/notes\"]\n"
    );
    fs::write(sandbox.path("snap.toml"), config).unwrap();
    let backup = |age: i64| {
        let id = sandbox.backup(&[]);
        redate(&sandbox.path("repo"), Some(PASSWORD), &id, days(-age));
    };
    backup(40);
    sandbox.write(&[("notes/holiday-plan.txt", "go to Rome\nby train\n")]);
    backup(30);
    fs::remove_file(sandbox.src().join("notes/holiday-plan.txt")).unwrap();
    backup(21);
    sandbox.write(&[("notes/today.txt", "rain\n")]);
    sandbox.backup(&[]);
    let target = sandbox.path("target");
    fs::create_dir(&target).unwrap();
    fs::write(sandbox.path("new"), "correct horse\n").unwrap();
    crate::support::chmod(&sandbox.path("new"), 0o600);
    sandbox.ok(&["serve", "passwd", "--new-password-file", "new"]);
    let serving = Serving::start(&sandbox, &["--allow", &format!("restore={}", target.display())]);
    let home = sandbox.path("browser");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/serve/browser.py");
    let done = Command::new("/usr/bin/python3")
        .arg(script)
        .args([chromium.as_path(), &home])
        .args([&format!("http://{}", serving.address), &serving.token, "correct horse"])
        .arg(axe.unwrap_or_default())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{out}{err}");
    assert_eq!(
        fs::read_to_string(target.join("got back/holiday-plan.txt")).unwrap(),
        "go to Oslo\nby train\n"
    );
    let unpacked = sandbox.path("unpacked");
    let zip = home.join("downloads").join(out.trim().strip_prefix("ok ").unwrap());
    let unzip =
        Command::new("/usr/bin/python3").args(["-m", "zipfile", "-e"]).args([&zip, &unpacked]).status();
    assert!(unzip.unwrap().success());
    assert_eq!(fs::read(unpacked.join("a/b")).unwrap(), b"b");
    assert_eq!(fs::read_to_string(unpacked.join("holiday-plan.txt")).unwrap(), "go to Oslo\nby train\n");
}
