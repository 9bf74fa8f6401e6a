//! The view in the cache is disposable.

use std::fs;

use snap_backup::codec::hash::Key;
use snap_backup::codec::hash::Namer;
use snap_backup::model::id::RepoId;
use snap_backup::store::view::View;

use crate::support::Outcome;
use crate::support::Random;
use crate::support::Sandbox;
use crate::support::copy_tree;
use crate::support::files_below;

#[test]
fn a_view_that_is_gone_garbled_or_cut_changes_no_answer() {
    for harm in [remove, garble, cut] {
        let sandbox = Sandbox::with_tree(&[("a", "1"), ("d/b", "2")]);
        fs::write(sandbox.path("src/big"), Random::new(6).bytes(1 << 20)).unwrap();
        sandbox.backup(&[]);
        let packs = sandbox.objects("packs").len();
        harm(&sandbox);
        assert_unharmed(sandbox.ok(&["backup", "--full", "src"]));
        assert_eq!(sandbox.objects("packs").len(), packs, "known data was stored again");
        harm(&sandbox);
        sandbox.write(&[("a", "changed")]);
        assert_unharmed(sandbox.ok(&["backup", "src"]));
        harm(&sandbox);
        assert_unharmed(sandbox.ok(&["check", "--read-data"]));
        sandbox.assert_restores("latest", &sandbox.src());
    }
}

#[test]
fn a_cache_that_cannot_be_made_changes_no_answer() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    fs::remove_dir_all(sandbox.path("cache")).unwrap();
    fs::write(sandbox.path("cache"), "not a directory").unwrap();
    assert_unharmed(sandbox.ok(&["backup", "src"]));
    sandbox.assert_restores("latest", &sandbox.src());
}

fn assert_unharmed(outcome: Outcome) {
    let outcome = outcome.expect(0);
    assert!(outcome.warnings() <= 1, "{}", outcome.stderr);
}

fn remove(sandbox: &Sandbox) {
    fs::remove_dir_all(sandbox.view()).unwrap();
}

fn garble(sandbox: &Sandbox) {
    for file in files_below(&sandbox.view()) {
        let len = fs::metadata(&file).unwrap().len();
        fs::write(&file, Random::new(len).bytes(usize::try_from(len.min(1 << 20)).unwrap())).unwrap();
    }
}

fn cut(sandbox: &Sandbox) {
    for file in files_below(&sandbox.view()) {
        let len = fs::metadata(&file).unwrap().len();
        fs::File::options().write(true).open(&file).unwrap().set_len(len / 2).unwrap();
    }
}

#[test]
fn a_view_that_another_process_uses_changes_no_answer() {
    let sandbox = Sandbox::with_tree(&[("a", "1"), ("d/b", "2")]);
    sandbox.backup(&[]);
    let repo =
        RepoId::parse(sandbox.view().parent().unwrap().file_name().unwrap().to_str().unwrap()).unwrap();
    let (view, _) = View::open(&sandbox.view(), &repo, &Namer::new(&Key::new([0; 32])));
    assert!(view.is_some(), "this process holds it");
    let packs = sandbox.objects("packs").len();
    assert_one_warning(&sandbox.ok(&["backup", "--full", "src"]));
    assert_eq!(sandbox.objects("packs").len(), packs, "known data was stored again");
    sandbox.write(&[("a", "changed")]);
    assert_one_warning(&sandbox.ok(&["backup", "src"]));
    assert_one_warning(&sandbox.ok(&["check", "--read-data"]));
    drop(view);
    sandbox.assert_restores("latest", &sandbox.src());
}

#[test]
fn a_view_of_another_repository_changes_no_answer() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let other = Sandbox::with_tree(&[("b", "2")]);
    other.backup(&[]);
    let view = sandbox.view();
    fs::remove_dir_all(&view).unwrap();
    copy_tree(&other.view(), &view);
    assert_one_warning(&sandbox.ok(&["backup", "--full", "src"]));
    sandbox.assert_restores("latest", &sandbox.src());
    sandbox.assert_clean();
}

fn assert_one_warning(outcome: &Outcome) {
    assert_eq!(outcome.warnings(), 1, "{}", outcome.stderr);
}
