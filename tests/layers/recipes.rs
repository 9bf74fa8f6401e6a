//! Statements in `packaging/` about the source are true: scripts run, and files and profiles that a recipe
//! names exist.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// Files of `packaging/`, as paths below the root, with their text.
fn recipes() -> Vec<(String, String)> {
    let mut found = Vec::new();
    files(&root().join("packaging"), &mut found);
    let name = |path: &Path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_packaging_script_parses_may_be_run_and_is_in_the_table() {
    let readme = fs::read_to_string(root().join("packaging/README.md")).unwrap();
    for (name, text) in recipes() {
        let is_shell = text.starts_with("#!") && text.lines().next().unwrap().ends_with("sh");
        if is_shell || name.contains("PKGBUILD") {
            let output = Command::new("bash").arg("-n").arg(root().join(&name)).output().unwrap();
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        }
        // Scripts for users are in `packaging/` itself; those of packages in `packaging/files`.
        if name.matches('/').count() == 1 && name != "packaging/README.md" {
            let mode = fs::metadata(root().join(&name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o111, 0o111, "{name} cannot be run");
            let row = format!("| `{}` |", name.trim_start_matches("packaging/"));
            assert!(readme.contains(&row), "packaging/README.md has no row that begins with {row}");
        }
    }
}

#[test]
fn recipes_name_files_and_profiles_that_exist() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut seen = 0;
    for (name, text) in recipes() {
        for (_, profile) in
            text.match_indices("--profile ").map(|(at, found)| text.split_at(at + found.len()))
        {
            let profile = profile.split_whitespace().next().unwrap();
            assert!(
                manifest.contains(&format!("[profile.{profile}]")),
                "{name}: there is no profile {profile}"
            );
            seen += 1;
        }
        let words = text.split(|letter: char| !(letter.is_alphanumeric() || "._-/".contains(letter)));
        for word in words.filter(|word| word.starts_with("packaging/") || word.starts_with("src/bin/")) {
            let path = word.trim_end_matches(['.', '/']);
            // PKGBUILD names two files as `snap-backup.{service,timer}`.
            let is_there = root().join(path).exists() || root().join(format!("{path}.service")).exists();
            assert!(is_there, "{name} names {word}, which is not there");
            seen += 1;
        }
    }
    assert!(seen > 15, "only {seen} names were looked at");
}

#[test]
fn the_version_is_written_down_in_one_place() {
    let version = env!("CARGO_PKG_VERSION");
    for (name, text) in recipes() {
        let is_named =
            text.lines().any(|line| line.contains(version) && line.to_lowercase().contains("version"));
        assert!(!is_named, "{name} repeats the version {version} of Cargo.toml");
    }
}
