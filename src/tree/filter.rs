//! What a backup leaves out, and what a restore or a listing takes in.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use globset::{Candidate, Glob, GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::Error;
use crate::error::Result;

/// First bytes of a `CACHEDIR.TAG` that means it.
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";
/// Directories whose `.gitignore` is remembered before all are forgotten.
const REMEMBERED: usize = 8192;

/// What to leave out of a backup, as asked for.
#[derive(Debug, Default, Clone)]
pub struct FilterOptions {
    /// Patterns.
    pub exclude: Vec<String>,
    /// Patterns that ignore case.
    pub iexclude: Vec<String>,
    /// Files with one pattern per line.
    pub exclude_files: Vec<PathBuf>,
    /// `NAME` or `NAME:header`: a directory with such a file keeps nothing else.
    pub exclude_if_present: Vec<String>,
    /// Whether the contents of tagged cache directories stay out.
    pub exclude_caches: bool,
    /// Files with more bytes stay out.
    pub larger_than: Option<u64>,
    /// Whether `.gitignore` files are heeded.
    pub gitignore: bool,
}

/// [`FilterOptions`], compiled.
pub struct Filter {
    patterns: Patterns,
    markers: Vec<Marker>,
    larger_than: Option<u64>,
    git: Option<GitRules>,
}

impl Filter {
    /// Reads the exclude files and compiles everything.
    ///
    /// # Errors
    /// When a file cannot be read or a pattern is none.
    pub fn new(options: &FilterOptions) -> Result<Self> {
        let mut list = Vec::new();
        for text in &options.exclude {
            list.push(Pattern::parse(text, true, false)?);
        }
        for file in &options.exclude_files {
            read_patterns(file, &mut list)?;
        }
        for text in &options.iexclude {
            list.push(Pattern::parse(text, true, true)?);
        }
        let mut markers =
            options.exclude_if_present.iter().map(|text| Marker::parse(text)).collect::<Result<Vec<_>>>()?;
        if options.exclude_caches {
            markers.push(Marker { name: "CACHEDIR.TAG".into(), header: CACHE_SIGNATURE.to_vec() });
        }
        Ok(Self {
            patterns: Patterns::new(list)?,
            markers,
            larger_than: options.larger_than,
            git: options.gitignore.then(GitRules::default),
        })
    }

    /// Whether this entry stays out. `path` is where it was found, `stored` its path in the snapshot
    /// (without a leading slash). Anchored patterns look at the absolute path, names at the stored path,
    /// floating paths at both.
    pub fn excludes(&self, path: &Path, stored: &[u8], is_dir: bool, size: u64) -> bool {
        if !is_dir && self.larger_than.is_some_and(|limit| size > limit) {
            return true;
        }
        if self.patterns.is_empty() && self.git.is_none() {
            return false;
        }
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        if self.patterns.excludes(without_root(absolute.as_os_str().as_bytes()), stored) {
            return true;
        }
        self.git.as_ref().is_some_and(|git| git.ignores(&absolute, is_dir))
    }

    /// Whether the directory says of itself that its contents need no backup.
    pub fn excludes_contents(&self, dir: &Path) -> bool {
        self.markers.iter().any(|marker| marker.is_in(dir))
    }
}

/// Adds the patterns of one exclude file.
fn read_patterns(file: &Path, list: &mut Vec<Pattern>) -> Result<()> {
    let bytes = fs::read(file).map_err(Error::io("read", file))?;
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let text = std::str::from_utf8(line).map_err(|_| {
            let line = String::from_utf8_lossy(line);
            Error::Usage(format!("the pattern '{line}' in {} is not UTF-8", file.display()))
        })?;
        list.push(Pattern::parse(text, true, false)?);
    }
    Ok(())
}

/// Path bytes without leading slashes.
fn without_root(path: &[u8]) -> &[u8] {
    let start = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
    path.get(start..).unwrap_or_default()
}

/// What a pattern is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Starts with a slash: the whole path.
    Anchored,
    /// Has a slash elsewhere: consecutive components anywhere.
    Floating,
    /// Any one component.
    Name,
}

/// One pattern, parsed.
struct Pattern {
    /// What it says about what it matches: leave out, or (after `!`) take in again.
    excludes: bool,
    scope: Scope,
    glob: Glob,
    /// The same for everything below.
    below: Glob,
    /// Body in globset's words, without slashes around it.
    body: String,
}

impl Pattern {
    /// `negatable`: whether a leading `!` turns the meaning around.
    fn parse(text: &str, negatable: bool, ignore_case: bool) -> Result<Self> {
        let (excludes, rest) = match text.strip_prefix('!') {
            Some(rest) if negatable => (false, rest),
            _ => (true, text),
        };
        let trimmed = rest.trim_end_matches('/');
        let (scope, body) = if rest.starts_with('/') {
            (Scope::Anchored, trimmed.trim_start_matches('/'))
        } else if trimmed.contains('/') {
            (Scope::Floating, trimmed)
        } else {
            (Scope::Name, trimmed)
        };
        if rest.is_empty() {
            return Err(Error::Usage(format!("the pattern '{text}' is empty")));
        }
        let body = if body.is_empty() { "**".to_owned() } else { globset_words(body) };
        let full = if scope == Scope::Anchored { body.clone() } else { format!("**/{body}") };
        let bad = |cause: globset::Error| Error::Usage(format!("bad pattern '{text}': {}", cause.kind()));
        let glob = compile(&full, ignore_case).map_err(bad)?;
        let below = compile(&format!("{full}/**"), ignore_case).map_err(bad)?;
        Ok(Self { excludes, scope, glob, below, body })
    }
}

/// Compiles one glob.
fn compile(text: &str, ignore_case: bool) -> Result<Glob, globset::Error> {
    GlobBuilder::new(text)
        .literal_separator(true)
        .backslash_escape(true)
        .case_insensitive(ignore_case)
        .build()
}

/// Braces mean themselves here, but alternatives to globset.
fn globset_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut class = 0_usize;
    while let Some(c) = chars.next() {
        match c {
            '\\' if class == 0 => {
                out.push(c);
                out.extend(chars.next());
                continue;
            }
            '{' | '}' if class == 0 => {
                out.extend(['[', c, ']']);
                continue;
            }
            '[' if class == 0 => {
                out.push(c);
                class = 1;
                out.extend(chars.next_if(|next| matches!(next, '!' | '^')));
                out.extend(chars.next_if_eq(&']'));
                continue;
            }
            ']' => class = 0,
            _ => {}
        }
        out.push(c);
    }
    out
}

/// Patterns in order; the last that matches decides.
struct Patterns {
    verdicts: Vec<bool>,
    /// Anchored and floating patterns: against the absolute path.
    absolute: Compiled,
    /// Names and floating patterns: against the stored path.
    stored: Compiled,
}

/// A glob set with, for each glob, the number of its pattern.
struct Compiled {
    set: GlobSet,
    numbers: Vec<usize>,
}

impl Compiled {
    fn new(list: &[Pattern], wanted: impl Fn(Scope) -> bool) -> Result<Self> {
        let mut builder = GlobSetBuilder::new();
        let mut numbers = Vec::new();
        for (number, pattern) in list.iter().enumerate().filter(|(_, pattern)| wanted(pattern.scope)) {
            builder.add(pattern.glob.clone());
            builder.add(pattern.below.clone());
            numbers.extend([number, number]);
        }
        let set = builder.build().map_err(|cause| {
            let glob = cause.glob().unwrap_or_default();
            Error::Usage(format!("the patterns cannot be used together: {} {glob}", cause.kind()))
        })?;
        Ok(Self { set, numbers })
    }

    /// Number of the last pattern that matches the path or a directory above it.
    fn last(&self, path: &[u8]) -> Option<usize> {
        if self.set.is_empty() {
            return None;
        }
        let hits = self.set.matches_candidate(&Candidate::from_bytes(path));
        hits.into_iter().filter_map(|index| self.numbers.get(index).copied()).max()
    }
}

impl Patterns {
    /// For a backup: two paths.
    fn new(list: Vec<Pattern>) -> Result<Self> {
        Ok(Self {
            absolute: Compiled::new(&list, |scope| scope != Scope::Name)?,
            stored: Compiled::new(&list, |scope| scope != Scope::Anchored)?,
            verdicts: list.iter().map(|pattern| pattern.excludes).collect(),
        })
    }

    fn is_empty(&self) -> bool {
        self.verdicts.is_empty()
    }

    fn excludes(&self, absolute: &[u8], stored: &[u8]) -> bool {
        let last = self.absolute.last(absolute).max(self.stored.last(stored));
        last.and_then(|number| self.verdicts.get(number).copied()).unwrap_or(false)
    }
}

/// A file whose presence makes a directory's contents unwanted.
struct Marker {
    name: String,
    header: Vec<u8>,
}

impl Marker {
    fn parse(text: &str) -> Result<Self> {
        let (name, header) = text.split_once(':').unwrap_or((text, ""));
        if name.is_empty() || name.contains('/') {
            return Err(Error::Usage(format!("'{text}' is not a file name, or a file name with ':header'")));
        }
        Ok(Self { name: name.to_owned(), header: header.as_bytes().to_vec() })
    }

    fn is_in(&self, dir: &Path) -> bool {
        let path = dir.join(&self.name);
        if self.header.is_empty() {
            return fs::symlink_metadata(&path).is_ok();
        }
        // Never opens a pipe, which might not answer.
        if !fs::metadata(&path).is_ok_and(|found| found.is_file()) {
            return false;
        }
        starts_with(&path, &self.header).unwrap_or(false)
    }
}

/// Whether the file starts with these bytes.
fn starts_with(path: &Path, header: &[u8]) -> io::Result<bool> {
    let mut found = Vec::with_capacity(header.len());
    let limit = u64::try_from(header.len()).unwrap_or(u64::MAX);
    File::open(path)?.take(limit).read_to_end(&mut found)?;
    Ok(found == header)
}

/// `.gitignore` files, read once each.
#[derive(Default)]
struct GitRules {
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
    fn ignores(&self, path: &Path, is_dir: bool) -> bool {
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

/// What a restore or a listing takes: everything that an include matches (all, without includes) and no
/// exclude does.
pub struct Selection {
    exclude: Vec<bool>,
    excludes: Compiled,
    includes: Compiled,
    ways: Vec<Way>,
}

/// Where an include can match.
enum Way {
    /// Anywhere.
    Any,
    /// Below these components.
    Fixed(Vec<Step>),
}

/// One component of an anchored include.
enum Step {
    /// Matches a component.
    One(GlobMatcher),
    /// `**`.
    Many,
}

impl Selection {
    /// Compiles the patterns; a leading slash means the root of the snapshot.
    ///
    /// # Errors
    /// When one is none.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self> {
        let include = parse_all(include, false)?;
        let exclude = parse_all(exclude, true)?;
        Ok(Self {
            excludes: Compiled::new(&exclude, |_| true)?,
            includes: Compiled::new(&include, |_| true)?,
            exclude: exclude.iter().map(|pattern| pattern.excludes).collect(),
            ways: include.iter().map(Way::of).collect::<Result<_>>()?,
        })
    }

    /// Whether this entry is wanted.
    pub fn takes(&self, stored: &[u8], _is_dir: bool) -> bool {
        !self.leaves_out(stored) && (self.ways.is_empty() || self.includes.last(stored).is_some())
    }

    /// Whether something below this directory might be wanted.
    pub fn may_hold(&self, stored_dir: &[u8]) -> bool {
        if self.leaves_out(stored_dir) && self.exclude.iter().all(|excludes| *excludes) {
            return false;
        }
        self.ways.is_empty()
            || self.includes.last(stored_dir).is_some()
            || self.ways.iter().any(|way| way.leads_through(stored_dir))
    }

    fn leaves_out(&self, stored: &[u8]) -> bool {
        let last = self.excludes.last(stored);
        last.and_then(|number| self.exclude.get(number).copied()).unwrap_or(false)
    }
}

/// Parses a list.
fn parse_all(texts: &[String], negatable: bool) -> Result<Vec<Pattern>> {
    texts.iter().map(|text| Pattern::parse(text, negatable, false)).collect()
}

impl Way {
    fn of(pattern: &Pattern) -> Result<Self> {
        if pattern.scope != Scope::Anchored {
            return Ok(Self::Any);
        }
        let mut steps = Vec::new();
        for part in pattern.body.split('/') {
            if part == "**" {
                steps.push(Step::Many);
                break;
            }
            // A class that a slash cuts in two: no way to tell where it leads.
            let Ok(glob) = compile(part, false) else { return Ok(Self::Any) };
            steps.push(Step::One(glob.compile_matcher()));
        }
        Ok(Self::Fixed(steps))
    }

    fn leads_through(&self, dir: &[u8]) -> bool {
        let Self::Fixed(steps) = self else { return true };
        let mut steps = steps.iter();
        for part in dir.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            match steps.next() {
                None => return false,
                Some(Step::Many) => return true,
                Some(Step::One(glob)) if glob.is_match(OsStr::from_bytes(part)) => {}
                Some(Step::One(_)) => return false,
            }
        }
        steps.next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(patterns: &[&str], path: &[u8]) -> bool {
        let exclude = patterns.iter().map(|text| (*text).to_owned()).collect();
        let filter = Filter::new(&FilterOptions { exclude, ..FilterOptions::default() }).unwrap();
        filter.excludes(Path::new(OsStr::from_bytes(path)), without_root(path), false, 0)
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_name_matches_any_component_and_everything_below() {
        assert!(excluded(&["target"], b"/a/target"));
        assert!(excluded(&["target/"], b"/a/target/b/c"));
        assert!(excluded(&["*.o"], b"/a/b.o"));
        assert!(excluded(&["b.*"], b"/a/b."));
        assert!(excluded(&["b."], b"/a/b."));
        assert!(!excluded(&["target"], b"/a/target2"));
        assert!(!excluded(&["a*c"], b"/ab/bc"));
        assert!(!excluded(&["a[^x]b"], b"/a/b"));
    }

    #[test]
    fn a_path_floats_unless_it_starts_with_a_slash() {
        assert!(excluded(&["b/c"], b"/a/b/c/d"));
        assert!(!excluded(&["b/c"], b"/a/b/x/c"));
        assert!(excluded(&["/a/b"], b"/a/b/c"));
        assert!(!excluded(&["/b"], b"/a/b"));
        assert!(excluded(&["/a/**/d"], b"/a/b/c/d"));
        assert!(excluded(&["/a/**/d"], b"/a/d/e"));
        assert!(excluded(&["/"], b"/x"));
        assert!(excluded(&["/*/b"], b"/a/b"));
        assert!(!excluded(&["/*/b"], b"/a/c/b"));
    }

    #[test]
    fn the_last_match_wins() {
        assert!(!excluded(&["*.log", "!keep.log"], b"/a/keep.log"));
        assert!(excluded(&["*.log", "!keep.log"], b"/a/other.log"));
        assert!(excluded(&["!keep.log", "/a"], b"/a/keep.log"));
    }

    #[test]
    fn braces_are_literal_and_bytes_need_not_be_text() {
        assert!(excluded(&["{a,b}"], b"/x/{a,b}"));
        assert!(!excluded(&["{a,b}"], b"/x/a"));
        assert!(excluded(&["[]{]x"], b"/x/{x"));
        assert!(excluded(&["*.tmp"], b"/x/\xff\xfe.tmp"));
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let options = FilterOptions { exclude: strings(&["a[b"]), ..FilterOptions::default() };
        let Err(Error::Usage(text)) = Filter::new(&options) else { panic!("was taken") };
        assert!(text.contains("a[b"), "{text}");
    }

    #[test]
    fn exclude_files_case_size_and_markers_are_heeded() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("list");
        fs::write(&list, "# no\n\n  *.bak\r\n!x.bak\n").unwrap();
        let filter = Filter::new(&FilterOptions {
            exclude_files: vec![list],
            iexclude: strings(&["*.jpg"]),
            exclude_if_present: strings(&[".nobackup", "TAG:yes"]),
            exclude_caches: true,
            larger_than: Some(10),
            ..FilterOptions::default()
        })
        .unwrap();
        let out =
            |name: &str, size| filter.excludes(&Path::new("/").join(name), name.as_bytes(), false, size);
        assert!(out("y.bak", 0) && !out("x.bak", 0) && out("P.JPG", 0) && out("big", 11) && !out("big", 10));
        assert!(!filter.excludes_contents(dir.path()));
        fs::write(dir.path().join("TAG"), "no").unwrap();
        fs::write(dir.path().join("CACHEDIR.TAG"), "nothing").unwrap();
        assert!(!filter.excludes_contents(dir.path()));
        fs::write(dir.path().join("TAG"), "yes, do").unwrap();
        assert!(filter.excludes_contents(dir.path()));
        fs::remove_file(dir.path().join("TAG")).unwrap();
        fs::write(dir.path().join("CACHEDIR.TAG"), CACHE_SIGNATURE).unwrap();
        assert!(filter.excludes_contents(dir.path()));
    }

    #[test]
    fn the_deeper_gitignore_wins_and_the_repository_is_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("repo");
        fs::create_dir_all(repo.join(".git")).unwrap();
        fs::create_dir_all(repo.join("sub")).unwrap();
        fs::write(dir.path().join(".gitignore"), "*.c\n").unwrap();
        fs::write(repo.join(".gitignore"), "*.o\n/only\nbuild/\n").unwrap();
        fs::write(repo.join("sub/.gitignore"), "!keep.o\n").unwrap();
        let filter = Filter::new(&FilterOptions { gitignore: true, ..FilterOptions::default() }).unwrap();
        let out = |name: &str, is_dir| filter.excludes(&repo.join(name), name.as_bytes(), is_dir, 0);
        assert!(out("a.o", false) && out("sub/b.o", false) && !out("sub/keep.o", false));
        assert!(out("only", false) && !out("sub/only", false) && !out("x.c", false));
        assert!(out("build", true) && !out("build", false));
    }

    #[test]
    fn a_selection_takes_what_is_included_and_not_excluded() {
        let all = Selection::new(&[], &[]).unwrap();
        assert!(all.takes(b"a/b", false) && all.may_hold(b"a"));
        let some = Selection::new(&strings(&["/home/*/docs"]), &strings(&["*.tmp"])).unwrap();
        assert!(some.takes(b"home/me/docs/a", false) && !some.takes(b"home/me/docs/a.tmp", false));
        assert!(!some.takes(b"home", true) && some.may_hold(b"home") && some.may_hold(b"home/me"));
        assert!(some.may_hold(b"") && some.may_hold(b"home/me/docs/x"));
        assert!(!some.may_hold(b"etc") && !some.may_hold(b"home/me/other") && !some.may_hold(b"x.tmp"));
        let names = Selection::new(&strings(&["*.txt"]), &[]).unwrap();
        assert!(names.may_hold(b"any/where") && names.takes(b"any/where/a.txt", false));
        let again = Selection::new(&[], &strings(&["/a", "!/a/b"])).unwrap();
        assert!(again.may_hold(b"a") && again.takes(b"a/b/c", false) && !again.takes(b"a/c", false));
        let deep = Selection::new(&strings(&["/a/**/z"]), &[]).unwrap();
        assert!(deep.may_hold(b"a/b/c") && !deep.may_hold(b"b"));
    }
}
