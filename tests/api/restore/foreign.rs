//! Metadata of other systems and of newer programs: it is kept and copied, and reported once where it cannot
//! be restored.

use std::fs;

use snap_backup::model::entry::{Content, Xattr, XattrValue};

use super::craft;
use crate::support::{Sandbox, finish};

/// A file with Windows attributes, a short name and a stream of 100 000 bytes, and one with a name of 300
/// bytes.
fn snapshot(sandbox: &Sandbox) {
    craft::snapshot(&craft::open(sandbox), craft::counts(2, 0, 8), |craft| {
        let mut foreign = craft::file("a", &[craft.data(b"good")]);
        foreign.meta.extra = vec![(8, vec![0x20]), (16, vec![2, b'A', 0])];
        let stream = craft.data(&[b's'; 100_000]);
        let value = XattrValue::Content { size: 100_000, content: Content::Parts(vec![stream]) };
        foreign.meta.xattrs = vec![Xattr { name: b"user.stream".to_vec(), value }];
        let long = craft::file(&"n".repeat(300), &[craft.data(b"good")]);
        craft.dir(&[foreign, long])
    });
}

#[test]
fn foreign_metadata_is_skipped_once_and_kept_in_copies() {
    let sandbox = Sandbox::open();
    snapshot(&sandbox);
    sandbox.ok(&["check", "--read-data"]);
    let target = sandbox.new_target();
    let outcome = super::restore(&sandbox, &target, &[]).expect(3);
    assert!(outcome.stderr.contains("File name too long"), "{}", outcome.stderr);
    sandbox.ok(&["rewrite", "latest", "--exclude", "n*"]);
    sandbox.ok(&["check", "--read-data"]);
    let target = sandbox.new_target();
    let outcome = super::restore(&sandbox, &target, &[]).expect(0);
    assert_eq!(outcome.stderr.matches("3 attributes").count(), 1, "{}", outcome.stderr);
    assert_eq!(fs::read(target.join("a")).unwrap(), b"good");
    let exported = sandbox.ok(&["export", "latest", "-o", "archive.tar"]);
    assert_eq!(
        exported.stderr.matches("does not contain 3 of its attributes").count(),
        1,
        "{}",
        exported.stderr
    );
    sandbox.ok(&["copy", "--to", "second", "--init", "latest", "--no-encryption"]);
    let target = sandbox.path("from-copy");
    let mut command = sandbox.bin();
    command.args(["-r", "second", "restore", "latest", "--target"]).arg(&target);
    let copied = finish(command, b"").expect(0);
    assert_eq!(copied.stderr.matches("3 attributes").count(), 1, "{}", copied.stderr);
}
