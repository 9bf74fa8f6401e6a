//! Output.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use super::snapshots;
use crate::snapshots::assert_unchanged;
use crate::support::{Random, Sandbox, assert_same, files_below};

#[test]
fn the_json_summary_counts_files() {
    let sandbox = Sandbox::with_tree(&[("a", "123"), ("b", "45")]);
    let summary = sandbox.ok(&["backup", "--json", "src"]).summary();
    assert_eq!(summary["files_new"], 2, "{summary}");
    assert_eq!(summary["total_bytes_processed"], 5, "{summary}");
    let id = summary["snapshot_id"].as_str().unwrap();
    assert!(sandbox.snapshot_names().contains(id), "{id}");
}

#[test]
fn snapshots_as_json_are_one_array() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let first = sandbox.backup(&["--tag", "one"]);
    sandbox.write(&[("a", "22")]);
    let second = sandbox.backup(&[]);
    let list = snapshots(&sandbox);
    assert_eq!(list.iter().map(|one| one["id"].as_str().unwrap()).collect::<Vec<_>>(), [&first, &second]);
    assert_eq!(list[0]["short_id"], first[..8]);
    assert_eq!(list[0]["tags"][0], "one");
}

#[test]
fn ls_lists_and_cat_prints() {
    let sandbox = Sandbox::with_tree(&[("a", "hello"), ("d/b", "deep")]);
    sandbox.backup(&[]);
    let names = sandbox.ok(&["ls", "-R", "latest"]).text();
    assert_eq!(names.lines().collect::<Vec<_>>(), ["src", "src/a", "src/d", "src/d/b"]);
    assert_eq!(sandbox.ok(&["cat", "latest:src/d/b"]).stdout, b"deep");
    assert_ne!(sandbox.snap(&["cat", "latest:src/none"]).code, 0);
    assert_ne!(sandbox.snap(&["cat", "latest:src/d"]).code, 0);
}

#[test]
fn cat_gives_a_large_file_byte_for_byte() {
    let sandbox = Sandbox::new();
    let bytes = Random::new(3).bytes(2 << 20);
    fs::write(sandbox.path("src/big"), &bytes).unwrap();
    sandbox.backup(&[]);
    assert!(sandbox.ok(&["cat", "latest:src/big"]).stdout == bytes);
}

#[test]
fn ls_as_json_keeps_names_that_are_not_text() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.src().join(OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
    sandbox.backup(&[]);
    let text = sandbox.ok(&["ls", "-R", "--json", "latest"]).text();
    let mut nodes = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let node = nodes.next_back().unwrap();
    assert_eq!(node["path_b64"], "c3JjL2NhZuk=", "{node}");
}

#[test]
fn every_selector_names_the_snapshot_it_should() {
    let sandbox = Sandbox::with_tree(&[("a", "first")]);
    let first = sandbox.backup(&[]);
    sandbox.write(&[("a", "second")]);
    let second = sandbox.backup(&[]);
    let cat = |selector: &str| sandbox.ok(&["cat", &format!("{selector}:src/a")]).text();
    let started = snapshots(&sandbox)[0]["time"].as_str().unwrap().to_owned();
    for selector in ["latest~1", &first, &first[..8], &started] {
        assert_eq!(cat(selector), "first", "{selector}");
    }
    for selector in ["latest", "latest~0", &second[..8], "2199-01-01", "2199-01-01T00:00:00Z"] {
        assert_eq!(cat(selector), "second", "{selector}");
    }
    for selector in ["latest~2", "0000000000000000", "2001-01-01", "nonsense", "latest~x", ""] {
        let outcome = sandbox.snap(&["ls", "-R", selector]);
        assert!([1, 2].contains(&outcome.code), "{selector}: {outcome:?}");
    }
}

#[test]
fn a_part_of_a_snapshot_restores_alone() {
    let sandbox = Sandbox::with_tree(&[("d/b", "1"), ("d/e/c.txt", "2"), ("f.txt", "3"), ("g", "4")]);
    sandbox.backup(&[]);
    let part = sandbox.restore("latest:src/d", &[]);
    let restored = files_below(&part);
    assert!(restored.iter().any(|path| path.ends_with("b")), "{restored:?}");
    assert_eq!(restored.len(), 2, "{restored:?}");

    let included = sandbox.restore("latest", &["--include", "*.txt"]);
    assert_eq!(files_below(&included).len(), 2);
    assert_eq!(fs::read(included.join("src/d/e/c.txt")).unwrap(), b"2");

    let excluded = sandbox.restore("latest", &["--exclude", "*.txt"]);
    assert_eq!(fs::read(excluded.join("src/g")).unwrap(), b"4");
    assert!(!excluded.join("src/f.txt").exists());
    assert!(!excluded.join("src/d/e/c.txt").exists());
}

#[test]
fn a_restore_over_an_older_state_ends_at_the_snapshot() {
    let sandbox = Sandbox::with_tree(&[("a", "new"), ("d/b", "x")]);
    sandbox.backup(&[]);
    let target = sandbox.restore("latest", &[]);
    fs::write(target.join("src/a"), "something longer").unwrap();
    fs::remove_file(target.join("src/d/b")).unwrap();
    sandbox.ok(&["restore", "latest", "--target", target.to_str().unwrap()]);
    assert_same(&sandbox.src(), &target.join("src"));
}

#[test]
fn excludes_leave_files_out() {
    let sandbox = Sandbox::with_tree(&[("a.log", "1"), ("a.txt", "2"), ("skip/x", "3"), ("keep/B.TMP", "4")]);
    sandbox.write(&[("cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55"), ("cache/x", "5")]);
    let excludes = ["--exclude", "*.log", "--exclude", "skip", "--iexclude", "*.tmp", "--exclude-caches"];
    sandbox.backup(&excludes);
    let restored = sandbox.restore("latest", &[]);
    for (name, there) in
        [("a.log", false), ("a.txt", true), ("skip", false), ("keep/B.TMP", false), ("cache/x", false)]
    {
        assert_eq!(restored.join("src").join(name).exists(), there, "{name}");
    }
}

/// Returns the paths of null values.
fn nulls(value: &serde_json::Value, at: &str) -> Vec<String> {
    match value {
        serde_json::Value::Null => vec![at.to_owned()],
        serde_json::Value::Array(list) => list.iter().flat_map(|one| nulls(one, at)).collect(),
        serde_json::Value::Object(map) => {
            map.iter().flat_map(|(key, value)| nulls(value, &format!("{at}.{key}"))).collect()
        }
        _ => Vec::new(),
    }
}

/// Adds the type of each value below `at`.
fn shape(value: &serde_json::Value, at: &str, shapes: &mut BTreeMap<String, &'static str>) {
    let kind = match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "bool",
        serde_json::Value::Number(number) if number.is_f64() => "float",
        serde_json::Value::Number(_) => "integer",
        serde_json::Value::String(_) => "string",
        serde_json::Value::Array(list) => {
            return list.iter().for_each(|item| shape(item, &format!("{at}[]"), shapes));
        }
        serde_json::Value::Object(map) => {
            return map.iter().for_each(|(key, value)| shape(value, &format!("{at} .{key}"), shapes));
        }
    };
    shapes.insert(at.to_owned(), kind);
}

/// Wrappers read either one value or one line at a time, and must know which; the first key of a line gives
/// its type.
#[test]
fn json_is_one_object_per_line_except_for_four_commands() {
    let sandbox = Sandbox::with_tree(&[("a", "1"), ("d/b", "2")]);
    sandbox.backup(&[]);
    sandbox.write(&[("a", "changed")]);
    sandbox.backup(&[]);
    let mut shapes = BTreeMap::new();
    for verb in ["snapshots", "forget --keep-last 1 -n", "key list", "undelete"] {
        let args: Vec<&str> = verb.split(' ').chain(["--json"]).collect();
        let text = sandbox.ok(&args).text();
        let value: serde_json::Value =
            serde_json::from_str(&text).unwrap_or_else(|err| panic!("{verb}: {err}: {text}"));
        assert!(value.is_array() && text.trim_end().lines().count() == 1, "{verb}: {text}");
        assert!(nulls(&value, verb).is_empty(), "{:?}", nulls(&value, verb));
        shape(&value, verb, &mut shapes);
    }
    for verb in [
        "ls latest",
        "find a",
        "diff latest~1 latest",
        "stats",
        "status",
        "check",
        "du",
        "backup src",
        "gc -n",
        "drill",
        "history src/a",
        "config show",
        "restore latest --target out/json",
        "export latest -o out/x.tar",
        "tag --add x latest",
        "cleanup --keep-last 9",
        "sync --to other --init",
        "repair index -n",
        "repair packs -n",
        "repair snapshots -n",
        "repair gc -n",
        "alarm --all",
        "audit",
        "heal",
        "stats latest",
        "backup src -n",
        "restore latest --target out/none -n",
        "rewrite latest --exclude d -n",
        "rewrite --expire x=30d -n",
        "pin latest",
        "cleanup --keep-below 1T -n",
        "import trees src --as /x --time 2024-01-01",
        "import out/x.tar",
    ] {
        let args: Vec<&str> = verb.split(' ').chain(["--json"]).collect();
        let text = sandbox.ok(&args).text();
        for line in text.lines() {
            let value: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|err| panic!("{verb}: {err}: {text}"));
            // A cleanup is a forget by rules and a gc run, and prints what both print.
            assert!(value.is_object() || verb.starts_with("cleanup"), "{verb}: {line}");
            let first = value.as_object().and_then(|map| map.keys().next());
            assert!(first.is_none_or(|key| key == "message_type"), "{verb}: {line}");
            assert!(nulls(&value, verb).is_empty(), "{:?}", nulls(&value, verb));
            shape(&value, &format!("{verb} {}", value["message_type"].as_str().unwrap_or("-")), &mut shapes);
        }
        assert!(!text.is_empty(), "{verb}");
    }
    // Scripts depend on each key and its type.
    let shapes = shapes.iter().map(|(at, kind)| format!("{at}: {kind}\n")).collect::<String>();
    assert_unchanged("json", "shapes", &shapes);
}
