//! Structure rules, checked on the source: which module may import which, and which module alone may use a
//! crate.
#![allow(clippy::unwrap_used)]

mod circles;
mod documents;
mod folders;
mod messages;
mod owners;
mod public_api;
mod recipes;
mod type_names;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lowest layer first. A module may import its own folder and any lower layer, never a neighbour.
const FLOORS: &[&[&str]] = &[
    &["model"],
    &["error"],
    &["sys"],
    &["progress", "util"],
    &["codec"],
    &["fs", "storage"],
    &["run_log"],
    &["repo"],
    &["ops"],
];

/// A crate, and the only file or folder of the library that may use it.
const ONE_MODULE_EACH: &[(&str, &str)] = &[
    ("rustix", "sys"),
    ("uzers", "sys/users.rs"),
    ("nix", "sys/unix"),
    ("unicode_normalization", "sys/unix"),
    ("fastcdc", "codec/chunk/chunker.rs"),
    ("zstd", "codec/chunk/compress"),
    ("flate2", "codec/gzip.rs"),
    ("flate2", "codec/zip.rs"),
    ("libdeflater", "codec/gzip.rs"),
    ("postcard", "codec/wire.rs"),
    ("serde_json", "run_log"),
    ("serde_json", "ops/import/legacy/metadata.rs"),
    ("serde_json", "ops/receipt.rs"),
    ("serde_json", "storage/rest"),
    ("ring", "codec/crypto/cipher.rs"),
    ("ring", "codec/crypto/signature.rs"),
    ("hpke", "codec/crypto/envelope.rs"),
    ("reed_solomon_simd", "codec/pack/parity.rs"),
    ("argon2", "codec/crypto/kdf.rs"),
    ("sha2", "codec/crypto/hash.rs"),
    ("hmac", "codec/crypto/hash.rs"),
    ("sled", "repo/index/local_cache.rs"),
    ("walkdir", "fs/stat.rs"),
    ("clap", "bin"),
    ("clap_complete", "bin"),
    ("clap_mangen", "bin"),
    ("console", "bin"),
    ("indicatif", "bin"),
    ("rpassword", "bin"),
    ("signal_hook", "bin"),
    ("strsim", "bin"),
    ("fuser", "bin"),
    ("croner", "ops/schedule/cron.rs"),
    ("ureq", "bin"),
    ("ureq", "storage/http.rs"),
    ("ureq", "storage/tls.rs"),
    ("rustls_native_certs", "storage/tls.rs"),
    ("object_store", "storage/object_store"),
    ("toml", "bin"),
    ("tokio", "bin/snap/serve"),
    ("hyper", "bin/snap/serve"),
    ("base64", "bin/snap/serve/access"),
    ("base64", "storage/rest/url.rs"),
    ("dav_server", "bin/snap/serve"),
    ("maud", "bin/snap/serve"),
    ("similar", "bin/snap/serve/pages/difference.rs"),
    ("ratatui", "bin/snap/browse"),
];

#[test]
fn modules_only_look_down() {
    for (file, code) in sources() {
        let Some(user) = top_module(&file) else { continue };
        assert!(floor(&user) < FLOORS.len(), "{}: `{user}` is on no floor", file.display());
        for used in names_after(&code, "crate::") {
            let allowed = used == user || floor(&used) < floor(&user);
            assert!(allowed, "{}: `{user}` looks up or sideways at `{used}`", file.display());
        }
    }
}

#[test]
fn no_op_knows_another() {
    for (file, code) in sources() {
        let Some(op) = op_of(&file) else { continue };
        for used in names_after(&code, "crate::ops::") {
            assert_eq!(used, op, "{}: the op `{op}` imports the op `{used}`", file.display());
        }
    }
}

#[test]
fn each_foreign_crate_has_one_home() {
    for (file, code) in sources() {
        for (name, home) in ONE_MODULE_EACH {
            // A crate with two homes has two rows.
            let mut homes = ONE_MODULE_EACH.iter().filter(|(other, _)| other == name).map(|(_, home)| home);
            let at_home = homes.any(|home| file.starts_with(home))
                || (!home.starts_with("bin") && !home.starts_with("sys") && file.starts_with("bin"));
            assert!(at_home || !names_crate(&code, name), "{}: only {home} may name {name}", file.display());
        }
    }
}

/// Other systems have no `/proc`, and other calls: what depends on the system is in one place.
#[test]
fn only_sys_names_system_calls() {
    for (file, code) in sources().into_iter().filter(|(file, _)| !file.starts_with("sys")) {
        for name in ["\"/proc/", "target_os", "target_vendor", "std::os::linux", "std::os::macos"] {
            assert!(!code.contains(name), "{}: {name} belongs into sys", file.display());
        }
    }
}

/// If the system allows no more threads, a plain spawn panics.
#[test]
fn threads_start_where_a_refusal_is_an_error() {
    for (file, code) in sources() {
        for plain in ["scope.spawn(", "thread::spawn(", "use std::thread::spawn"] {
            assert!(
                !code.contains(plain),
                "{}: {plain} panics without a thread: see `threads`",
                file.display()
            );
        }
    }
}

/// Otherwise a started program gets the passwords in the environment.
#[test]
fn programs_start_where_passwords_are_withheld() {
    for (file, code) in sources().into_iter().filter(|(file, _)| !file.ends_with("programs.rs")) {
        if file.starts_with("sys/unix") && code.contains(".env_clear()") {
            continue;
        }
        let is_clap = code.contains("clap::Command") || code.contains("Command::clap");
        assert!(is_clap || !code.contains("Command::new("), "{}: see `programs`", file.display());
    }
}

#[test]
fn the_homes_exist() {
    for (name, home) in ONE_MODULE_EACH {
        assert!(src().join(home).exists(), "{home}, the home of {name}, is gone");
    }
}

/// Without the feature `cli` this is a library that needs none of them.
#[test]
fn what_only_the_program_names_is_an_optional_dependency() {
    let manifest = fs::read_to_string(src().with_file_name("Cargo.toml")).unwrap();
    for (name, _) in ONE_MODULE_EACH.iter().filter(|(_, home)| home.starts_with("bin")) {
        let named = |line: &&str| line.replace('-', "_").starts_with(&format!("{name} ="));
        let line = manifest.lines().find(named).unwrap();
        assert!(line.contains("optional = true"), "{line}");
    }
}

#[test]
fn all_dependencies_have_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let page = "docs/decisions/0040-what-each-dependency-is-for.md";
    let reasons = fs::read_to_string(root.join(page)).unwrap();
    let mut in_dependencies = false;
    let mut count = 0;
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line == "[dependencies]" || line == "[dev-dependencies]";
        } else if in_dependencies && let Some((name, _)) = line.split_once(" = ") {
            count += 1;
            let named = reasons.contains(&format!("`{name}`"));
            assert!(named, "{name} is a dependency, and {page} does not say why");
        }
    }
    assert!(count > 50, "{count} dependencies were found");
    for line in reasons.lines().filter(|line| line.starts_with("| `")) {
        let names = line.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2);
        for name in names.filter(|name| *name != "zlib-rs") {
            let is_there = manifest.contains(&format!("\n{name} = "));
            assert!(is_there, "{page} gives a reason for {name}, which is no dependency");
        }
    }
}

#[test]
fn a_longer_word_is_not_a_crate() {
    assert!(!names_crate("String::new()", "ring"));
    assert!(names_crate("use ring::aead;", "ring"));
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file, relative to `src`, with its code, without unit tests and comment lines.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    collect(&src(), &mut found);
    assert!(!found.is_empty(), "no source was found");
    found
}

fn collect(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    walk(folder, &mut |path, code| {
        found.push((path.strip_prefix(src()).unwrap().to_owned(), without_tests_and_comments(code)));
    });
}

/// Every Rust file below a folder, with its content.
fn walk(folder: &Path, each: &mut dyn FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, each);
        } else if path.extension().is_some_and(|end| end == "rs") {
            each(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}

fn without_tests_and_comments(code: &str) -> String {
    let code = code.split("#[cfg(test)]").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Returns `None` for lib.rs and the binary.
fn top_module(file: &Path) -> Option<String> {
    let name = first_part(file);
    (name != "lib" && name != "bin").then_some(name)
}

/// Returns `None` outside `ops`, for the list of operations, and for the methods of `Repository`, which call
/// them.
fn op_of(file: &Path) -> Option<String> {
    let name = first_part(file.strip_prefix("ops").ok()?);
    (name != "mod" && name != "api").then_some(name)
}

fn first_part(file: &Path) -> String {
    let part = file.iter().next().unwrap();
    Path::new(part).file_stem().unwrap().to_str().unwrap().to_owned()
}

fn floor(module: &str) -> usize {
    FLOORS.iter().position(|names| names.contains(&module)).unwrap_or(usize::MAX)
}

fn names_after(code: &str, prefix: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    code.split(prefix).skip(1).map(name).collect()
}

fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// Returns the targets of the links in a Markdown text, except those to other sites and within the page. Some
/// links have their targets at the end of the page.
fn local_links(text: &str) -> Vec<&str> {
    let inline = text.match_indices("](").filter_map(|(at, _)| text.get(at + 2..)?.split(')').next());
    let at_the_end =
        text.lines().filter(|line| line.starts_with('[')).filter_map(|line| line.split_once("]: "));
    let targets = inline.chain(at_the_end.map(|(_, target)| target));
    targets.filter(|link| !link.contains("://") && !link.starts_with('#')).collect()
}

/// A heading as an anchor: lower case, without punctuation, hyphens for blanks.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [root.to_owned(), root.join("docs"), root.join("docs/decisions")];
    let pages = folders.into_iter().flat_map(|dir| fs::read_dir(dir).unwrap());
    let mut links = 0;
    for page in pages
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
    {
        let text = fs::read_to_string(&page).unwrap();
        for link in local_links(&text) {
            links += 1;
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = page.parent().unwrap().join(path);
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
            if !heading.is_empty() {
                let headings = fs::read_to_string(&target).unwrap();
                let known = headings.lines().any(|line| line.starts_with('#') && anchor(line) == heading);
                assert!(known, "{}: {link} names no heading", page.display());
            }
        }
    }
    assert!(links > 50, "{links} links were found");
}

/// Returns the names of tests in a text: words of four parts or more in backquotes. A star matches any
/// suffix.
fn tests_named_in(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_*".contains(c);
    let words = text.split('`').skip(1).step_by(2);
    words.filter(move |word| word.chars().all(is_part) && word.matches('_').count() >= 3)
}

#[test]
fn every_test_that_the_documents_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = Vec::new();
    for folder in ["src", "tests"] {
        walk(&root.join(folder), &mut |_, text| code.push(text.to_owned()));
    }
    let mut named = 0;
    for page in ["architecture.md", "concurrency.md", "threat-model.md"] {
        let text = fs::read_to_string(root.join("docs").join(page)).unwrap();
        for name in tests_named_in(&text) {
            named += 1;
            let function = match name.strip_suffix('*') {
                Some(start) => format!("fn {start}"),
                None => format!("fn {name}("),
            };
            assert!(code.iter().any(|file| file.contains(&function)), "docs/{page}: there is no test {name}");
        }
    }
    assert!(named > 100, "{named} tests were named");
}

/// Returns the names of types, functions and constants in a text: `Type`, `Type::method`, `CONSTANT`,
/// `some_function`.
fn code_named_in(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_:".contains(c);
    let words = text.split('`').skip(1).step_by(2);
    words.filter(move |word| {
        let is_code = word.contains("::") || word.starts_with(char::is_uppercase) || word.contains('_');
        is_code && word.chars().all(is_part)
    })
}

#[test]
fn all_code_that_the_architecture_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut words = HashSet::new();
    for folder in ["src", "tests"] {
        walk(&root.join(folder), &mut |_, text| {
            let of_file = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            words.extend(of_file.map(str::to_owned));
        });
    }
    let text = fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let mut named = 0;
    for name in code_named_in(&text) {
        named += 1;
        let missing = name.split("::").find(|part| !words.contains(*part));
        assert_eq!(missing, None, "docs/architecture.md: there is no {name}");
    }
    assert!(named > 40, "{named} names were found");
}

#[test]
fn every_document_that_the_code_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = 0;
    for folder in ["src", "tests"] {
        walk(&root.join(folder), &mut |file, code| {
            let is_part = |c: char| c.is_alphanumeric() || "-_./".contains(c);
            for (at, _) in code.match_indices("docs/") {
                let page = code[at..].split(|c| !is_part(c)).next().unwrap().trim_end_matches('.');
                if page.ends_with(".md") {
                    named += 1;
                    assert!(root.join(page).exists(), "{}: there is no {page}", file.display());
                }
            }
        });
    }
    assert!(named > 20, "{named} pages were named");
}
