//! Finds foreign files and folders in a repository.

use std::path::Path;

use crate::error::Result;
use crate::storage::local::files::{TEMP, metadata_of, read_folder};
use crate::storage::{ObjectKind, names};

/// Returns all foreign paths in a kind's folders, relative to the repository.
pub(super) fn within(root: &Path, area: ObjectKind) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in read_folder(&root.join(area.folder()))? {
        let Some(metadata) = metadata_of(&entry)? else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        if area.is_spread() && metadata.is_dir() && is_shard(&name) {
            add_strays_of_shard(&entry.path(), area, &name, &mut found)?
        } else {
            let own = metadata.is_file() && !area.is_spread() && is_own(area, &name);
            found.extend((!own).then(|| path(area, &name, metadata.is_dir())));
        }
    }
    Ok(found)
}

fn add_strays_of_shard(folder: &Path, area: ObjectKind, shard: &str, found: &mut Vec<String>) -> Result<()> {
    for entry in read_folder(folder)? {
        let Some(metadata) = metadata_of(&entry)? else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_in_its_folder = name.starts_with(shard) || name.starts_with(TEMP) || is_removed(&name);
        if !(metadata.is_file() && is_in_its_folder && is_own(area, &name)) {
            found.push(path(area, &format!("{shard}/{name}"), metadata.is_dir()));
        }
    }
    Ok(())
}

fn is_own(area: ObjectKind, name: &str) -> bool {
    name.starts_with(TEMP) || names::is_known(area, name) || is_removed(name)
}

/// Returns whether FUSE or NFS shows a file under this name because it was removed while a process had it
/// open, as a session has its file. It disappears when the process closes it.
fn is_removed(name: &str) -> bool {
    name.starts_with(".fuse_hidden") || name.starts_with(".nfs")
}

/// Returns whether a folder is one of the 256 over which objects are spread.
fn is_shard(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn path(area: ObjectKind, name: &str, is_dir: bool) -> String {
    format!("{}/{name}{}", area.folder(), if is_dir { "/" } else { "" })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn foreign_files_and_folders_are_found_anywhere() {
        let dir = tempfile::tempdir().unwrap();
        let id = "ab".repeat(32);
        for own in [
            format!("packs/ab/{id}"),
            "packs/ab/.tmp-1-1-0".into(),
            "config/1".into(),
            "config/.fuse_hidden0000007f00000012".into(),
            "packs/ab/.nfs00000001".into(),
        ] {
            fs::create_dir_all(dir.path().join(&own).parent().unwrap()).unwrap();
            fs::write(dir.path().join(own), "x").unwrap();
        }
        let strays = [
            "packs/Thumbs.db",
            "packs/zz/",
            "packs/ab/x",
            "packs/cd/",
            "config/2/",
            "config/3 (1)",
            "config/.nfs1/",
        ];
        for stray in strays {
            fs::create_dir_all(dir.path().join(stray).parent().unwrap()).unwrap();
            if stray.ends_with('/') {
                fs::create_dir_all(dir.path().join(stray)).unwrap()
            } else {
                fs::write(dir.path().join(stray), "x").unwrap()
            }
        }
        fs::write(dir.path().join("packs/cd").join(&id), "in the folder of others").unwrap();
        let mut found: Vec<String> = [ObjectKind::Packs, ObjectKind::Config]
            .into_iter()
            .flat_map(|area| within(dir.path(), area).unwrap())
            .collect();
        found.sort();
        let misplaced = format!("packs/cd/{id}");
        let wanted = [
            "config/.nfs1/",
            "config/2/",
            "config/3 (1)",
            "packs/Thumbs.db",
            "packs/ab/x",
            &misplaced,
            "packs/zz/",
        ];
        assert_eq!(found, wanted);
    }
}
