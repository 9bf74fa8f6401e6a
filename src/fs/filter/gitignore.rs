//! `.gitignore` files, as git understands them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Directories whose `.gitignore` is remembered before all are forgotten.
const REMEMBERED: usize = 8192;
/// Lines that are compiled together: what that takes grows faster than their number.
const TOGETHER: usize = 500;

/// `.gitignore` files, read once each.
#[derive(Default)]
pub(super) struct GitRules {
    seen: Mutex<HashMap<PathBuf, Arc<GitDir>>>,
}

/// What one directory says.
struct GitDir {
    /// In groups, the last of which counts most.
    rules: Vec<Gitignore>,
    /// It holds a `.git`: rules above do not count.
    top: bool,
}

impl GitRules {
    /// The deepest directory with an opinion decides.
    pub(super) fn ignores(&self, path: &Path, is_dir: bool) -> bool {
        for dir in path.ancestors().skip(1) {
            let found = self.of(dir);
            for rules in found.rules.iter().rev() {
                let verdict = rules.matched(path, is_dir);
                if !verdict.is_none() {
                    return verdict.is_ignore();
                }
            }
            if found.top {
                break;
            }
        }
        false
    }

    fn of(&self, dir: &Path) -> Arc<GitDir> {
        if let Some(known) = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(dir) {
            return Arc::clone(known);
        }
        let fresh = Arc::new(GitDir::read(dir));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        seen.insert(dir.to_owned(), Arc::clone(&fresh));
        fresh
    }
}

impl GitDir {
    /// A line that git would not understand is passed over.
    fn read(dir: &Path) -> Self {
        let top = fs::symlink_metadata(dir.join(".git")).is_ok();
        let file = dir.join(".gitignore");
        if !fs::symlink_metadata(&file).is_ok_and(|found| found.is_file()) {
            return Self { rules: Vec::new(), top };
        }
        // What cannot be read leaves nothing out.
        let bytes = fs::read(&file).unwrap_or_default();
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let lines: Vec<&str> =
            bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let group = |lines: &[&str]| {
            let mut builder = GitignoreBuilder::new(dir);
            for line in lines {
                let _passed_over = builder.add_line(None, &literal_braces(line.trim_end_matches('\r')));
            }
            builder.build().ok().filter(|rules| !rules.is_empty())
        };
        Self { rules: lines.chunks(TOGETHER).filter_map(group).collect(), top }
    }
}

/// Braces mean themselves to git, but alternatives to the crate.
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
