//! `.gitignore` files with git's semantics.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use parking_lot::Mutex;

/// Number of directories whose `.gitignore` is cached before the cache is cleared.
const MAX_CACHED: usize = 8192;
/// Number of lines that are compiled together. The cost of compilation grows faster than the number of
/// lines.
const LINES_PER_GROUP: usize = 500;

/// Cache of `.gitignore` files.
#[derive(Default)]
pub(super) struct GitRules {
    cache: Mutex<HashMap<PathBuf, Arc<GitDir>>>,
}

/// The rules of one directory.
struct GitDir {
    /// Compiled groups of lines; later groups take precedence.
    rules: Vec<Gitignore>,
    /// The directory contains a `.git`: rules above it do not apply.
    is_repository: bool,
}

impl GitRules {
    /// Returns whether the path is ignored. The deepest directory with a matching rule decides.
    pub(super) fn ignores(&self, path: &Path, is_dir: bool) -> bool {
        for dir in path.ancestors().skip(1) {
            let found = self.rules_of(dir);
            for rules in found.rules.iter().rev() {
                let verdict = rules.matched(path, is_dir);
                if !verdict.is_none() {
                    return verdict.is_ignore();
                }
            }
            if found.is_repository {
                break;
            }
        }
        false
    }

    fn rules_of(&self, dir: &Path) -> Arc<GitDir> {
        if let Some(known) = self.cache.lock().get(dir) {
            return Arc::clone(known);
        }
        let fresh = Arc::new(GitDir::read(dir));
        let mut cache = self.cache.lock();
        if cache.len() >= MAX_CACHED {
            cache.clear();
        }
        cache.insert(dir.to_owned(), Arc::clone(&fresh));
        fresh
    }
}

impl GitDir {
    /// Reads the rules of a directory. Lines that git would not understand are skipped.
    fn read(dir: &Path) -> Self {
        let is_repository = fs::symlink_metadata(dir.join(".git")).is_ok();
        let file = dir.join(".gitignore");
        if !fs::symlink_metadata(&file).is_ok_and(|found| found.is_file()) {
            return Self { rules: Vec::new(), is_repository };
        }
        // An unreadable file excludes nothing.
        let bytes = fs::read(&file).unwrap_or_default();
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let lines: Vec<&str> =
            bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let group = |lines: &[&str]| {
            let mut builder = GitignoreBuilder::new(dir);
            for line in lines {
                let _invalid = builder.add_line(None, &literal_braces(line.trim_end_matches('\r')));
            }
            builder.build().ok().filter(|rules| !rules.is_empty())
        };
        Self { rules: lines.chunks(LINES_PER_GROUP).filter_map(group).collect(), is_repository }
    }
}

/// Escapes braces: they are literal in git, but alternatives in the crate.
fn literal_braces(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' if !in_class => {
                out.push(c);
                out.extend(chars.next());
                continue;
            }
            '[' if !in_class => {
                in_class = true;
                out.push(c);
                out.extend(chars.next_if(|next| matches!(next, '!' | '^')));
                out.extend(chars.next_if_eq(&']'));
                continue;
            }
            ']' => in_class = false,
            '{' | '}' if !in_class => out.push('\\'),
            _ => {}
        }
        out.push(c);
    }
    out
}
