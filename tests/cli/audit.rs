//! Audit records: each command that destroys data or changes permissions leaves exactly one.

use std::fs;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::dates::{days, interrupt};
use crate::support::rot::flip;
use crate::support::{PASSWORD, Random, Sandbox, finish};

fn records(sandbox: &Sandbox, args: &[&str]) -> Vec<Value> {
    let answer = sandbox.ok(&[&["audit", "--json"], args].concat()).json();
    answer["records"].as_array().unwrap().clone()
}

/// Runs a command and checks that it left one record of this action, and no other.
fn leaves(sandbox: &Sandbox, act: &str, args: &[&str]) -> Value {
    let before = records(sandbox, &[]);
    let done = sandbox.snap(args);
    assert!(matches!(done.code, 0 | 3), "{args:?}: {}", done.all());
    let mut new = records(sandbox, &[]);
    new.retain(|record| !before.contains(record));
    assert_eq!(new.len(), 1, "{args:?} left {new:?}");
    let new = new.remove(0);
    assert_eq!(new["act"], act, "{args:?}");
    let command = new["command"].as_str().unwrap();
    assert!(command.contains(args[0]), "{args:?}: {command}");
    new
}

fn backups(sandbox: &Sandbox, runs: Range<u64>) {
    for run in runs {
        fs::write(sandbox.src().join("file"), Random::new(run + 1).bytes(100 << 10)).unwrap();
        sandbox.ok(&["backup", "src"]);
    }
}

#[test]
fn destructive_commands_leave_one_record_dry_runs_none() {
    let sandbox = Sandbox::open();
    backups(&sandbox, 0..1);
    let id = sandbox.snapshot_names().into_iter().next().unwrap();
    backups(&sandbox, 1..8);
    let forgotten = leaves(&sandbox, "forget", &["forget", &id]);
    assert_eq!(forgotten["snapshots"][0], id.as_str());
    assert_eq!(forgotten["command"], format!("snap -r repo forget {id}"));
    let table: &[(&str, &[&str])] = &[
        ("undelete", &["undelete", &id]),
        ("forget", &["forget", "--keep-last", "7"]),
        ("forget", &["cleanup", "--keep-last", "6"]),
        ("forget", &["cleanup", "--keep-below", "550K"]),
        ("purge", &["gc", "--empty-trash"]),
        ("rewrite", &["rewrite", "latest", "--description", "a text"]),
        ("rewrite", &["tag", "--add", "kept", "latest"]),
        ("rewrite", &["pin", "latest"]),
        ("rewrite", &["unpin", "latest"]),
        ("config", &["config", "set", "quota", "1T"]),
        ("config", &["config", "set", "parity", "5%"]),
    ];
    for (act, args) in table {
        if matches!(args[0], "forget" | "cleanup" | "gc" | "rewrite") {
            let before = records(&sandbox, &[]).len();
            let planned = [args, &["-n"][..]].concat();
            sandbox.ok(&planned);
            assert_eq!(records(&sandbox, &[]).len(), before, "{planned:?}");
        }
        leaves(&sandbox, act, args);
    }
    let second = sandbox.path("second");
    sandbox.ok(&["sync", "--to", "second", "--init"]);
    sandbox.ok(&["forget", "--keep-last", "1"]);
    sandbox.ok(&["sync", "--to", "second", "--delete"]);
    let mut there = sandbox.bin();
    there.args(["-r", second.to_str().unwrap(), "audit", "--json"]);
    let answer = finish(there, b"").expect(0).json();
    // A copy has the records of the original, too.
    let there = answer["records"].as_array().unwrap();
    assert_eq!(there.len(), records(&sandbox, &[]).len() + 1, "{answer}");
    let last = there.last().unwrap();
    assert_eq!(last["act"], "forget");
    assert!(last["command"].as_str().unwrap().contains("sync --to second --delete"), "{last}");
    sandbox.assert_clean();
}

#[test]
fn keys_and_repairs_leave_records_without_secrets() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    fs::write(sandbox.path("new"), "second\n").unwrap();
    let command = format!("echo {PASSWORD}");
    let added = leaves(
        &sandbox,
        "key-add",
        &["key", "add", "--new-password-file", "new", "--label", "spare", "--password-command", &command],
    );
    assert_eq!(added["detail"], "spare");
    assert!(added["command"].as_str().unwrap().ends_with("--password-command (hidden)"), "{added}");
    let list = sandbox.ok(&["key", "list", "--json"]).json();
    let spare = list.as_array().unwrap().iter().find(|key| key["label"] == "spare").unwrap();
    let id = spare["id"].as_str().unwrap();
    assert_eq!(leaves(&sandbox, "key-remove", &["key", "remove", id])["detail"], id);
    let mut passwd = sandbox.command(&["key", "passwd"]);
    passwd.env("SNAP_NEW_PASSWORD", PASSWORD);
    finish(passwd, b"").expect(0);
    assert_eq!(records(&sandbox, &[]).last().unwrap()["act"], "key-change");

    let text = sandbox.ok(&["audit"]).text();
    assert!(text.lines().next().unwrap().contains("key-add") && text.contains("spare"), "{text}");
    assert_eq!(records(&sandbox, &["--since", "2126-01-01"]).len(), 0);
    assert_eq!(records(&sandbox, &["--since", "1h"]).len(), 3);

    // A damaged pack goes to quarantine.
    let pack = sandbox.objects("packs").remove(0);
    let whole = fs::read(&pack).unwrap();
    flip(&pack);
    let id = pack.file_name().unwrap().to_str().unwrap().to_owned();
    sandbox.snap(&["repair", "packs", &id, "-n"]);
    assert_eq!(records(&sandbox, &[]).len(), 3, "a dry run leaves none");
    sandbox.snap(&["repair", "packs", &id]);
    let record = records(&sandbox, &[]).pop().unwrap();
    assert_eq!(record["act"], "repair");
    assert!(record["detail"].as_str().unwrap().contains(&id[..8]), "{record}");
    fs::write(&pack, whole).unwrap();

    // The rest of a damaged snapshot replaces it.
    for pack in sandbox.objects("packs") {
        if fs::read(&pack).unwrap()[8] == 1 {
            fs::remove_file(pack).unwrap();
        }
    }
    leaves(&sandbox, "repair", &["repair", "snapshots"]);
}

#[test]
fn audit_reports_unreadable_records_and_needs_each_written() {
    let sandbox = Sandbox::open();
    backups(&sandbox, 0..2);
    sandbox.ok(&["forget", "latest~1"]);
    let record = sandbox.objects("audit").into_iter().next().unwrap();
    fs::write(&record, "no record").unwrap();
    let told = sandbox.snap(&["audit"]).expect(3);
    assert!(told.stderr.contains("cannot be read"), "{}", told.all());
    sandbox.snap(&["check"]).expect(20);
    fs::remove_dir_all(sandbox.path("repo/audit")).unwrap();
    sandbox.ok(&["check"]);

    fs::write(sandbox.path("repo/audit"), "a file in the way").unwrap();
    sandbox.ok(&["backup", "src", "--allow-empty"]);
    let before = sandbox.snapshot_names();
    assert_eq!(sandbox.snap(&["forget", "latest~1"]).code, 1);
    assert_eq!(sandbox.snapshot_names(), before);
}

#[test]
fn gc_records_what_it_purges_and_drops_records_after_a_year() {
    let sandbox = Sandbox::open();
    backups(&sandbox, 0..3);
    let oldest = sandbox.ok(&["snapshots", "--json"]).json()[0]["id"].as_str().unwrap().to_owned();
    let partial = interrupt(&sandbox.path("repo"), None, &oldest, days(-1));
    // A complete snapshot has replaced the partial one.
    assert_eq!(leaves(&sandbox, "forget", &["gc"])["snapshots"], json!([partial]));
    sandbox.ok(&["gc"]);
    assert_eq!(records(&sandbox, &[]).len(), 1, "nothing was purged");
    assert_eq!(leaves(&sandbox, "purge", &["gc", "--empty-trash"])["snapshots"], json!([partial]));
    assert_eq!(sandbox.objects("trash").len(), 0);

    sandbox.ok(&["forget", "latest~1"]);
    let (audit, aside) = (sandbox.path("repo/audit"), sandbox.path("audit"));
    fs::rename(&audit, &aside).unwrap();
    fs::write(&audit, "a file in the way").unwrap();
    let packs = sandbox.objects("packs");
    assert_eq!(sandbox.snap(&["gc", "--empty-trash"]).code, 1);
    assert_eq!((sandbox.objects("trash").len(), sandbox.objects("packs")), (1, packs));
    fs::remove_file(&audit).unwrap();
    fs::rename(&aside, &audit).unwrap();
    leaves(&sandbox, "purge", &["gc", "--empty-trash"]);

    for (record, days) in sandbox.objects("audit").iter().zip([370, 369, 364, 10]) {
        let time = SystemTime::now() - Duration::from_secs(days * 86_400);
        fs::File::options().write(true).open(record).unwrap().set_modified(time).unwrap();
    }
    sandbox.ok(&["gc"]);
    assert_eq!(sandbox.objects("audit").len(), 2, "a year and a day");
}
