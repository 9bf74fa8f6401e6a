//! Adapts to restic's command line.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use snap_backup::ops::backup::states::Supplement;
use snap_backup::repo::snapshots;
use snap_backup::{Error, Result};

use super::program::Program;
use super::restic_nodes::{DeviceKey, Nodes};
use super::{Found, OtherProgram, restic_nodes};

pub(super) struct Restic {
    program: Program,
    /// Known device numbers: most devices are the same in every snapshot.
    devices: RefCell<HashMap<DeviceKey, (u32, u32)>>,
}

impl Restic {
    pub(super) fn new(program: Program) -> Self {
        Self { program, devices: RefCell::default() }
    }

    /// Returns whether this version can print the tree of a directory in a snapshot.
    fn can_print_trees(&self) -> bool {
        self.program.is_at_least(0, 16)
    }

    /// Adds the device numbers. They are only in trees, which restic prints one at a time.
    fn number_devices(&self, found: &Found, nodes: &mut Nodes) -> Result<()> {
        let mut known = self.devices.borrow_mut();
        for key in &nodes.devices {
            let (dir, _) = key.0.rsplit_once('/').unwrap_or(("", &key.0));
            if !known.contains_key(key) {
                let command = self.command(&["cat", "tree", &format!("{}:/{dir}", found.id)]);
                let tree =
                    self.program.json(command, "read", &format!("the directory /{dir} of {}", found.name))?;
                let here: HashMap<String, (u32, u32)> = restic_nodes::devices_of(&tree).into_iter().collect();
                for other in &nodes.devices {
                    let (other_dir, name) = other.0.rsplit_once('/').unwrap_or(("", &other.0));
                    if let Some(device) = here.get(name).filter(|_| other_dir == dir) {
                        known.insert(other.clone(), *device);
                    }
                }
            }
            if let Some(facts) = nodes.supplement.get_mut(key.0.as_bytes()) {
                facts.device = known.get(key).copied();
            }
        }
        Ok(())
    }

    fn command(&self, verb: &[&str]) -> Command {
        let mut command = self.program.command(verb);
        if let Some(repo) = &self.program.repo {
            command.arg("-r").arg(repo);
        }
        command
    }
}

impl OtherProgram for Restic {
    fn program(&self) -> &Program {
        &self.program
    }

    fn list(&self) -> Result<Vec<Found>> {
        let shown = self.program.shown();
        let listed =
            self.program.json(self.command(&["snapshots", "--json"]), "list the snapshots of the", &shown)?;
        listed
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| found(one).ok_or_else(|| strange(&shown, one)))
            .collect()
    }

    fn mount(&self, dir: &Path) -> Command {
        let mut command = self.command(&["mount", "--path-template", "ids/%I"]);
        command.arg(dir);
        command
    }

    fn dump(&self, found: &Found) -> Command {
        let mut command = self.command(&["dump", "--quiet", "--archive", "tar"]);
        command.arg(&found.id).arg("/");
        command
    }

    fn to_read(&self, _: &[Found]) -> Option<u64> {
        let command = self.command(&["stats", "--json", "--mode", "raw-data"]);
        let stats = self.program.json(command, "measure the", &self.program.shown()).ok()?;
        let bytes = |name: &str| stats.get(name).and_then(Value::as_u64).filter(|bytes| *bytes > 0);
        bytes("total_uncompressed_size").or_else(|| bytes("total_size"))
    }

    fn supplement(&self, found: &Found) -> Result<Supplement> {
        let what = format!("the nodes of snapshot {}", found.name);
        let command = self.command(&["find", "--json", "--snapshot", &found.id, "*"]);
        let mut nodes = self.program.stream(command, "read", &what, restic_nodes::read)?;
        if self.can_print_trees() {
            self.number_devices(found, &mut nodes)?;
        }
        Ok(nodes.supplement)
    }

    fn lost_without_supplement(&self) -> &'static str {
        "names of owners, device numbers, and times before 1970"
    }

    fn lost_by_mount(&self) -> Option<&'static str> {
        if !self.program.is_at_least(0, 15) {
            return Some(
                "before 0.15, restic's mount shows each hard link as a separate file, and no sticky bits or \
                 device numbers: a newer restic reads the same repository (--program PATH)",
            );
        }
        (!self.can_print_trees()).then_some("before 0.16, restic does not report device numbers")
    }

    fn lost_by_dump(&self) -> Option<&'static str> {
        Some(
            "restic's tar archives contain hard links as separate files, times in whole seconds, and no \
             devices, pipes and sockets",
        )
    }
}

fn found(one: &Value) -> Option<Found> {
    let text =
        |name: &str| one.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let texts = |name: &str| -> Vec<String> {
        let list = one.get(name).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let id = text("id").filter(|id| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    Some(Found {
        name: id.chars().take(8).collect(),
        time: snapshots::time_of(&text("time")?)?,
        host: text("hostname"),
        user: text("username"),
        tags: texts("tags"),
        description: None,
        paths: texts("paths").into_iter().map(String::into_bytes).collect(),
        dir: PathBuf::from("ids").join(&id),
        bytes: one
            .get("summary")
            .and_then(|summary| summary.get("total_bytes_processed"))
            .and_then(Value::as_u64),
        id,
    })
}

fn strange(shown: &str, one: &Value) -> Error {
    Error::Usage(format!("the {shown} has a snapshot whose description cannot be parsed: {one}"))
}
