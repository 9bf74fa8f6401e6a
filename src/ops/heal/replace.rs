//! Replaces a corrupt file by its good version.

use std::fs::File;
use std::io::Seek;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use crate::codec::crypto::hash::ChunkType;
use crate::codec::tree::stored_xattrs;
use crate::error::{Error, Result};
use crate::fs::protected_dirs::Guard;
use crate::fs::sources::LivePath;
use crate::fs::stat::MetadataReader;
use crate::fs::target::{Existing, NewFile, Target, TargetOptions};
use crate::fs::{stat, xattr};
use crate::model::decode_error::DecodeError;
use crate::model::entry::{Content, ContentPart, Entry, Kind};
use crate::model::entry_diff;
use crate::ops::heal::{CorruptFile, Healing, Options, find};
use crate::repo::walk::{dir_reader, file_parts};

/// Maximum length of a file name in bytes.
const MAX_NAME: usize = 255;

/// A file that was healed.
#[derive(Debug)]
pub struct Healed {
    /// The file.
    pub path: PathBuf,
    /// Path at which the bad version is kept.
    pub kept_as: PathBuf,
    /// Whether the bad version has other hard links, which still refer to it.
    pub has_other_names: bool,
    /// Attributes that the file system could not store.
    pub notes: Vec<String>,
}

pub(super) fn replace(healing: &mut Healing, found: &CorruptFile, options: &Options) -> Result<Healed> {
    let shown = String::from_utf8_lossy(&found.path).into_owned();
    let Some((_, good)) = &found.good else {
        return Err(Error::Refused(format!("{shown}: no older snapshot has a good version of it")));
    };
    let Some(place) = &found.place else {
        let why = "its location on this machine is not known: `Repository::restore` writes it to any \
                   directory";
        return Err(Error::Refused(format!("{shown}: {why}")));
    };
    let Kind::File { size, content } = &good.kind else {
        return Err(Error::Bug { what: "the good version is a regular file" });
    };
    // Opening it for writing would create a missing root.
    stat::follow(&place.root).map_err(Error::io("find", &place.root))?;
    let writing = TargetOptions { owner: true, writes: !options.dry_run, ..TargetOptions::default() };
    let target = Target::open_guarded(&place.root, writing, Guard::new(options.protected.clone()))?;
    let existing = require_unchanged(healing, &target, place, found, good)?;
    let meta = dir_reader::load_xattrs(&mut healing.reader, &good.meta)?.into_owned();
    let kept = free_name(&target, &place.below, &options.suffix)?;
    let mut notes = Vec::new();
    if !options.dry_run {
        let new = target.new_file(&place.below, *size)?;
        write_content(healing, &new, *size, content)?;
        let name = kept.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        new.replace_keeping(&meta, &existing, name)?;
        notes.extend(target.take_notes().into_iter().map(|note| note.message));
        target.lock(&mut |_, err| notes.push(err.chain()));
    }
    Ok(Healed {
        path: place.path(),
        kept_as: LivePath { root: place.root.clone(), below: kept }.path(),
        has_other_names: existing.has_other_names(),
        notes,
    })
}

/// Refuses a file that has changed since the backup, so that no later changes are lost.
fn require_unchanged(
    healing: &mut Healing,
    target: &Target,
    place: &LivePath,
    found: &CorruptFile,
    good: &Entry,
) -> Result<Existing> {
    let path = place.path();
    let refused = |why: &str| Err(Error::Refused(format!("{}: {why}", path.display())));
    let Some(existing) = target.existing(&place.below)? else {
        return refused("it is gone, or a directory above it is now a symbolic link");
    };
    if !existing.is_file() {
        return refused("it is no longer a regular file");
    }
    let mut file = target.read(&place.below, Some(&existing))?;
    if !find::holds(healing, (&mut file, &path), &found.bad)? {
        file.rewind().map_err(Error::io("read", &path))?;
        return if find::holds(healing, (&mut file, &path), good)? {
            refused("its content is good already: `AlarmState::Cleared` settles the alarm")
        } else {
            refused(
                "it has changed since the backup that found it corrupt, so it was not changed \
                 (`Repository::history` restores an older version under another name)",
            )
        };
    }
    let differs =
        metadata_differs(healing, &file, &found.bad).map_err(Error::io("read the metadata of", &path))?;
    if !differs.is_empty() {
        return refused(&format!(
            "it has changed since the backup that found it corrupt ({}): run `Repository::backup` first, then heal it",
            differs.join(", ")
        ));
    }
    Ok(existing)
}

fn metadata_differs(healing: &Healing, file: &File, bad: &Entry) -> std::io::Result<Vec<&'static str>> {
    let mut meta = MetadataReader::default().meta(&stat::stat_open(file)?);
    let values = xattr::of_open(file.as_fd()).values;
    meta.xattrs = stored_xattrs::split_values(healing.repo.hasher(), values).0;
    Ok(entry_diff::metadata(&bad.meta, &meta))
}

/// Writes the content, with holes where the snapshot has holes.
fn write_content(healing: &mut Healing, new: &NewFile, size: u64, content: &Content) -> Result<()> {
    let mut parts: Vec<(u64, ContentPart)> = Vec::new();
    let mut at = 0;
    file_parts::each_part(&mut healing.reader, size, content, &mut |part| {
        parts.push((at, part));
        at += part.len();
        Ok(())
    })?;
    for (at, part) in parts {
        if healing.cancel.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let ContentPart::Chunk { id, len } = part else { continue };
        let chunk = healing.reader.get(ChunkType::Data, &id)?;
        if chunk.len() as u64 != u64::from(len) {
            let source = DecodeError::because("the length of a chunk differs from that in its entry");
            return Err(Error::Damaged { what: "the good version".into(), source });
        }
        new.write_at(at, &chunk)?;
    }
    Ok(())
}

/// Returns an unused path next to `path`: its name with the suffix, and a number if that exists.
fn free_name(target: &Target, path: &[u8], suffix: &str) -> Result<Vec<u8>> {
    let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (dir, name) = path.split_at_checked(at).unwrap_or_default();
    for number in 1..=1000 {
        let end = if number == 1 { suffix.to_owned() } else { format!("{suffix}-{number}") };
        let room = MAX_NAME.saturating_sub(end.len()).min(name.len());
        let free = [dir, name.get(..room).unwrap_or_default(), end.as_bytes()].concat();
        if target.existing(&free)?.is_none() {
            return Ok(free);
        }
    }
    Err(Error::Refused(format!(
        "{}: there are too many bad versions in its directory",
        String::from_utf8_lossy(path)
    )))
}
