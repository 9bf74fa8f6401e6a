//! An existing name is made durable before a process relies on it, because the process that created it may
//! not have synced it yet.
#![allow(clippy::unwrap_used)]

use crate::support::trace::Call;
use crate::support::{Sandbox, trace};

#[test]
fn existing_name_is_synced_by_the_process_that_finds_it() {
    let sandbox = Sandbox::with_tree(&[("a", "what is to be damaged")]);
    sandbox.backup(&[]);
    let largest =
        sandbox.objects("packs").into_iter().max_by_key(|pack| pack.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    crate::support::chmod(&largest, 0o600);
    std::fs::write(&largest, bytes).unwrap();
    // The first check records that the pack is damaged. The second one finds that record.
    sandbox.snap(&["check", "-v", "--read-data"]).expect(20);
    let record = sandbox.objects("damage").pop().unwrap();
    let command = sandbox.command(&["check", "--read-data"]);
    let Some((outcome, calls)) = trace::record(&command, &sandbox.path("log")) else { return };
    outcome.expect(20);
    let folder = record.parent().unwrap().canonicalize().unwrap();
    let renamed = calls.iter().any(|call| matches!(call, Call::Rename(_, to) if to.starts_with(&folder)));
    assert!(!renamed, "the record was there");
    let synced = calls.iter().any(|call| matches!(call, Call::Sync(path) if *path == folder));
    assert!(synced, "it may go in a power cut: {:?}", calls.iter().map(Call::words).collect::<Vec<_>>());
}
