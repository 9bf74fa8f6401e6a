//! Sizes.

use std::fs;

use crate::support::{Random, Sandbox};

#[test]
fn stats_say_whose_the_bytes_are() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("src/a"), Random::new(1).bytes(200_000)).unwrap();
    let first = sandbox.backup(&[]);
    fs::write(sandbox.path("src/b"), Random::new(2).bytes(100_000)).unwrap();
    let second = sandbox.backup(&[]);
    let found = sandbox.ok(&["stats", "--json"]).summary();
    assert_eq!((&found["snapshots_count"], &found["total_size"]), (&2.into(), &500_000.into()), "{found}");
    let of = |number: usize, what: &str| found["snapshots"][number][what]["bytes"].as_u64().unwrap();
    assert_eq!(found["snapshots"][0]["id"], first.as_str());
    assert!((200_000..210_000).contains(&of(0, "added")) && of(0, "unique") < 10_000, "{found}");
    assert!((100_000..110_000).contains(&of(1, "added")) && of(1, "unique") >= 100_000, "{found}");
    let files = sandbox.objects("packs").into_iter().map(|pack| fs::metadata(pack).unwrap().len());
    assert_eq!(found["packs_size"], files.sum::<u64>());

    let text = sandbox.ok(&["stats"]).text();
    assert!(text.contains(&first[..8]) && text.contains(&second[..8]), "{text}");
    assert!(text.contains("2 snapshots, 3 files (488.3 KiB) to restore"), "{text}");
    let one = sandbox.ok(&["stats", "latest~1"]).text();
    assert!(one.contains("1 snapshot, 1 file (195.3 KiB) to restore"), "{one}");
}

#[test]
fn forgotten_snapshots_show_as_trash_until_gc() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("src/a"), Random::new(1).bytes(200_000)).unwrap();
    sandbox.backup(&[]);
    fs::write(sandbox.path("src/a"), Random::new(2).bytes(200_000)).unwrap();
    sandbox.backup(&[]);
    sandbox.ok(&["forget", "latest~1"]);
    let trash = |sandbox: &Sandbox| {
        let found = sandbox.ok(&["stats", "--json"]).summary();
        (found["packs_trash"].as_u64().unwrap(), found["packs_unused"].as_u64().unwrap())
    };
    let (trashed, unused) = trash(&sandbox);
    assert!(trashed >= 200_000 && unused == 0, "{trashed} {unused}");
    sandbox.ok(&["gc", "--empty-trash", "--max-unused", "0"]);
    assert_eq!(trash(&sandbox), (0, 0));
}

#[test]
fn stats_of_names_and_filters_do_not_go_together() {
    let sandbox = Sandbox::new();
    sandbox.snap(&["stats", "latest", "--host", "x"]).expect(2);
    sandbox.snap(&["stats", "latest"]).expect(1);
    sandbox.ok(&["stats", "--host", "x"]);
}
