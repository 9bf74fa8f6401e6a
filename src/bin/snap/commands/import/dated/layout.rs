//! Recognises directories that hold states of the same sources, by the layouts of programs that create such
//! directories.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use snap_backup::fs::stat;
use snap_backup::model::entry::Time;
use snap_backup::sys::volume;
use snap_backup::{Error, Result};

/// Inode number of the root of each subvolume of btrfs.
const SUBVOLUME: u64 = 256;

/// The states of one level with their numbers and mtimes.
type Numbered = Vec<(u64, Time)>;

/// The program or file system that keeps the states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// A directory of any name.
    Plain,
    /// rsnapshot's: `daily.0`, whose mtime is the time of the backup.
    Numbered,
    /// snapper's: `.snapshots/N/snapshot` next to `info.xml`.
    Snapper,
    /// A snapshot of ZFS: `.zfs/snapshot/NAME`.
    Zfs,
    /// A subvolume of Btrfs elsewhere.
    Subvolume,
}

impl Layout {
    /// Returns whether the ctimes in it are those of the source.
    pub(super) fn keeps_ctimes(self) -> bool {
        matches!(self, Self::Snapper | Self::Zfs | Self::Subvolume)
    }
}

/// A directory that is a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The directory, without symbolic links in its path.
    pub(super) dir: PathBuf,
    /// The directory whose name, mtime or birth time gives the time of the state.
    pub(super) dated: PathBuf,
    pub(super) layout: Layout,
}

impl Candidate {
    /// Recognizes what a directory is.
    pub(super) fn of(path: &Path) -> Self {
        let (dir, dated, layout) = match () {
            () if is_numbered_snapshot(path) => (path.join("snapshot"), path.to_path_buf(), Layout::Snapper),
            () if path.file_name() == Some(OsStr::new("snapshot"))
                && path.parent().is_some_and(is_numbered_snapshot) =>
            {
                (path.to_path_buf(), path.parent().unwrap_or(path).to_path_buf(), Layout::Snapper)
            }
            () if path.parent().is_some_and(|above| above.ends_with(".zfs/snapshot")) => {
                (path.to_path_buf(), path.to_path_buf(), Layout::Zfs)
            }
            () if level(path).is_some() => (path.to_path_buf(), path.to_path_buf(), Layout::Numbered),
            () if is_subvolume(path) => (path.to_path_buf(), path.to_path_buf(), Layout::Subvolume),
            () => (path.to_path_buf(), path.to_path_buf(), Layout::Plain),
        };
        Self { dir, dated, layout }
    }

    /// Returns the directory that the states were taken of, if the layout defines it.
    pub(super) fn source(&self) -> Option<&Path> {
        match self.layout {
            Layout::Snapper | Layout::Zfs => self.dated.parent()?.ancestors().find(|above| {
                let last = above.file_name().unwrap_or_default();
                ![".snapshots", "snapshot", ".zfs"].iter().any(|own| last == OsStr::new(own))
            }),
            _ => None,
        }
    }
}

/// Returns level and number of a name like `daily.0`.
pub(super) fn level(path: &Path) -> Option<(String, u64)> {
    let name = path.file_name()?.to_str()?;
    let (level, number) = name.split_once('.')?;
    let is_level = !level.is_empty() && level.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let number = number.parse().ok().filter(|_| number.bytes().all(|byte| byte.is_ascii_digit()))?;
    is_level.then(|| (level.to_owned(), number))
}

/// Returns the states in a directory whose layout is known: snapper's `.snapshots`, ZFS's `.zfs/snapshot` and
/// rsnapshot's root. `None` if it is neither.
pub(super) fn states_in(dir: &Path) -> Result<Option<Vec<PathBuf>>> {
    let found = directories(dir)?;
    let snapper: Vec<PathBuf> = found.iter().filter(|path| is_numbered_snapshot(path)).cloned().collect();
    if !snapper.is_empty() {
        return Ok(Some(snapper));
    }
    if dir.ends_with(".zfs/snapshot") {
        return Ok(Some(found));
    }
    // The directory that rsnapshot is about to delete.
    let is_doomed =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"_delete."));
    let found: Vec<PathBuf> = found.into_iter().filter(|path| !is_doomed(path)).collect();
    let is_rsnapshot = !found.is_empty() && found.iter().all(|path| level(path).is_some());
    Ok(is_rsnapshot.then_some(found))
}

/// Returns the subdirectories of a directory, sorted, without hidden ones and symbolic links.
pub(super) fn directories(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let entry = entry.map_err(Error::io("list", dir))?;
        let kind = entry.file_type().map_err(Error::io("examine", entry.path()))?;
        if kind.is_dir() && !entry.file_name().as_bytes().starts_with(b".") {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the time in snapper's `info.xml`, which is in UTC: `2026-03-01 03:00:00`.
pub(super) fn snapper_time(dated: &Path) -> Option<jiff::Timestamp> {
    let text = fs::read_to_string(dated.join("info.xml")).ok()?;
    let (_, rest) = text.split_once("<date>")?;
    let (date, _) = rest.split_once("</date>")?;
    let at: jiff::civil::DateTime = date.trim().parse().ok()?;
    jiff::tz::TimeZone::UTC.to_timestamp(at).ok()
}

/// Checks that rsnapshot's numbers and the mtimes agree: the higher the number, the older. In a copy without
/// mtimes their order is arbitrary.
///
/// # Errors
/// They do not agree.
pub(super) fn check_order(dated: &[(PathBuf, Time)]) -> Result<()> {
    let mut levels: BTreeMap<(PathBuf, String), Numbered> = BTreeMap::new();
    for (path, time) in dated {
        if let (Some((level, number)), Some(above)) = (level(path), path.parent()) {
            levels.entry((above.to_path_buf(), level)).or_default().push((number, *time));
        }
    }
    for ((above, level), mut states) in levels {
        states.sort();
        for pair in states.windows(2) {
            if let [(newer, later), (older, earlier)] = pair
                && later < earlier
            {
                return Err(Error::Usage(format!(
                    "in {}, {level}.{older} has a newer mtime than {level}.{newer}, so the mtimes are not \
                     the times of the backups: set them (touch -d), or import one directory at a time with \
                     --time",
                    above.display()
                )));
            }
        }
    }
    Ok(())
}

fn is_numbered_snapshot(path: &Path) -> bool {
    let is_number = path.file_name().is_some_and(|name| name.as_bytes().iter().all(u8::is_ascii_digit));
    let above = path.parent().and_then(Path::file_name);
    is_number && above == Some(OsStr::new(".snapshots")) && path.join("snapshot").is_dir()
}

fn is_subvolume(path: &Path) -> bool {
    volume::is_btrfs(path) && stat::follow(path).is_ok_and(|found| found.id.1 == SUBVOLUME)
}
