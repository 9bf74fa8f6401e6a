//! Maps the paths that a user gives to paths in the snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::entry::check_name;

/// A directory above a source, or a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceNode {
    /// A source: everything below it is saved.
    Source(PathBuf),
    /// A directory that only leads to sources.
    Ancestor {
        /// The corresponding directory in the file system, if it exists.
        path: PathBuf,
        /// Its entries by name.
        below: BTreeMap<Vec<u8>, SourceNode>,
    },
}

/// The tree of all sources, as in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTree {
    /// Root of the snapshot.
    pub root: SourceNode,
    /// The sources that the snapshot records, sorted: their absolute paths, or the stored path if one was
    /// given.
    pub sources: Vec<Vec<u8>>,
    /// Sources inside other sources.
    pub nested: BTreeSet<PathBuf>,
}

impl SourceTree {
    /// Creates a tree with a single entry that is read from a stream, not a file.
    pub fn stream(name: &[u8]) -> Self {
        let root = SourceNode::Ancestor { path: PathBuf::from("/"), below: BTreeMap::new() };
        Self { root, sources: vec![[b"/", name].concat()], nested: BTreeSet::new() }
    }
}

/// Computes the stored paths of sources. They are as given: `src` stays `src`, `/etc` becomes `etc`, `.`
/// components are removed, and a path with `..` is made absolute first. A symbolic link with a trailing
/// slash means its target.
///
/// # Errors
/// There is no source, or two different ones have the same stored path.
pub fn plan(paths: &[PathBuf], store_as: Option<&[u8]>) -> Result<SourceTree> {
    if paths.is_empty() {
        return Err(Error::Usage("nothing to back up: give at least one path".into()));
    }
    if store_as.is_some() && paths.len() > 1 {
        return Err(Error::Usage("`BackupOptions::store_as` takes exactly one path".into()));
    }
    let mut root = SourceNode::Ancestor { path: PathBuf::from("/"), below: BTreeMap::new() };
    let (mut sources, mut nested) = (Vec::new(), BTreeSet::new());
    for path in paths {
        if path.as_os_str().is_empty() {
            return Err(Error::Usage("a path to back up is empty".into()));
        }
        let absolute = absolute(path)?;
        let stored = match store_as {
            Some(name) => normalized(&Path::new("/").join(OsStr::from_bytes(name))),
            None if path.components().any(|part| part == Component::ParentDir) => absolute.clone(),
            None => normalized(path),
        };
        let recorded = if store_as.is_some() { &stored } else { &absolute };
        sources.push(recorded.as_os_str().as_bytes().to_vec());
        let base = if stored.is_absolute() { PathBuf::from("/") } else { current_dir()? };
        let names: Vec<Vec<u8>> = names_of(&stored)?;
        insert(&mut root, &names, &walk_path(path, absolute), &base, &mut nested)?;
    }
    sources.sort();
    sources.dedup();
    Ok(SourceTree { root, sources, nested })
}

/// Computes the tree of sources that each have a stored path of their own, absolute, which is also recorded
/// as the source. If a location ends with its stored path, as `/mnt/s/home/me` does with `home/me`, the
/// directories above it in the snapshot get the metadata of those above it in the file system.
///
/// # Errors
/// There is no source, a stored path is invalid, or two sources have the same one.
pub fn plan_at(places: &[(PathBuf, Vec<u8>)]) -> Result<SourceTree> {
    if places.is_empty() {
        return Err(Error::Usage("nothing to back up: give at least one path".into()));
    }
    let mut root = SourceNode::Ancestor { path: PathBuf::from("/"), below: BTreeMap::new() };
    let (mut sources, mut nested) = (Vec::new(), BTreeSet::new());
    for (place, stored) in places {
        let stored = normalized(&Path::new("/").join(OsStr::from_bytes(stored)));
        let names = names_of(&stored)?;
        let absolute = absolute(place)?;
        let relative = stored.strip_prefix("/").unwrap_or(&stored);
        let above = absolute.ancestors().nth(names.len()).filter(|_| absolute.ends_with(relative));
        insert(&mut root, &names, &absolute, above.unwrap_or(Path::new("/")), &mut nested)?;
        sources.push(stored.into_os_string().into_encoded_bytes());
    }
    sources.sort();
    sources.dedup();
    Ok(SourceTree { root, sources, nested })
}

/// Returns an absolute path without `.` and `..`. As in the kernel, `..` after a symbolic link means the
/// parent of its target. Other links are kept, so that a source has the name that its user gave it.
///
/// # Errors
/// The path is relative and the current directory no longer exists.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    let path = if path.is_absolute() { path.to_path_buf() } else { current_dir()?.join(path) };
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if is_link(&out) {
                    out = fs::canonicalize(&out).unwrap_or(out);
                }
                out.pop();
            }
            other => out.push(other),
        }
    }
    Ok(out)
}

/// A possible location of a snapshot's entry in the file system: below a directory that contains a source or
/// is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivePath {
    /// The source, or the directory that holds a source that is a file.
    pub root: PathBuf,
    /// The path below it.
    pub below: Vec<u8>,
}

impl LivePath {
    /// Returns the whole path.
    pub fn path(&self) -> PathBuf {
        self.root.join(OsStr::from_bytes(&self.below))
    }
}

/// Returns possible locations of an entry with this stored path. A source is stored as it was given: as an
/// end of its absolute path, possibly empty. The most likely location comes first; the caller must verify it
/// by its metadata.
pub fn live_paths(source: &[u8], stored: &[u8]) -> Vec<LivePath> {
    let parts = |path: &[u8]| -> Vec<Vec<u8>> {
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let (whole, path) = (parts(source), parts(stored));
    let fits = |end: &usize| whole.get(whole.len() - end..).is_some_and(|tail| path.starts_with(tail));
    let place = |end: usize| {
        let below = path.get(end..).filter(|below| !below.is_empty());
        let source = Path::new(OsStr::from_bytes(source));
        match (below, source.parent(), source.file_name()) {
            (Some(below), ..) => Some(LivePath { root: source.to_path_buf(), below: below.join(&b'/') }),
            (None, Some(parent), Some(name)) => {
                Some(LivePath { root: parent.to_path_buf(), below: name.as_bytes().to_vec() })
            }
            _ => None,
        }
    };
    (0..=whole.len()).rev().filter(fits).filter_map(place).collect()
}

fn current_dir() -> Result<PathBuf> {
    std::env::current_dir()
        .map_err(Error::io("find", "the current directory, to which a given path is relative"))
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

/// Returns the path from which a source is walked: `link/` and `link/.` mean the link's target.
fn walk_path(given: &Path, absolute: PathBuf) -> PathBuf {
    let given = given.as_os_str().as_bytes();
    let means_target = given.ends_with(b"/") || given.ends_with(b"/.");
    if means_target && is_link(&absolute) { absolute.join(".") } else { absolute }
}

fn names_of(path: &Path) -> Result<Vec<Vec<u8>>> {
    let normal = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.as_bytes().to_vec()),
        _ => None,
    });
    let names: Vec<Vec<u8>> = normal.collect();
    for name in &names {
        check_name(name).map_err(|why| Error::Usage(format!("{}: {why}", path.display())))?;
    }
    Ok(names)
}

fn insert(
    node: &mut SourceNode,
    names: &[Vec<u8>],
    source: &Path,
    here: &Path,
    nested: &mut BTreeSet<PathBuf>,
) -> Result<()> {
    let collide = |other: &Path| {
        Error::Usage(format!(
            "{} and {} would be stored under the same path",
            other.display(),
            source.display()
        ))
    };
    match (node, names) {
        (SourceNode::Source(other), names) => {
            let below = names.iter().fold(other.clone(), |path, name| path.join(OsStr::from_bytes(name)));
            if below != source {
                return Err(collide(other));
            }
            if !names.is_empty() {
                nested.insert(source.to_path_buf());
            } else if source.as_os_str().len() > other.as_os_str().len() {
                // The target of a link takes precedence over the link itself.
                *other = source.to_path_buf();
            }
            Ok(())
        }
        (node @ SourceNode::Ancestor { .. }, []) => {
            let mut inner = Vec::new();
            sources_below(node, source, &mut inner);
            for (expected, other) in inner {
                if expected != other {
                    return Err(collide(&other));
                }
                nested.insert(other);
            }
            *node = SourceNode::Source(source.to_path_buf());
            Ok(())
        }
        (SourceNode::Ancestor { below, .. }, [name, rest @ ..]) => {
            let path = here.join(OsStr::from_bytes(name));
            let ancestor = || SourceNode::Ancestor { path: path.clone(), below: BTreeMap::new() };
            insert(below.entry(name.clone()).or_insert_with(ancestor), rest, source, &path, nested)
        }
    }
}

/// Collects the sources below a node, each with the path where it would be if the node were `path`.
fn sources_below(node: &SourceNode, path: &Path, found: &mut Vec<(PathBuf, PathBuf)>) {
    match node {
        SourceNode::Source(source) => found.push((path.to_path_buf(), source.clone())),
        SourceNode::Ancestor { below, .. } => {
            for (name, node) in below {
                sources_below(node, &path.join(OsStr::from_bytes(name)), found);
            }
        }
    }
}

/// Removes `.`, and resolves `..` textually.
fn normalized(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(paths: &[&str]) -> Result<Vec<String>> {
        fn walk(place: &SourceNode, at: &str, out: &mut Vec<String>) {
            match place {
                SourceNode::Source(_) => out.push(at.to_owned()),
                SourceNode::Ancestor { below, .. } => {
                    below.iter().for_each(|(name, place)| {
                        walk(place, &format!("{at}/{}", String::from_utf8_lossy(name)), out);
                    });
                }
            }
        }
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        let mut out = Vec::new();
        walk(&plan(&paths, None)?.root, "", &mut out);
        Ok(out)
    }

    #[test]
    fn stored_paths_are_as_given() {
        assert_eq!(places(&["src", "/etc"]).unwrap(), ["/etc", "/src"]);
        assert_eq!(places(&["./a/./b"]).unwrap(), ["/a/b"]);
        assert_eq!(places(&["."]).unwrap(), [""]);
        assert_eq!(places(&["/tmp/x/../y"]).unwrap(), ["/tmp/y"]);
    }

    #[test]
    fn a_source_inside_a_source_is_known_as_such() {
        for order in [["/a", "/a/b/c"], ["/a/b/c", "/a"]] {
            assert_eq!(places(&order).unwrap(), ["/a"]);
            let planned = plan(&order.map(PathBuf::from), None).unwrap();
            assert_eq!(planned.nested, BTreeSet::from([PathBuf::from("/a/b/c")]));
        }
    }

    #[test]
    fn link_with_a_trailing_slash_means_its_target() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        let seen = |end: &str| {
            let given = PathBuf::from(format!("{}{end}", link.display()));
            walk_path(&given, absolute(&given).unwrap()).into_os_string().into_string().unwrap()
        };
        let behind = format!("{}/.", link.display());
        assert_eq!([seen(""), seen("/"), seen("/.")], [link.display().to_string(), behind.clone(), behind]);
        let both = [link.clone(), link.join("")];
        let SourceNode::Ancestor { below, .. } = plan(&both, None).unwrap().root else { panic!("a source") };
        let mut place = below.into_values().next().unwrap();
        while let SourceNode::Ancestor { below, .. } = place {
            place = below.into_values().next().unwrap();
        }
        assert!(matches!(place, SourceNode::Source(path) if path.as_os_str().as_bytes().ends_with(b"/.")));
    }

    #[test]
    fn a_stored_path_leads_back_to_its_source() {
        let of = |source: &str, stored: &str| {
            live_paths(source.as_bytes(), stored.as_bytes())
                .iter()
                .map(|found| found.path().to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(of("/home/me/src", "src/a/b"), ["/home/me/src/a/b", "/home/me/src/src/a/b"]);
        assert_eq!(of("/home/me/src", "home/me/src/a")[0], "/home/me/src/a");
        assert_eq!(of("/home/me/file", "file")[0], "/home/me/file");
        assert_eq!(of("/a/a", "a/a/a")[..2], ["/a/a/a", "/a/a/a/a"]);
        assert_eq!(of("/home/me/src", "other/a"), ["/home/me/src/other/a"], "given as `.`");
        assert_eq!(of("/", "etc/fstab"), ["/etc/fstab"]);
    }

    #[test]
    fn dot_dot_after_a_link_leaves_its_target() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir_all(root.join("real/dir")).unwrap();
        std::os::unix::fs::symlink("real/dir", root.join("link")).unwrap();
        assert_eq!(absolute(&root.join("link/../x")).unwrap(), root.join("real/x"));
        assert_eq!(absolute(&root.join("real/../x")).unwrap(), root.join("x"));
        assert_eq!(absolute(&root.join("link/x")).unwrap(), root.join("link/x"));
        assert_eq!(absolute(&root.join("gone/../x")).unwrap(), root.join("x"));
        assert_eq!(absolute(Path::new("/../x")).unwrap(), Path::new("/x"));
    }

    #[test]
    fn renamed_source_is_known_by_its_new_name() {
        let planned = plan(&[PathBuf::from("/snapshots/today")], Some(b"/home")).unwrap();
        assert_eq!(planned.sources, [b"/home"]);
        let relative = plan(&[PathBuf::from("/snapshots/today")], Some(b"home/./me")).unwrap();
        assert_eq!(relative.sources, [b"/home/me"]);
    }

    #[test]
    fn each_source_can_have_a_stored_path_of_its_own() {
        let at = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> =
                pairs.iter().map(|(from, to)| (PathBuf::from(from), to.as_bytes().to_vec())).collect();
            plan_at(&pairs)
        };
        let planned = at(&[("/mnt/s/home/me", "/home/me"), ("/mnt/s/etc", "/etc/")]).unwrap();
        assert_eq!(planned.sources, [b"/etc".to_vec(), b"/home/me".to_vec()]);
        let SourceNode::Ancestor { below, .. } = planned.root else { panic!("a source") };
        assert_eq!(below[b"etc".as_slice()], SourceNode::Source("/mnt/s/etc".into()));
        let SourceNode::Ancestor { path, .. } = &below[b"home".as_slice()] else { panic!("a source") };
        assert_eq!(
            path,
            Path::new("/mnt/s/home"),
            "a directory above a source has the metadata of the one above its location"
        );
        let whole = at(&[("/mnt/s", "/")]).unwrap();
        assert_eq!((whole.root, whole.sources), (SourceNode::Source("/mnt/s".into()), vec![b"/".to_vec()]));
        assert!(at(&[("/a", "/x"), ("/b", "/x")]).is_err());
    }

    #[test]
    fn sources_that_would_collide_are_an_error() {
        assert!(places(&["etc", "/etc"]).is_err());
    }
}
