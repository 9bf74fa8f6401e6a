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
fn every_shell_has_completions_and_others_are_refused() {
    let sandbox = Sandbox::bare();
    for shell in ["fish", "elvish", "powershell"] {
        assert!(finished(&sandbox, shell).contains("differential"), "{shell}");
    }
    sandbox.snap(&["completions", "tcsh"]).expect(2);
}

/// Each shell that starts reads the whole file.
#[test]
fn completions_do_not_repeat_all_global_options_for_each_verb() {
    let sandbox = Sandbox::bare();
    for shell in ["bash", "zsh", "fish"] {
        let text = finished(&sandbox, shell);
        assert!(text.contains("password-command") && text.contains("repo"), "{shell}");
        let repeated = text.matches("password-command").count();
        assert!(repeated <= 4, "{shell} repeats --password-command {repeated} times");
        assert!(text.len() < 130_000, "{shell}: {} bytes", text.len());
    }
}

/// Packages install it as `snap-backup`, because snapd has `/usr/bin/snap`.
#[test]
fn every_text_has_the_name_by_which_the_program_was_called() {
    let sandbox = Sandbox::bare();
    let link = sandbox.path("snap-backup");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_snap"), &link).unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(&link);
        command.env_clear().env("HOME", sandbox.path("home")).env("SNAP_PAGER", "cat").args(args);
        crate::support::finish(command, b"")
    };
    let other = regex::Regex::new(r"(?m)(^|[\s`(])snap([\s:`,;)]|$)").unwrap();
    let top = run(&["--help"]).expect(0).text();
    let verbs = top.lines().filter(|line| line.starts_with("  ") && !line.trim_start().starts_with('-'));
    let verbs: Vec<&str> = verbs.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(verbs.contains(&"backup") && verbs.contains(&"help"), "{top}");
    for verb in &verbs {
        let text = run(&["help", verb]);
        let text = if text.code == 0 { text.text() } else { continue };
        assert!(text.contains("Usage: snap-backup"), "{verb}: {text}");
        let wrong: Vec<&str> = text.lines().filter(|line| other.is_match(line)).collect();
        assert!(wrong.is_empty(), "help {verb}: {wrong:?}");
    }
    for topic in ["environment", "patterns", "selectors", "terminal"] {
        let text = run(&["help", topic]).expect(0).text();
        let wrong: Vec<&str> = text.lines().filter(|line| other.is_match(line)).collect();
        assert!(wrong.is_empty(), "help {topic}: {wrong:?}");
    }
    let told = run(&["-r", "nowhere", "snapshots"]).expect(10).stderr;
    assert!(told.starts_with("snap-backup: there is no repository"), "{told}");
    assert!(told.contains("`snap-backup init`"), "{told}");
    let told = run(&["extract"]).expect(2).stderr;
    assert!(told.contains("`snap-backup restore SNAPSHOT"), "{told}");
    assert!(run(&["completions", "bash"]).expect(0).text().contains("-o default snap-backup\n"));
    let pages = sandbox.path("pages");
    run(&["man", pages.to_str().unwrap()]).expect(0);
    assert!(pages.join("snap-backup-restore.1").is_file());
}

fn finished(sandbox: &Sandbox, shell: &str) -> String {
    sandbox.ok(&["completions", shell]).text()
}

#[test]
fn manual_pages_render_without_a_warning() {
    let sandbox = Sandbox::bare();
    let dir = sandbox.path("man/man1");
    sandbox.ok(&["man", dir.to_str().unwrap()]);
    let mut pages: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    pages.push(sandbox.path("man/man5/snap.toml.5"));
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
