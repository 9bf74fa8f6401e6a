//! One owner for each decision: only it may use the names that implement the decision. Other uses are listed,
//! and the list may only get shorter.

use super::sources;

/// A name, the files and folders that may use it, and the files that use it although they should not.
struct Owned {
    name: &'static str,
    homes: &'static [&'static str],
    left: &'static [&'static str],
}

const OWNED: &[Owned] = &[
    // Readers are sessions (R1).
    Owned { name: "SessionKind::Reader", homes: &["repo/sessions", "repo/read"], left: &[] },
    Owned { name: "Session::open_deferred(", homes: &["repo/read"], left: &[] },
    // A writer's session exists before the listings that it relies on (W1), and determines what may be
    // trusted (W2). Code that examines other sessions (`repo/gc/peers.rs`) has to name their kinds.
    Owned {
        name: "SessionKind::Writer",
        homes: &["repo/sessions", "repo/commit", "repo/gc/peers.rs"],
        left: &[],
    },
    Owned { name: ".protects(", homes: &["repo/commit"], left: &["ops/backup/mod.rs"] },
    // What a piece of a tree contains.
    Owned {
        name: "DirPiece::decode(",
        homes: &["codec/tree", "repo/walk"],
        left: &["repo/random/random_reader.rs"],
    },
    // How deep directories may be nested.
    Owned {
        name: "MAX_NESTING",
        homes: &["model/entry.rs", "fs/walk", "repo/walk/tree_walk.rs"],
        left: &["ops/import/members.rs"],
    },
    // Where a chunk ends.
    Owned { name: "chunker.cut(", homes: &["repo/write/content_writer.rs"], left: &[] },
    Owned { name: "chunker().cut(", homes: &["repo/write/content_writer.rs"], left: &[] },
    // Which error is reported when a writer has failed.
    Owned { name: "(Err(Error::Stopped), Err(", homes: &["error"], left: &[] },
];

#[test]
fn each_decision_has_one_owner() {
    let sources = sources();
    for Owned { name, homes, left } in OWNED {
        let named = |file: &&(std::path::PathBuf, String)| {
            file.1.contains(name) && !homes.iter().any(|home| file.0.starts_with(home))
        };
        let mut found: Vec<String> =
            sources.iter().filter(named).map(|(file, _)| file.display().to_string()).collect();
        found.sort();
        assert_eq!(found, *left, "{name}: a file is new, or one is gone and its line here with it");
        let is_there = |home: &&str| sources.iter().any(|(file, _)| file.starts_with(home));
        assert!(homes.iter().all(is_there), "{name}: a home is gone");
    }
}
