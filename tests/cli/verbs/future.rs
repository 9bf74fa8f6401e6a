//! Snapshots that a wrong clock dated in the future.

use crate::support::dates::{days, redate};
use crate::support::{PASSWORD, Sandbox};

#[test]
fn snapshot_from_the_future_is_neither_latest_nor_parent() {
    let sandbox = Sandbox::with_tree(&[("a", "old")]);
    let first = sandbox.backup(&[]);
    let future = redate(&sandbox.path("repo"), Some(PASSWORD), &first, days(5000));
    // While there is no other it is the latest, and this is reported.
    let outcome = sandbox.ok(&["cat", "latest:src/a"]);
    assert_eq!((outcome.text().as_str(), outcome.warnings()), ("old", 1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("dated in the future"), "{}", outcome.stderr);
    sandbox.write(&[("a", "new")]);
    sandbox.ok(&["backup", "src"]);
    assert_eq!(sandbox.ok(&["cat", "latest:src/a"]).text(), "new");
    assert_eq!(sandbox.ok(&["cat", "latest~1:src/a"]).text(), "old");
    // The next backup is compared with the new one, and finds nothing to save.
    assert_eq!(sandbox.try_backup(&[]), None);
    let listed = sandbox.ok(&["snapshots", "--json"]).json();
    let newest = listed.as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
    assert_ne!(newest, future);
    // Retention does not treat it as the newest, either.
    sandbox.ok(&["forget", "--keep-last", "1"]);
    assert_eq!(sandbox.ok(&["cat", "latest:src/a"]).text(), "new");
}
