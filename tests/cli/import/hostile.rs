//! Hostile archives: nothing of them becomes a snapshot, and the message names the member.

use std::fs;

use snap_backup::codec::tar::Node;

use super::{archive, header, pax, records, run};
use crate::support::{Random, Sandbox, finish};

/// The import must be refused with exit 1 and a message that names the member, and create no snapshot.
fn refused(what: &str, bytes: &[u8], named: &str) {
    let sandbox = Sandbox::open();
    let outcome = finish(sandbox.command(&["import", "-"]), bytes).expect(1);
    assert!(outcome.stderr.contains(named), "{what}: {}", outcome.stderr);
    assert!(sandbox.snapshot_names().is_empty(), "{what}: a snapshot was made");
    sandbox.assert_clean();
}

#[test]
fn names_that_lead_outside_and_links_to_nothing_are_refused() {
    let file = |name: &[u8]| archive(&[(b"good", Node::File, b"1"), (name, Node::File, b"x")]);
    let link =
        |to: &[u8]| archive(&[(b"good", Node::File, b"1"), (b"evil", Node::HardLink(to.to_vec()), b"")]);
    refused("..", &file(b"a/../../evil"), "a/../../evil");
    refused("a long name", &file(&[&[b'n'; 256][..], b"/evil"].concat()), "evil");
    refused("NUL", &file(&[&[b'd'; 200][..], b"/ev\0il"].concat()), "cannot import");
    refused("deep", &file(&b"d/".repeat(9000)), "cannot import");
    refused("a link outside", &link(b"../etc/passwd"), "evil");
    refused("a link to nothing", &link(b"/etc/passwd"), "evil");
    refused("a link to itself", &link(b"evil"), "evil");
    let below = archive(&[(b"l", Node::Symlink(b"/etc".to_vec()), b""), (b"l/evil", Node::File, b"x")]);
    refused("below a link", &below, "l/evil");
    refused(
        "a link to a directory",
        &archive(&[(b"d", Node::Dir, b""), (b"evil", Node::HardLink(b"d".to_vec()), b"")]),
        "evil",
    );
    refused(
        "a link to a NUL",
        &archive(&[(b"evil", Node::Symlink([&[b'x'; 150][..], b"\0"].concat()), b"")]),
        "evil",
    );
}

#[test]
fn leading_slashes_are_dropped_and_later_members_win() {
    let sandbox = Sandbox::open();
    let bytes = archive(&[
        (b"/abs/a", Node::File, b"absolute"),
        (b"./d/./b", Node::File, b"first"),
        (b"d/b", Node::File, b"second"),
        (b"was/dir", Node::File, b"x"),
        (b"was", Node::File, b"now a file"),
    ]);
    let outcome = finish(sandbox.command(&["import", "-"]), &bytes).expect(0);
    assert!(outcome.stderr.contains("was replaces a directory"), "{}", outcome.stderr);
    let restored = sandbox.restore("latest", &[]);
    let text = |name: &str| fs::read_to_string(restored.join(name)).unwrap();
    assert_eq!(
        (text("abs/a"), text("d/b"), text("was")),
        ("absolute".into(), "second".into(), "now a file".into())
    );
}

#[test]
fn an_archive_that_is_cut_or_damaged_anywhere_makes_no_snapshot() {
    let noise = Random::new(4).bytes(3000);
    let whole = archive(&[(b"first", Node::File, b"1"), (b"second", Node::File, &noise)]);
    // In headers, contents, padding, between members, and before the end marker.
    for end in [0, 100, 512, 700, 1024, 1300, 1536, 1536 + 100, whole.len() - 1100, whole.len() - 1024] {
        refused(&format!("cut at {end}"), &whole[..end], "cannot import");
    }
    let mut damaged = whole.clone();
    damaged[1024 + 10] ^= 1;
    refused("a header", &damaged, "cannot import first");
    refused("noise", &Random::new(5).bytes(4096), "not a tar archive");
    let gz = {
        let sandbox = Sandbox::open();
        fs::write(sandbox.path("a.tar"), &whole).unwrap();
        run("gzip", &["a.tar"], &sandbox.path("."));
        fs::read(sandbox.path("a.tar.gz")).unwrap()
    };
    refused("a cut gzip", &gz[..gz.len() - 4], "cannot import");
    let mut wrong = gz.clone();
    let at = wrong.len() - 6;
    wrong[at] ^= 1;
    refused("a gzip with a wrong check value", &wrong, "cannot import");
    refused("xz", b"\xfd7zXZ\0..........", "xz -dc");
}

#[test]
fn absurd_sizes_are_refused_cheaply() {
    let huge = [0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    refused("a huge file", &header(b"evil", b'0', &huge), "evil");
    refused("a negative length", &header(b"evil", b'0', &[0xff; 12]), "cannot import");
    refused("a huge long name", &header(b"evil", b'L', b"77777777777"), "too long");
    refused("a huge extended header", &header(b"evil", b'x', b"77777777777"), "too long");
    refused("size by record", &pax(b"28 size=9223372036854775807\n", b"evil", b"00000000000"), "evil");
    let sparse = records("GNU.sparse.major=1 GNU.sparse.minor=0 GNU.sparse.realsize=9223372036854775807");
    let mut bytes = pax(&sparse, b"evil", b"00000001000");
    bytes.extend_from_slice(format!("{:\0<512}", "99999999999\n0\n").as_bytes());
    refused("a map that does not end", &bytes, "evil");
    let mut bytes = pax(&records("GNU.sparse.size=10 GNU.sparse.map=0,5,3,5"), b"evil", b"00000000012");
    bytes.resize(bytes.len() + 512, 0);
    refused("a map that overlaps", &bytes, "evil");
    let mut bytes = pax(
        &records("GNU.sparse.size=10 GNU.sparse.map=0,5,18446744073709551615,5"),
        b"evil",
        b"00000000012",
    );
    bytes.resize(bytes.len() + 512, 0);
    refused("a map beyond the end of numbers", &bytes, "evil");
    // A huge hole costs nothing and is valid.
    let sandbox = Sandbox::open();
    let mut bytes =
        pax(&records("GNU.sparse.size=1099511627776 GNU.sparse.map=0,1"), b"vast", b"00000000001");
    bytes.push(b'x');
    bytes.resize(bytes.len() + 511 + 1024, 0);
    finish(sandbox.command(&["import", "-"]), &bytes).expect(0);
    assert!(sandbox.ok(&["ls", "-lR", "latest"]).text().contains("1099511627776"));
}

#[test]
fn member_of_unknown_type_is_skipped_and_reported() {
    let sandbox = Sandbox::open();
    let mut bytes = header(b"odd", b'Z', b"00000000000");
    bytes.extend_from_slice(&archive(&[(b"good", Node::File, b"1")]));
    let outcome = finish(sandbox.command(&["import", "-"]), &bytes).expect(3);
    assert!(outcome.stderr.contains("odd"), "{}", outcome.stderr);
    assert!(sandbox.restore("latest", &[]).join("good").exists());
}

#[test]
fn oversized_headers_are_refused() {
    // Each of its records is small, all together are not.
    let names: String = (0..4000).map(|nth| format!(" SCHILY.xattr.user.{nth:020}=x")).collect();
    refused("many attributes", &pax(&records(names.trim_start()), b"evil", b"00000000000"), "too large");
    let large = records(&format!("SCHILY.xattr.user.large={}", "x".repeat(9 << 20)));
    let mut bytes = pax(&large, b"evil", b"00000000000");
    bytes.truncate(bytes.len() - 512);
    let other = records(&format!("SCHILY.xattr.user.other={}", "x".repeat(9 << 20)));
    bytes.extend_from_slice(&pax(&other, b"evil", b"00000000000"));
    refused("large attributes in several headers", &bytes, "too large");
    refused(
        "an impossible attribute",
        &pax(&records("mtime=never"), b"evil", b"00000000000"),
        "a time is invalid",
    );
    refused("no record", &pax(b"99999 path=a", b"evil", b"00000000000"), "has an invalid record");
    refused("a record that lies", &pax(b"5 path=a\n", b"evil", b"00000000000"), "has an invalid record");
    // A name in a record takes precedence over the header.
    refused("a name in a record", &pax(&records("path=../../evil"), b"good", b"00000000000"), "../../evil");
    refused(
        "a sparse name",
        &pax(&records("GNU.sparse.name=../evil GNU.sparse.size=0"), b"good", b"00000000000"),
        "../evil",
    );
    let mut long = header(b"././@LongLink", b'L', b"00000000010");
    long.extend_from_slice(&[&b"../evil\0"[..], &[0; 504]].concat());
    long.extend_from_slice(&header(b"good", b'0', b"00000000000"));
    refused("a long name", &long, "../evil");
}
