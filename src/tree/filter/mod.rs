//! What a backup leaves out (`pattern`, `marker`, `gitignore`), what a restore or a listing takes in
//! (`selection`), and what a search looks for (`names`).

mod gitignore;
mod marker;
mod names;
mod pattern;
mod selection;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;

pub use names::Names;
pub use selection::Selection;

use gitignore::GitRules;
use marker::CACHE_SIGNATURE;
use marker::Marker;
use pattern::Pattern;
use pattern::Patterns;

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

    /// Whether no entry stays out, whatever it is.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty() && self.git.is_none() && self.larger_than.is_none()
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

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

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
