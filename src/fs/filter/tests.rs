//! Which entries filters exclude, queried as by a walk.

use std::ffi::OsStr;
use std::fs;

use super::*;
use crate::error::Error;

fn of(options: FilterOptions) -> Filter {
    Filter::new(&options).unwrap()
}

/// Returns whether a walk from `source` excludes a path below it: the path itself or a directory on the way
/// to it.
fn is_out(filter: &Filter, source: &str, path: &[u8], is_dir: bool, size: u64) -> bool {
    let names: Vec<&[u8]> = components(path).collect();
    let (mut dir, mut stored_dir) =
        (PathBuf::from(source), source.trim_start_matches('/').as_bytes().to_vec());
    let mut verdict = FilterVerdict::default();
    for (at, name) in names.iter().enumerate() {
        let is_last = at + 1 == names.len();
        let location = EntryPath { dir: &dir, stored_dir: &stored_dir, name };
        verdict = filter.decide(verdict, location);
        if filter.excludes(verdict, location, is_dir || !is_last, if is_last { size } else { 0 }) {
            return true;
        }
        dir.push(OsStr::from_bytes(name));
        stored_dir = [stored_dir.as_slice(), b"/", name].concat();
    }
    false
}

fn excluded(patterns: &[&str], path: &[u8]) -> bool {
    is_out(&of(FilterOptions { exclude: strings(patterns), ..FilterOptions::default() }), "/", path, false, 0)
}

fn below(source: &str, patterns: &[&str], path: &str) -> bool {
    let filter = of(FilterOptions { exclude: strings(patterns), ..FilterOptions::default() });
    is_out(&filter, source, path.as_bytes(), false, 0)
}

fn strings(texts: &[&str]) -> Vec<OsString> {
    texts.iter().map(OsString::from).collect()
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
    // What is below a re-included directory is included.
    assert!(!below("/", &["*.log", "!important"], "/a/important/x.log"));
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
fn exclude_files_case_size_and_markers_apply() {
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
    let out = |name: &str, size| is_out(&filter, "/", name.as_bytes(), false, size);
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
    let source = repo.to_str().unwrap();
    let out = |name: &str, is_dir| is_out(&filter, source, name.as_bytes(), is_dir, 0);
    assert!(out("a.o", false) && out("sub/b.o", false) && !out("sub/keep.o", false));
    assert!(out("only", false) && !out("sub/only", false) && !out("x.c", false));
    assert!(out("build", true) && !out("build", false));
}

#[test]
fn a_selection_takes_what_is_included_and_not_excluded() {
    let all = RestoreFilter::new::<&str>(&[], &[]).unwrap();
    assert!(all.takes(b"a/b", false) && all.may_hold(b"a"));
    let some = RestoreFilter::new(&strings(&["/home/*/docs"]), &strings(&["*.tmp"])).unwrap();
    assert!(some.takes(b"home/me/docs/a", false) && !some.takes(b"home/me/docs/a.tmp", false));
    assert!(!some.takes(b"home", true) && some.may_hold(b"home") && some.may_hold(b"home/me"));
    assert!(some.may_hold(b"") && some.may_hold(b"home/me/docs/x"));
    assert!(!some.may_hold(b"etc") && !some.may_hold(b"home/me/other") && !some.may_hold(b"x.tmp"));
    let names = RestoreFilter::new(&strings(&["*.txt"]), &[]).unwrap();
    assert!(names.may_hold(b"any/where") && names.takes(b"any/where/a.txt", false));
    let again = RestoreFilter::new(&[], &strings(&["/a", "!/a/b"])).unwrap();
    assert!(again.may_hold(b"a") && again.takes(b"a/b/c", false) && !again.takes(b"a/c", false));
    let deep = RestoreFilter::new(&strings(&["/a/**/z"]), &[]).unwrap();
    assert!(deep.may_hold(b"a/b/c") && !deep.may_hold(b"b"));
}

#[test]
fn redundant_path_characters_are_removed() {
    for pattern in [
        "./src/build",
        "src//build",
        "src/./build",
        "src/x/../build",
        "/w/src/../src/build",
        "/w//src/build/.",
    ] {
        assert!(below("/w/src", &[pattern], "build/o"), "{pattern}");
        assert!(!below("/w/src", &[pattern], "builds/o"), "{pattern}");
    }
    assert!(below("/w", &["./build"], "a/build"));
    for pattern in [".", "./", "..", "../x", "a/../..", "**/..", "", "!", "a/**/../b"] {
        let options = FilterOptions { exclude: strings(&[pattern]), ..FilterOptions::default() };
        assert!(matches!(Filter::new(&options), Err(Error::Usage(_))), "{pattern} was taken");
    }
}

#[test]
fn a_class_ends_where_its_component_does() {
    for pattern in ["[a/b]", "a[", "x/[z-a]", "[[:nonsense:]]", "a\\/b"] {
        let options = FilterOptions { exclude: strings(&[pattern]), ..FilterOptions::default() };
        let Err(Error::Usage(text)) = Filter::new(&options) else { panic!("{pattern} was taken") };
        assert!(text.contains(pattern), "{text}");
    }
}

#[test]
fn patterns_apply_only_below_a_source() {
    assert!(!below("/home/me/.cache/work", &[".*"], "doc"));
    assert!(below("/home/me/.cache/work", &[".*"], ".git"));
    assert!(!below("/data/tmp/x", &["tmp", "/data", "data/tmp"], "doc"));
    assert!(below("/data/tmp/x", &["tmp/x/doc"], "doc") && below("/data/tmp/x", &["/data/**/doc"], "doc"));
}

#[test]
fn rules_that_exclude_a_source_are_named() {
    let filter =
        of(FilterOptions { exclude: strings(&["*.log", "/data", "!c.log"]), ..FilterOptions::default() });
    let against = |path: &str| {
        let found = filter.pattern_against(Path::new(path), path.trim_start_matches('/').as_bytes());
        found.map(|found| (found.pattern, found.by_name))
    };
    assert_eq!(against("/x/a.log"), Some(("*.log", true)));
    assert_eq!(against("/data/x"), Some(("/data", false)));
    assert_eq!((against("/x"), against("/x/c.log")), (None, None));
}

#[test]
fn anchors_apply_to_the_path_in_the_snapshot() {
    let of = |anchors_in_snapshot| {
        let exclude = strings(&["/home/me/.cache"]);
        of(FilterOptions { exclude, anchors_in_snapshot, ..FilterOptions::default() })
    };
    let out = |filter: &Filter| {
        let location =
            EntryPath { dir: Path::new("/mnt/snapshot/me"), stored_dir: b"home/me", name: b".cache" };
        let verdict = filter.decide(FilterVerdict::default(), location);
        filter.excludes(verdict, location, true, 0)
    };
    assert!(out(&of(true)) && !out(&of(false)));
}

#[test]
fn lists_of_other_systems_are_read_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("list");
    let read = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        Filter::new(&FilterOptions { exclude_files: vec![file.clone()], ..FilterOptions::default() })
    };
    let filter = read(b"\xef\xbb\xbfsecret\r\n*.tmp\r\nbad\xff\r\n").unwrap();
    for name in [&b"secret"[..], b"a.tmp", b"bad\xff"] {
        assert!(is_out(&filter, "/", name, false, 0), "{name:?}");
    }
    for bytes in [&b"\xff\xfes\0e\0c\0"[..], b"\xfe\xff\0s\0e", b"s\0e\0c\0r\0"] {
        let Err(Error::Usage(text)) = read(bytes) else { panic!("{bytes:?} was taken") };
        assert!(text.contains("save it as UTF-8"), "{text}");
    }
    let Err(Error::Usage(text)) = read(b"good\n\n[bad\n") else { panic!("was taken") };
    assert!(text.contains("list, line 3") && text.contains("[bad"), "{text}");
}

#[test]
fn braces_and_many_lines_in_gitignore_behave_as_in_git() {
    let dir = tempfile::tempdir().unwrap();
    let mut lines = String::from("\u{feff}first\r\n{a,b}.js\n[{]x\n\\{y\n");
    (0..20_000).for_each(|n| lines += &format!("file*{n}.tmp\n"));
    fs::write(dir.path().join(".gitignore"), lines + "!file7.tmp\n").unwrap();
    let filter = of(FilterOptions { gitignore: true, ..FilterOptions::default() });
    let out = |name: &str| is_out(&filter, dir.path().to_str().unwrap(), name.as_bytes(), false, 0);
    for name in ["first", "{a,b}.js", "{x", "{y", "file19999.tmp", "file0.tmp"] {
        assert!(out(name), "{name}");
    }
    for name in ["a.js", "b.js", "file7.tmp", "x"] {
        assert!(!out(name), "{name}");
    }
}
