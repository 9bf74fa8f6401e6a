//! Deltas on the command line: made, allowed and counted.

use std::fs;

use crate::support::{Random, Sandbox};

/// A file of which a few bytes change with each version; also the last one, so that every chunk changes.
fn write(sandbox: &Sandbox, version: u8) {
    let mut bytes = Random::new(1).bytes(300_000);
    (0..300).for_each(|at| bytes[1000 * at + usize::from(version)] ^= version);
    bytes[299_999] ^= version;
    fs::write(sandbox.path("src/a"), bytes).unwrap();
}

#[test]
fn a_change_is_stored_as_a_delta_and_said() {
    let sandbox = Sandbox::new();
    write(&sandbox, 0);
    sandbox.backup(&[]);
    write(&sandbox, 1);
    let text = sandbox.ok(&["backup", "src"]).text();
    assert!(text.contains("\ndeltas:  293.0 KiB of that as changes to stored data, in "), "{text}");
    write(&sandbox, 2);
    let found = sandbox.ok(&["backup", "src", "--json"]).summary();
    assert!(found["deltas"]["bytes"].as_u64().unwrap() >= 300_000, "{found}");
    assert!(found["data_added_packed"].as_u64().unwrap() < 10_000, "{found}");
    let found = sandbox.ok(&["stats", "--json"]).summary();
    assert!(
        found["deltas"]["blocks"].as_u64().unwrap() >= 2 && found["deltas_saved"].as_u64().unwrap() > 500_000
    );
    let text = sandbox.ok(&["stats"]).text();
    assert!(text.contains("\ndeltas:  "), "{text}");
    sandbox.ok(&["check", "--read-data"]);
}

#[test]
fn without_deltas_there_are_none_until_they_are_allowed() {
    let sandbox = Sandbox::bare();
    sandbox.ok(&["init", "--delta", "off"]);
    write(&sandbox, 0);
    sandbox.ok(&["backup", "src"]);
    write(&sandbox, 1);
    let made = sandbox.ok(&["backup", "src", "--delta", "on", "--json"]);
    assert!(made.all().contains("`snap config set delta on`"), "{}", made.all());
    assert_eq!(made.summary()["deltas"]["blocks"], 0);
    sandbox.snap(&["config", "set", "delta", "off"]).expect(2);
    sandbox.ok(&["config", "set", "delta", "on"]);
    let again = sandbox.ok(&["config", "set", "delta", "on"]).text();
    assert!(again.contains("already"), "{again}");
    write(&sandbox, 2);
    let found = sandbox.ok(&["backup", "src", "--delta", "off", "--json"]).summary();
    assert_eq!(found["deltas"]["blocks"], 0);
    write(&sandbox, 3);
    let found = sandbox.ok(&["backup", "src", "--json"]).summary();
    assert_ne!(found["deltas"]["blocks"], 0);
    sandbox.snap(&["backup", "src", "--delta", "sometimes"]).expect(2);
}
