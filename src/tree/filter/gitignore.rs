//! `.gitignore` files, as git understands them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use ignore::gitignore::Gitignore;
use ignore::gitignore::GitignoreBuilder;

/// Directories whose `.gitignore` is remembered before all are forgotten.
const REMEMBERED: usize = 8192;

/// `.gitignore` files, read once each.
#[derive(Default)]
pub(super) struct GitRules {
    seen: Mutex<HashMap<PathBuf, Arc<GitDir>>>,
}

/// What one directory says.
struct GitDir {
    rules: Option<Gitignore>,
    /// It holds a `.git`: rules above do not count.
    top: bool,
}

impl GitRules {
    /// The deepest directory with an opinion decides.
    pub(super) fn ignores(&self, path: &Path, is_dir: bool) -> bool {
        for dir in path.ancestors().skip(1) {
            let found = self.of(dir);
            if let Some(rules) = &found.rules {
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
            return Self { rules: None, top };
        }
        let mut builder = GitignoreBuilder::new(dir);
        let _partial = builder.add(&file);
        Self { rules: builder.build().ok().filter(|rules| !rules.is_empty()), top }
    }
}
