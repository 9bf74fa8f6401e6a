//! Finding files in all snapshots, and restoring one of their versions.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use crate::support::{Outcome, Sandbox};

fn lines(outcome: &Outcome) -> Vec<serde_json::Value> {
    outcome.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Three snapshots: `f` in two versions, of which the second is in two; `g` in the first two.
fn three() -> (Sandbox, Vec<String>) {
    let sandbox = Sandbox::with_tree(&[("d/f", "one"), ("d/g", "g")]);
    let mut ids = vec![sandbox.backup(&[])];
    sandbox.write(&[("d/f", "second")]);
    ids.push(sandbox.backup(&[]));
    fs::remove_file(sandbox.path("src/d/g")).unwrap();
    ids.push(sandbox.backup(&[]));
    (sandbox, ids)
}

#[test]
fn find_shows_each_version_with_its_range() {
    let (sandbox, ids) = three();
    let short: Vec<&str> = ids.iter().map(|id| &id[..8]).collect();
    let text = sandbox.ok(&["find", "F", "--iname"]).text();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 4, "{text}");
    assert_eq!((rows[1][0], rows[1][1], rows[1][6]), (short[0], "1", "src/d/f"), "{text}");
    let range = format!("{}..{}", short[1], short[2]);
    assert_eq!((rows[2][0], rows[2][1], rows[2][4]), (range.as_str(), "2", "6"), "{text}");
    assert_eq!(rows[3].join(" "), "2 matches in 3 snapshots");
    // For a script: only the result.
    assert_eq!(sandbox.ok(&["find", "f", "-q"]).text().lines().count(), 2);
    let none = sandbox.ok(&["find", "none"]).text();
    assert_eq!(none, "0 matches in 3 snapshots\n");

    let found = lines(&sandbox.ok(&["find", "--regex", "/[fg]$", "--json"]));
    let matches: Vec<_> = found.iter().filter(|one| one["message_type"] == "match").collect();
    assert_eq!(matches.len(), 3);
    assert_eq!(matches[1]["path"], "src/d/f");
    assert_eq!(matches[1]["size"], 6);
    assert_eq!(matches[1]["count"], 2);
    assert_eq!(matches[1]["ranges"], serde_json::json!([[ids[1], ids[2]]]));
    assert_eq!(found.last().unwrap()["matches"], 3);

    let one = sandbox.ok(&["find", "f", "-s", "latest", "-s", short[0], "-q"]).text();
    assert_eq!(one.lines().count(), 2, "{one}");
    let long = sandbox.ok(&["find", "d", "-l", "--type", "d", "-q"]).text();
    assert!(long.contains("drwxr-xr-x"), "{long}");
    assert_eq!(sandbox.ok(&["find", "--newer", "1h", "--type=f", "-q"]).text().lines().count(), 3);
    assert!(sandbox.ok(&["find", "--older", "1h", "--type", "f", "-q"]).text().is_empty());
    let like = sandbox.ok(&["find", "--content", "src/d/f", "-q"]).text();
    assert!(like.ends_with("src/d/f\n") && like.lines().count() == 1, "{like}");
}

#[test]
fn a_search_for_nothing_is_refused() {
    let sandbox = Sandbox::with_tree(&[("f", "x")]);
    sandbox.backup(&[]);
    for args in [
        &["find"][..],
        &["find", "["],
        &["find", "--regex", "("],
        &["find", "--type", "x"],
        &["find", "--newer", "soon"],
        &["find", "--chunk", "zz"],
        &["history"],
        &["history", "f", "--number", "1"],
    ] {
        sandbox.snap(args).expect(2);
    }
    sandbox.snap(&["find", "f", "-s", "latest~5"]).expect(1);
    sandbox.snap(&["history", "none"]).expect(1);
    sandbox.snap(&["find", "f", "--host", "nobody"]).expect(1);
    sandbox.snap(&["find", "f", "-s", "latest", "--host", "nobody"]).expect(1);
}

#[test]
fn names_are_printed_as_raw_bytes() {
    let sandbox = Sandbox::new();
    let name = std::ffi::OsStr::from_bytes(b"a\xff");
    fs::write(sandbox.src().join(name), "x").unwrap();
    sandbox.backup(&[]);
    let found = sandbox.ok(&["find", "a*", "-q"]);
    assert!(found.stdout.ends_with(b"  src/a\xff\n"));
    let json = lines(&sandbox.ok(&["find", "a*", "--json"]));
    assert_eq!(json[0]["path_b64"], "c3JjL2H/");
}

#[test]
fn version_is_restored_under_another_name() {
    let (sandbox, ids) = three();
    let text = sandbox.ok(&["history", "src/d/f"]).text();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((rows[1][0], rows[1][1]), ("1", &ids[0][..8]), "{text}");
    assert_eq!((rows[2][0], rows[2][2]), ("2", "2"), "{text}");
    assert!(text.ends_with("2 versions of src/d/f in 3 snapshots\n"), "{text}");
    let json = lines(&sandbox.ok(&["history", "src/d/f", "--json"]));
    assert_eq!((&json[0]["first"], &json[0]["size"]), (&ids[0].as_str().into(), &3.into()));
    let gone = sandbox.ok(&["history", "src/d/g"]).text();
    assert!(gone.contains(&format!("gone since snapshot {}", &ids[2][..8])), "{gone}");

    let original = fs::metadata(sandbox.path("src/d/f")).unwrap();
    let read = |name: &str| fs::read_to_string(sandbox.path(name)).unwrap();
    sandbox.ok(&["history", "src/d/f", "--restore-as", "out/old", "--number", "1"]);
    sandbox.ok(&["history", "src/d/f", "--restore-as", "out/new"]);
    assert_eq!((read("out/old").as_str(), read("out/new").as_str()), ("one", "second"));
    let restored = fs::metadata(sandbox.path("out/new")).unwrap();
    assert_eq!(restored.modified().unwrap(), original.modified().unwrap());
    // Nothing is overwritten, and nothing is left behind.
    sandbox.snap(&["history", "src/d/f", "--restore-as", "out/old"]).expect(2);
    sandbox.snap(&["history", "src/d/f", "--restore-as", "out/third", "--number", "3"]).expect(2);
    sandbox.snap(&["history", "src/d/f", "--restore-as", "out/third", "--number", "0"]).expect(2);
    assert_eq!(read("out/old"), "one");
    sandbox.ok(&["history", "src/d", "--restore-as", "out/dir"]);
    assert_eq!(read("out/dir/f"), "second");
    let left: Vec<_> =
        fs::read_dir(sandbox.path("out")).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn du_and_stats_show_what_is_used_and_would_be_freed() {
    let sandbox = Sandbox::new();
    let write = |name: &str, seed| {
        fs::create_dir_all(sandbox.path(name).parent().unwrap()).unwrap();
        fs::write(sandbox.path(name), crate::support::Random::new(seed).bytes(100_000)).unwrap();
    };
    write("src/a/f", 1);
    write("src/b/g", 2);
    sandbox.backup(&[]);
    write("src/b/g", 3);
    let second = sandbox.backup(&[]);
    let text = sandbox.ok(&["du", "--depth", "2"]).text();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["Size", "Files", "Stored", "Growth", "Path"], "{text}");
    // The largest growth first.
    let paths: Vec<&str> = rows[1..5].iter().map(|row| *row.last().unwrap()).collect();
    assert_eq!(paths, ["src/", "src/b/", "src/a/", "total"], "{text}");
    let json = lines(&sandbox.ok(&["du", "latest:src/b", "--since", "latest~1", "--unique", "--json"]));
    let total = json.last().unwrap();
    for what in ["growth", "unique", "size", "stored"] {
        assert!((100_000..103_000).contains(&total[what].as_u64().unwrap()), "{what}: {total}");
    }
    let top = sandbox.ok(&["du", "latest", "--sort", "path", "--top", "1", "-q"]).text();
    assert!(top.lines().count() == 3 && !top.contains("Growth"), "{top}");
    sandbox.snap(&["du", "latest:none"]).expect(1);
    sandbox.snap(&["du", "latest", "--host", "x"]).expect(2);

    let stats = sandbox.ok(&["stats", &second, "--json"]).summary();
    let said = stats["freed_if_forgotten"].as_u64().unwrap();
    assert!(sandbox.ok(&["stats", &second]).text().contains("if it is forgotten and purged"));
    assert_eq!(sandbox.ok(&["stats", "--json"]).summary()["freed_if_forgotten"], serde_json::Value::Null);
    let forecast = lines(&sandbox.ok(&["forget", "-n", "--allow-remove-all", &second, "--json"]));
    assert_eq!(forecast[1]["bytes_freed"], said);
    let size = || sandbox.objects("packs").iter().map(|pack| fs::metadata(pack).unwrap().len()).sum::<u64>();
    let before = size();
    sandbox.ok(&["forget", "--allow-remove-all", &second]);
    sandbox.ok(&["gc", "--empty-trash", "--max-unused", "0"]);
    let freed = before - size();
    assert!(said.abs_diff(freed) <= freed / 100 + 2048, "said {said}, freed {freed}");
}
