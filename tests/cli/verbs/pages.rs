//! Completions load in real shells, and manual pages render.

use std::fs;
use std::process::Command;

use crate::support::Sandbox;

fn has(program: &str, what: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        crate::support::skipped(&format!("no {program}: {what}"));
    }
    there
}

/// Completes `snap ba` and `snap backup --diff` in bash itself.
#[test]
fn bash_completes_verbs_and_flags() {
    let sandbox = Sandbox::bare();
    let file = sandbox.path("snap.bash");
    fs::write(&file, finished(&sandbox, "bash")).unwrap();
    if !has("bash", "its completions are not loaded") {
        return;
    }
    let script = r#"set -eu
        source "$1"
        complete -p snap >/dev/null
        ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _snap snap "${@: -1}" "${@: -2:1}"; echo "${COMPREPLY[@]}"; }
        ask snap ba; ask snap backup --diff; ask snap completions fi"#;
    let output = Command::new("bash").args(["--norc", "-c", script, "x"]).arg(&file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(text.lines().collect::<Vec<_>>(), ["backup", "--differential", "fish"]);
}

#[test]
fn zsh_loads_the_completions() {
    let sandbox = Sandbox::bare();
    fs::create_dir(sandbox.path("fpath")).unwrap();
    fs::write(sandbox.path("fpath/_snap"), finished(&sandbox, "zsh")).unwrap();
    if !has("zsh", "its completions are not loaded") {
        return;
    }
    let script = r#"set -e
        fpath=("$1" $fpath)
        autoload -Uz compinit
        compinit -u -d "$1/dump"
        [[ ${_comps[snap]} == _snap ]]
        autoload +X _snap
        print -r -- ${${functions[_snap]}[(I)differential]}"#;
    let output =
        Command::new("zsh").args(["-f", "-c", script, "x"]).arg(sandbox.path("fpath")).output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_ne!(output.stdout, b"0\n", "the function knows the flags");
}

#[test]
fn every_shell_gets_something_and_another_is_a_mistake() {
    let sandbox = Sandbox::bare();
    for shell in ["fish", "elvish", "powershell"] {
        assert!(finished(&sandbox, shell).contains("differential"), "{shell}");
    }
    sandbox.snap(&["completions", "tcsh"]).expect(2);
}

fn finished(sandbox: &Sandbox, shell: &str) -> String {
    sandbox.ok(&["completions", shell]).text()
}

#[test]
fn manual_pages_render_without_a_warning() {
    let sandbox = Sandbox::bare();
    let dir = sandbox.path("man");
    sandbox.ok(&["man", dir.to_str().unwrap()]);
    let mut pages: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    let names: Vec<_> = pages.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    for name in ["snap.1", "snap-backup.1", "snap-key-add.1", "snap-drill.1"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let top = fs::read_to_string(dir.join("snap.1")).unwrap();
    assert!(top.contains("SNAP_REPO") && top.contains("Exit codes"), "{top}");
    if !has("man", "the pages are not rendered") {
        return;
    }
    for page in &pages {
        let mut man = Command::new("man");
        man.args(["-l", "--warnings=w"])
            .arg(page)
            .env("MANWIDTH", "100")
            .env("LC_ALL", "C.UTF-8")
            .env("MANPAGER", "cat");
        let output = man.output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && complaint.is_empty(), "{}: {complaint}", page.display());
        assert!(output.stdout.len() > 100, "{} is empty", page.display());
    }
}
