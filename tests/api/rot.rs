//! Bit rot of the sources: what is read again, and what counts as rot.
#![allow(clippy::unwrap_used)]

use std::fs;

use snap_backup::Control;
use snap_backup::ops::backup::{Backup, Options, Report, Reread};
use snap_backup::repo::snapshots;

use crate::support::Sandbox;
use crate::support::rot::{flip, open, settle};

fn sandbox(files: usize) -> Sandbox {
    let sandbox = Sandbox::open();
    for at in 0..files {
        let path = sandbox.src().join(format!("d{}/f{at}", at % 5));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("the content of file {at}")).unwrap();
    }
    sandbox.ok(&["backup", "src"]);
    sandbox
}

/// A dry run, compared with the newest snapshot.
fn dry_run(sandbox: &Sandbox, reread: Reread) -> Report {
    let sources = vec![sandbox.src()];
    let repo = open(sandbox);
    let newest = snapshots::list(&repo).unwrap().pop().unwrap();
    let options = Options {
        sources,
        store_as: Some(b"src".to_vec()),
        parent: Some(newest.id.hex()),
        reread: Some(reread),
        dry_run: true,
        ..Options::default()
    };
    Backup::begin(options, None, &Control::default()).unwrap().run(&repo, &Control::default()).unwrap()
}

/// 1 % of 300 files in each run: in a hundred runs each is read once, and the rotted file is found.
#[test]
fn reread_of_one_percent_reads_every_file_in_100_runs() {
    let sandbox = sandbox(300);
    flip(&sandbox.src().join("d3/f123"));
    settle(&sandbox, &mut |_, _| {});
    let (mut cursor, mut read, mut met) = (Some(u64::MAX / 3), 0, Vec::new());
    for run in 0..100 {
        let summary = dry_run(&sandbox, Reread { share: 10_000, from: cursor });
        let done = summary.reread.unwrap();
        assert!(done.files <= 15 && summary.counts.bytes_read <= 15 * 30, "{done:?}");
        read += done.files;
        if !summary.alarm.is_empty() {
            met.push((run, summary.alarm[0].to_string()));
        }
        cursor = Some(done.next);
    }
    assert_eq!(read, 299, "each good file once");
    assert_eq!(met.len(), 1, "{met:?}");
    assert!(met[0].1.contains("src/d3/f123"), "{met:?}");
}
