//! Filters: what a backup excludes (`pattern`, `cachedir_tag`, `gitignore`), what a restore or a listing
//! selects (`restore_filter`), and what a search finds (`path_search`). `docs/patterns.md` describes the
//! patterns.

mod cachedir_tag;
mod exclude_file;
mod gitignore;
mod glob;
pub(crate) mod isolated;
mod path_rules;
mod path_search;
mod pattern;
mod pattern_set;
mod reachable;
mod restore_filter;

use std::cell::OnceCell;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::Result;

pub use exclude_file::{patterns_of, text_of};
pub use path_rules::PathRules;
pub use path_search::PathSearch;
pub use restore_filter::RestoreFilter;

use cachedir_tag::{CACHE_SIGNATURE, Marker};
use gitignore::GitRules;
pub(crate) use pattern::components;
use pattern::{Pattern, Scope};
use pattern_set::PatternSet;

/// What to exclude from a backup, as given by the user.
#[derive(Debug, Default, Clone)]
pub struct FilterOptions {
    /// Patterns of paths to exclude.
    pub exclude: Vec<OsString>,
    /// Patterns matched without regard to case.
    pub iexclude: Vec<OsString>,
    /// Files with one pattern per line.
    pub exclude_files: Vec<PathBuf>,
    /// `NAME` or `NAME:header`: directories that contain such a file are saved without their contents.
    pub exclude_if_present: Vec<OsString>,
    /// Whether to exclude the contents of directories with a `CACHEDIR.TAG`.
    pub exclude_caches: bool,
    /// Excludes files with more bytes than this.
    pub larger_than: Option<u64>,
    /// Whether to apply `.gitignore` files.
    pub gitignore: bool,
    /// Whether anchored patterns are also matched against paths in the snapshot, for sources that are stored
    /// under another path.
    pub anchors_in_snapshot: bool,
}

/// Compiled [`FilterOptions`].
pub struct Filter {
    patterns: PatternSet,
    markers: Vec<Marker>,
    larger_than: Option<u64>,
    git: Option<GitRules>,
    anchors_in_snapshot: bool,
}

/// The last pattern that matches an entry or a directory above it, below a source. Each directory passes it
/// on to its entries.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct FilterVerdict(Option<usize>);

/// The path of an entry.
#[derive(Debug, Clone, Copy)]
pub struct EntryPath<'a> {
    /// Absolute path of its directory.
    pub dir: &'a Path,
    /// Path of that directory in the snapshot, without a leading slash.
    pub stored_dir: &'a [u8],
    /// Name of the entry.
    pub name: &'a [u8],
}

/// A pattern that would exclude a source. The source is saved nevertheless, because the user named it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExcludingPattern<'a> {
    /// The pattern as written.
    pub pattern: &'a str,
    /// Whether it matches the source itself, not only a directory above it.
    pub by_name: bool,
}

impl Filter {
    /// Reads the exclude files and compiles everything.
    ///
    /// # Errors
    /// A file cannot be read or a pattern is invalid.
    pub fn new(options: &FilterOptions) -> Result<Self> {
        let mut list = Vec::new();
        for text in &options.exclude {
            list.push(Pattern::parse(text.as_bytes(), true, false)?);
        }
        for file in &options.exclude_files {
            exclude_file::read(file, &mut list)?;
        }
        for text in &options.iexclude {
            list.push(Pattern::parse(text.as_bytes(), true, true)?);
        }
        let mut markers =
            options.exclude_if_present.iter().map(|text| Marker::parse(text)).collect::<Result<Vec<_>>>()?;
        if options.exclude_caches {
            markers.push(Marker { name: "CACHEDIR.TAG".into(), header: CACHE_SIGNATURE.to_vec() });
        }
        Ok(Self {
            patterns: PatternSet::new(with_resolved_paths(list))?,
            markers,
            larger_than: options.larger_than,
            git: options.gitignore.then(GitRules::default),
            anchors_in_snapshot: options.anchors_in_snapshot,
        })
    }

    /// Returns the verdict for an entry below a source, given that of its directory. The verdict of a source
    /// itself is the default: a named source is always saved, and patterns apply to what is below it.
    pub fn decide(&self, above: FilterVerdict, location: EntryPath<'_>) -> FilterVerdict {
        if self.patterns.is_empty() {
            return above;
        }
        let EntryPath { dir, stored_dir, name } = location;
        let absolute = OnceCell::new();
        let stored = OnceCell::new();
        let path = |dir| components(dir).chain([name]).collect::<Vec<_>>();
        let matches = |pattern: &Pattern| {
            let in_snapshot = || pattern.matches(stored.get_or_init(|| path(stored_dir)));
            let in_files = || pattern.matches(absolute.get_or_init(|| path(dir.as_os_str().as_bytes())));
            match pattern.scope {
                Scope::Name => pattern.matches(&[name]),
                Scope::Floating => in_snapshot() || in_files(),
                Scope::Anchored => in_files() || self.anchors_in_snapshot && in_snapshot(),
            }
        };
        FilterVerdict(self.patterns.last_of(name, matches).max(above.0))
    }

    /// Returns whether an entry below a source is excluded.
    pub fn excludes(&self, verdict: FilterVerdict, location: EntryPath<'_>, is_dir: bool, size: u64) -> bool {
        let by_pattern = verdict.0.and_then(|number| self.patterns.get(number));
        by_pattern.is_some_and(|pattern| pattern.excludes)
            || self.is_too_large(is_dir, size)
            || self.git.as_ref().is_some_and(|git| {
                git.ignores(&location.dir.join(std::ffi::OsStr::from_bytes(location.name)), is_dir)
            })
    }

    /// Returns the pattern that would exclude a source, had it not been named.
    pub fn pattern_against(&self, source: &Path, stored: &[u8]) -> Option<ExcludingPattern<'_>> {
        // Number of the last pattern that matches the path or an ancestor, and whether it matches the whole
        // path.
        let last = |path: &[u8], wanted: &dyn Fn(Scope) -> bool| {
            let parts: Vec<&[u8]> = components(path).collect();
            let at = |len: usize| {
                let prefix = parts.get(..len)?;
                let matches = |pattern: &Pattern| wanted(pattern.scope) && pattern.matches(prefix);
                Some((self.patterns.last_of(prefix.last()?, matches)?, len == parts.len()))
            };
            (1..=parts.len()).filter_map(at).max()
        };
        let in_files = last(source.as_os_str().as_bytes(), &|scope| scope != Scope::Name);
        let in_snapshot = last(stored, &|scope| scope != Scope::Anchored || self.anchors_in_snapshot);
        let (number, by_name) = in_files.max(in_snapshot)?;
        let pattern = self.patterns.get(number)?;
        pattern.excludes.then_some(ExcludingPattern { pattern: &pattern.text, by_name })
    }

    /// Returns another reason why a source would be excluded, had it not been named.
    pub fn rule_against(&self, source: &Path, is_dir: bool, size: u64) -> Option<&'static str> {
        if self.is_too_large(is_dir, size) {
            return Some("it is larger than `FilterOptions::larger_than` allows");
        }
        if is_dir && self.excludes_contents(source) {
            return Some("it contains a file that excludes it");
        }
        let is_ignored = self.git.as_ref().is_some_and(|git| git.ignores(source, is_dir));
        is_ignored.then_some("a .gitignore file excludes it")
    }

    fn is_too_large(&self, is_dir: bool, size: u64) -> bool {
        !is_dir && self.larger_than.is_some_and(|limit| size > limit)
    }

    /// Returns whether no rule can exclude a single entry. Marker files are not considered.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty() && self.git.is_none() && self.larger_than.is_none()
    }

    /// Returns whether there are marker files to look for.
    pub fn has_markers(&self) -> bool {
        !self.markers.is_empty()
    }

    /// Returns whether a marker file excludes the contents of the directory.
    pub fn excludes_contents(&self, dir: &Path) -> bool {
        self.markers.iter().any(|marker| marker.is_in(dir))
    }

    /// Returns the patterns that have matched nothing so far, as written.
    pub fn unmatched(&self) -> Vec<String> {
        self.patterns.unmatched()
    }
}

/// Adds an equivalent to each pattern whose path goes through the symbolic link in the shell's working
/// directory: users write such paths, but the paths of relative sources are resolved.
fn with_resolved_paths(list: Vec<Pattern>) -> Vec<Pattern> {
    let shell = std::env::var_os("PWD").map(PathBuf::from).filter(|path| path.is_absolute());
    let (Some(shell), Ok(here)) = (shell, std::env::current_dir()) else { return list };
    let inode = |path: &Path| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    if shell == here || inode(&shell).is_none() || inode(&shell) != inode(&here) {
        return list;
    }
    let from: Vec<&[u8]> = components(shell.as_os_str().as_bytes()).collect();
    let to: Vec<&[u8]> = components(here.as_os_str().as_bytes()).collect();
    let both = |pattern: Pattern| {
        let moved = pattern.moved(&from, &to);
        std::iter::once(pattern).chain(moved)
    };
    list.into_iter().flat_map(both).collect()
}

#[cfg(test)]
mod tests;
