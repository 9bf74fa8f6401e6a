//! Reads what restic's mount does not show: names of owners, device numbers, and times that its mount gets
//! wrong.

use std::io::Read;
use std::{fmt, io};

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::Value;
use snap_backup::ops::backup::states::{Facts, Supplement};
use snap_backup::repo::snapshots;
use snap_backup::sys::fs::{major, minor};

use super::borg_items::Names;

/// Identifies the same device in different snapshots.
pub(super) type DeviceKey = (String, String, String);

/// The output of `restic find --json '*'` for a snapshot.
#[derive(Default)]
pub(super) struct Nodes {
    pub(super) supplement: Supplement,
    /// Devices; their numbers are not in this output.
    pub(super) devices: Vec<DeviceKey>,
}

#[derive(Deserialize)]
struct Node {
    path: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    mtime: String,
    #[serde(default)]
    ctime: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    group: String,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    matches: Nodes,
}

/// Reads the nodes of a snapshot as they are printed.
///
/// # Errors
/// It cannot be read, or is not what restic prints.
pub(super) fn read(printed: impl Read) -> io::Result<Nodes> {
    let listed: Vec<Listed> = serde_json::from_reader(io::BufReader::new(printed))?;
    Ok(listed.into_iter().next().map(|listed| listed.matches).unwrap_or_default())
}

impl<'de> Deserialize<'de> for Nodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(NodesVisitor)
    }
}

struct NodesVisitor;

impl<'de> Visitor<'de> for NodesVisitor {
    type Value = Nodes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nodes of a snapshot")
    }

    /// Extracts what is needed from each node while parsing, so that the nodes are not kept.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Nodes, A::Error> {
        let (mut nodes, mut names) = (Nodes::default(), Names::default());
        while let Some(node) = seq.next_element::<Node>()? {
            // Restic's mount shows wrong times before 1970 and after 2262.
            let is_plain = ("1970".."2262").contains(&node.mtime.as_str());
            let mtime = if is_plain { None } else { snapshots::time_of(&node.mtime) };
            let (user, group) = (names.get(&node.user), names.get(&node.group));
            let path = node.path.trim_start_matches('/');
            nodes.supplement.insert(path.as_bytes(), Facts { user, group, mtime, ..Facts::default() });
            if matches!(node.kind.as_str(), "dev" | "chardev") {
                nodes.devices.push((path.to_owned(), node.mtime, node.ctime));
            }
        }
        Ok(nodes)
    }
}

/// Returns the device numbers of a directory's nodes by name, from `restic cat tree`.
pub(super) fn devices_of(tree: &Value) -> Vec<(String, (u32, u32))> {
    let nodes = tree.get("nodes").and_then(Value::as_array);
    let device = |node: &Value| {
        let number = node.get("device")?.as_u64()?;
        let device = (major(number), minor(number));
        Some((node.get("name")?.as_str()?.to_owned(), device))
    };
    nodes.into_iter().flatten().filter_map(device).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use snap_backup::model::entry::Time;

    use super::*;

    #[test]
    fn nodes_have_owners_and_odd_times() {
        let printed = json!([{"matches": [
            {"path": "/a", "type": "file", "mtime": "1960-06-29T18:39:59.5Z", "user": "alice", "group": "users"},
            {"path": "/dev/null", "type": "chardev", "mtime": "2024-01-02T03:04:05Z", "ctime": "2024-01-02T03:04:06Z"},
        ], "hits": 2, "snapshot": "0"}]);
        let nodes = read(printed.to_string().as_bytes()).unwrap();
        let facts = nodes.supplement.get(b"a").unwrap();
        assert_eq!(facts.user.as_deref(), Some("alice"));
        assert_eq!(facts.mtime, Some(Time { sec: -300_000_001, nanos: 500_000_000 }));
        assert_eq!(nodes.supplement.get(b"dev/null").unwrap().mtime, None);
        assert_eq!(nodes.devices[0].0, "dev/null");
        assert!(read(b"[]".as_slice()).unwrap().devices.is_empty());
        let tree = json!({"nodes": [{"name": "null", "device": 259}, {"name": "file"}]});
        assert_eq!(devices_of(&tree), [("null".to_owned(), (1, 3))]);
    }
}
