//! Keys and trust.

use std::fs;

use crate::support::{PASSWORD, Sandbox, chmod, copy_tree, finish};

#[test]
fn a_second_password_opens_until_it_is_removed() {
    let mut sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let first = sandbox.objects("keys");
    fs::write(sandbox.path("new"), "second\n").unwrap();
    sandbox.ok(&["key", "add", "--new-password-file", "new"]);
    let both = sandbox.objects("keys");
    let added = both.iter().find(|key| !first.contains(key)).unwrap();
    let added = added.file_name().unwrap().to_str().unwrap();
    let list = sandbox.ok(&["key", "list", "--json"]).json();
    assert_eq!(list.as_array().unwrap().len(), 2, "{list}");

    sandbox.set_password(Some("second"));
    sandbox.assert_restores("latest", &sandbox.src());
    assert_ne!(sandbox.snap(&["key", "remove", added]).code, 0, "the key in use must stay");
    sandbox.set_password(Some(PASSWORD));
    let removed = sandbox.ok(&["key", "remove", added]);
    assert!(removed.all().contains("snap key rotate"), "{}", removed.all());
    assert_eq!(sandbox.objects("keys"), first);
    sandbox.set_password(Some("second"));
    sandbox.snap(&["snapshots"]).expect(12);
}

#[test]
fn a_changed_password_replaces_the_old_one() {
    let mut sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let mut command = sandbox.command(&["key", "passwd"]);
    command.env("SNAP_NEW_PASSWORD", "changed");
    finish(command, b"").expect(0);
    sandbox.snap(&["snapshots"]).expect(12);
    sandbox.set_password(Some("changed"));
    sandbox.assert_restores("latest", &sandbox.src());
    assert_eq!(sandbox.objects("keys").len(), 1);
}

#[test]
fn rotated_key_opens_with_the_same_password() {
    let mut sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let before = sandbox.objects("keys");
    let said = sandbox.ok(&["key", "rotate"]).all();
    assert!(said.contains("epoch 1") && said.contains("no other password is valid"), "{said}");
    let after = sandbox.objects("keys");
    assert!(after.len() == 1 && after != before);
    sandbox.write(&[("a", "2")]);
    sandbox.backup(&[]);
    sandbox.assert_restores("latest", &sandbox.src());
    assert_eq!(sandbox.ok(&["check", "--read-data"]).stderr, "");
    let said = sandbox.ok(&["key", "rotate", "--json"]).json();
    assert_eq!((&said["epoch"], &said["others"]), (&2.into(), &serde_json::json!([])));
    sandbox.set_password(Some("wrong"));
    sandbox.snap(&["key", "rotate"]).expect(12);
    Sandbox::open().snap(&["key", "rotate"]).expect(2);
}

#[test]
fn a_password_may_come_from_a_file_or_a_command() {
    let mut sandbox = Sandbox::new();
    sandbox.set_password(None);
    fs::write(sandbox.path("password"), format!("{PASSWORD}\n")).unwrap();
    sandbox.ok(&["snapshots", "--password-file", "password"]);
    let mut command = sandbox.command(&["snapshots", "--password-command", "echo try"]);
    command.env("PATH", "/usr/bin:/bin");
    finish(command, b"").expect(0);
}

#[test]
fn unencrypted_repository_in_place_of_another_is_refused() {
    let mut sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let stranger = Sandbox::open();
    fs::remove_dir_all(sandbox.path("repo")).unwrap();
    copy_tree(&stranger.path("repo"), &sandbox.path("repo"));
    let before = sandbox.listing();
    for password in [Some(PASSWORD), None] {
        sandbox.set_password(password);
        assert_ne!(sandbox.snap(&["backup", "src"]).code, 0, "with {password:?}");
        assert_ne!(sandbox.snap(&["snapshots"]).code, 0, "with {password:?}");
    }
    assert_eq!(sandbox.listing(), before);
    let said = sandbox.snap(&["snapshots"]).expect(20).stderr;
    assert!(said.contains("(encrypted)") && said.contains("(not encrypted)"), "{said}");
    sandbox.ok(&["repair", "known"]);
    sandbox.ok(&["snapshots"]);
}

/// It may have replaced an encrypted one, and a cron job cannot be asked.
#[test]
fn new_unencrypted_repository_is_warned_of_once() {
    let sandbox = Sandbox::open();
    sandbox.write(&[("a", "1")]);
    let is_told = |home: &str, args: &[&str]| {
        let mut command = sandbox.command(args);
        command.env("HOME", sandbox.path(home));
        let told = finish(command, b"").expect(0).stderr;
        told.contains("is not encrypted and this machine has not used it before")
    };
    assert!(!is_told("home", &["backup", "src"]), "this machine has made it");
    assert!(is_told("another", &["-q", "backup", "src"]));
    assert!(!is_told("another", &["backup", "src"]), "it is known by now");
    assert!(!is_told("third", &["--insecure-no-password", "backup", "src"]), "it is acknowledged");
}

#[test]
fn password_variable_that_is_not_utf_8_is_an_error() {
    use std::os::unix::ffi::OsStrExt;
    let sandbox = Sandbox::open();
    let mut command = sandbox.command(&["snapshots"]);
    command.env("SNAP_PASSWORD", std::ffi::OsStr::from_bytes(b"caf\xe9"));
    let refused = finish(command, b"");
    assert!(refused.code != 0 && refused.stderr.contains("password"), "{}", refused.all());
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let config = &sandbox.objects("config")[0];
    let mut bytes = fs::read(config).unwrap();
    bytes[6..8].copy_from_slice(&4711_u16.to_le_bytes());
    // A newer format has another checksum, too: with the current one it would be a flipped byte.
    *bytes.last_mut().unwrap() ^= 1;
    chmod(config, 0o600);
    fs::write(config, bytes).unwrap();
    for args in [&["snapshots"][..], &["backup", "src"]] {
        let outcome = sandbox.snap(args);
        assert_ne!(outcome.code, 0);
        assert!(outcome.stderr.contains("4711"), "{}", outcome.stderr);
    }
}

#[test]
fn only_init_replaces_an_encrypted_repository_with_a_plain() {
    let mut sandbox = Sandbox::with_tree(&[("a", "1")]);
    fs::rename(sandbox.path("repo"), sandbox.path("true")).unwrap();
    sandbox.set_password(None);
    let outcome = sandbox.snap(&["backup", "--init", "--no-encryption", "src"]).expect(20);
    assert!(outcome.stderr.contains("its disk"), "{}", outcome.stderr);
    assert!(!sandbox.path("repo/config").exists());
    sandbox.ok(&["init", "--no-encryption"]);
    sandbox.ok(&["backup", "src"]);
}

/// Creates a slot as somebody can who may add objects and knows no password, with any costs. Returns its id.
fn forge(sandbox: &Sandbox, memory: u32, passes: u32, number: u32) -> String {
    let real = sandbox.objects("keys").into_iter().find(|path| fs::read(path).unwrap().len() > 104).unwrap();
    let mut bytes = fs::read(real).unwrap();
    bytes[12..16].copy_from_slice(&memory.to_le_bytes());
    bytes[16..20].copy_from_slice(&passes.to_le_bytes());
    bytes[40..44].copy_from_slice(&number.to_le_bytes());
    let id: String =
        snap_backup::codec::crypto::hash::sha256(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let file = fs::File::create(sandbox.path("repo/keys").join(&id)).unwrap();
    std::io::Write::write_all(&mut &file, &bytes).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    id
}

#[test]
fn slot_with_the_highest_cost_blocks_nobody() {
    let mut sandbox = Sandbox::with_tree(&[("a", "1")]);
    let forged = forge(&sandbox, 2 << 20, 16, 1);
    fs::remove_dir_all(sandbox.cache()).unwrap();
    sandbox.backup(&[]);
    let check = sandbox.ok(&["check"]);
    assert!(check.stderr.contains(&format!("snap key remove {forged}")), "{}", check.stderr);
    sandbox.set_password(Some("wrong"));
    sandbox.snap(&["snapshots"]).expect(12);
    sandbox.set_password(Some(PASSWORD));
    let named = sandbox.snap(&["--key", &forged, "snapshots"]).expect(1);
    assert!(named.stderr.contains("is not listed as valid in the configuration"), "{}", named.stderr);
    sandbox.ok(&["key", "remove", &forged]);
    assert_eq!(sandbox.ok(&["check"]).stderr, "");
}

#[test]
fn any_number_of_forged_slots_blocks_nobody() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let real = sandbox.objects("keys")[0].file_name().unwrap().to_str().unwrap().to_owned();
    for number in 0..70 {
        forge(&sandbox, 8 << 10, 1, number);
    }
    // Not even if nothing is known of the repository: no configuration lists them.
    fs::remove_dir_all(sandbox.cache()).unwrap();
    sandbox.ok(&["snapshots"]);
    sandbox.ok(&["--key", &real[..6], "snapshots"]);
    sandbox.snap(&["--key", "zz", "snapshots"]).expect(2);
    let ambiguous = sandbox.snap(&["--key", &real[..0], "snapshots"]);
    assert_eq!(ambiguous.code, 0, "an empty id is none");
}

#[test]
fn a_slot_that_is_named_is_the_only_one_tried() {
    let mut sandbox = Sandbox::new();
    let first = sandbox.objects("keys")[0].file_name().unwrap().to_str().unwrap().to_owned();
    fs::write(sandbox.path("new"), "second\n").unwrap();
    sandbox.ok(&["key", "add", "--new-password-file", "new"]);
    sandbox.ok(&["--key", &first, "snapshots"]);
    sandbox.set_password(Some("second"));
    sandbox.ok(&["snapshots"]);
    sandbox.snap(&["--key", &first, "snapshots"]).expect(12);
}

/// Tests make slots as cheap as possible; users get what RFC 9106 recommends.
#[test]
fn new_slot_has_the_requested_cost_or_64_mib() {
    let sandbox = Sandbox::bare();
    let run = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = sandbox.bin();
        command.env_remove("SNAP_KDF_MEMORY").env_remove("SNAP_KDF_PASSES");
        command.envs(variables.iter().copied()).args(["-r", "repo"]).args(args);
        finish(command, b"")
    };
    let costs = || -> Vec<(u64, u64)> {
        let slots = run(&["key", "list", "--json"], &[]).expect(0).json();
        let of = |slot: &serde_json::Value| {
            (slot["kdf_memory"].as_u64().unwrap() >> 20, slot["kdf_passes"].as_u64().unwrap())
        };
        slots.as_array().unwrap().iter().map(of).collect()
    };
    run(&["init"], &[]).expect(0);
    assert_eq!(costs(), [(64, 3)]);
    run(&["key", "rehash", "--kdf-memory", "16M"], &[("SNAP_KDF_PASSES", "2")]).expect(0);
    assert_eq!(costs(), [(16, 2)]);
    run(&["key", "add", "--kdf-memory", "8M", "--kdf-passes", "1"], &[("SNAP_NEW_PASSWORD", "two")])
        .expect(0);
    let mut all = costs();
    all.sort_unstable();
    assert_eq!(all, [(8, 1), (16, 2)]);
    for (flag, value) in
        [("--kdf-memory", "7M"), ("--kdf-memory", "3G"), ("--kdf-passes", "0"), ("--kdf-passes", "17")]
    {
        run(&["key", "rehash", flag, value], &[]).expect(2);
    }
    let refused = run(&["key", "rehash"], &[("SNAP_KDF_MEMORY", "much")]).expect(2);
    assert!(refused.stderr.contains("SNAP_KDF_MEMORY"), "{}", refused.stderr);
    run(&["snapshots"], &[]).expect(0);
    sandbox.write(&[("a", "1")]);
    run(&["backup", "src"], &[]).expect(0);
    let second = [("SNAP_TO_PASSWORD", PASSWORD), ("SNAP_KDF_MEMORY", "16M")];
    run(&["copy", "--to", "second", "--init"], &second).expect(0);
    let mut list = sandbox.bin();
    list.args(["-r", "second", "key", "list", "--json"]);
    let slots = finish(list, b"").expect(0).json();
    assert_eq!(slots[0]["kdf_memory"], 16 << 20, "{slots}");
    let mut open = sandbox.bin();
    open.env_remove("SNAP_PASSWORD").args(["-r", "open", "init", "--no-encryption", "--kdf-passes", "2"]);
    let refused = finish(open, b"").expect(2);
    assert!(refused.stderr.contains("--kdf-passes"), "{}", refused.stderr);
}

#[test]
fn a_password_with_a_key_file_opens_nothing_without_it() {
    let mut sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    fs::write(sandbox.path("snap.key"), "what only I have").unwrap();
    fs::write(sandbox.path("other.key"), "what somebody else has").unwrap();
    let with = |sandbox: &Sandbox, args: &[&str], new: &str| {
        let mut command = sandbox.command(args);
        command.env("SNAP_NEW_PASSWORD", new);
        finish(command, b"")
    };
    with(&sandbox, &["key", "passwd", "--new-key-file", "snap.key"], "two").expect(0);
    sandbox.set_password(Some("two"));
    let refused = sandbox.snap(&["snapshots"]).expect(12).stderr;
    assert!(refused.contains("--key-file"), "{refused}");
    sandbox.snap(&["snapshots", "--key-file", "other.key"]).expect(12);
    let refused = sandbox.snap(&["snapshots", "--key-file", "none.key"]).expect(12).stderr;
    assert!(refused.contains("none.key"), "{refused}");
    sandbox.ok(&["snapshots", "--key-file", "snap.key"]);
    // A changed password needs the same file, and so does a rehashed one.
    with(&sandbox, &["key", "passwd", "--key-file", "snap.key"], "three").expect(0);
    sandbox.set_password(Some("three"));
    sandbox.snap(&["snapshots"]).expect(12);
    sandbox.ok(&["key", "rotate", "--key-file", "snap.key"]);
    sandbox.ok(&["key", "rehash", "--key-file", "snap.key"]);
    sandbox.snap(&["snapshots"]).expect(12);
    // A password without a key file is a second way to open it, and this is reported.
    let said = with(&sandbox, &["key", "add", "--key-file", "snap.key"], "four").expect(0).all();
    assert!(said.contains("without the key file"), "{said}");
    sandbox.set_password(Some("four"));
    sandbox.ok(&["snapshots"]);
}

#[test]
fn a_configuration_and_a_copy_have_key_files_of_their_own() {
    let sandbox = Sandbox::new();
    for name in ["one.key", "two.key"] {
        fs::write(sandbox.path(name), name).unwrap();
    }
    sandbox.write(&[("a", "1")]);
    let text = "[repositories.one]\nlocation = \"r1\"\nkey-file = \"one.key\"\n\
                [repositories.two]\nlocation = \"r2\"\nkey-file = \"two.key\"\n";
    fs::write(sandbox.path("snap.toml"), text).unwrap();
    let run = |args: &[&str], code: i32| {
        let mut command = sandbox.bin();
        command.args(["--config", "snap.toml"]).args(args);
        finish(command, b"").expect(code);
    };
    run(&["init", "-r", "one"], 0);
    run(&["backup", "-r", "one", "src"], 0);
    run(&["copy", "-r", "one", "--to", "two", "--init"], 0);
    for (name, other) in [("one", "two.key"), ("two", "one.key")] {
        run(&["snapshots", "-r", name], 0);
        run(&["snapshots", "-r", name, "--key-file", other], 12);
    }
    run(&["copy", "-r", "one", "--to", "two", "--to-key-file", "one.key"], 12);
}

#[test]
fn a_recovery_key_opens_the_repository_however_it_is_typed() {
    let mut sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let said = String::from_utf8(sandbox.ok(&["key", "add", "--recovery"]).stdout).unwrap();
    let table: Vec<&str> = said.lines().take(6).flat_map(str::split_whitespace).collect();
    let words: Vec<&str> = table.iter().copied().filter(|word| word.parse::<u8>().is_err()).collect();
    assert_eq!(words.len(), 24, "{said}");
    sandbox.set_password(Some(&words.join("  ").to_uppercase()));
    sandbox.assert_restores("latest", &sandbox.src());
    assert!(sandbox.ok(&["key", "list"]).all().contains("recovery key"));
    let mut wrong = words.clone();
    wrong[6] = "sausige";
    sandbox.set_password(Some(&wrong.join(" ")));
    let refused = sandbox.snap(&["snapshots"]).expect(12).stderr;
    assert!(refused.contains("word 7 "), "{refused}");
    sandbox.set_password(Some(&words.join(" ")));
    let said = sandbox.ok(&["key", "add", "--recovery", "--json"]).json();
    assert_eq!(said["recovery_key"].as_str().unwrap().split(' ').count(), 24);
    sandbox.snap(&["key", "add", "--recovery", "--new-password-file", "x"]).expect(2);
}

#[test]
fn write_key_backs_up_and_other_commands_name_the_key() {
    let mut sandbox = Sandbox::with_tree(&[("a", "1"), ("d/b", "2")]);
    let add = |sandbox: &Sandbox, role: &str| {
        let mut command = sandbox.command(&["key", "add", "--role", role, "--label", role]);
        command.env("SNAP_NEW_PASSWORD", role);
        finish(command, b"").expect(0);
    };
    add(&sandbox, "write");
    add(&sandbox, "read");
    let list = sandbox.ok(&["key", "list", "--json"]).json();
    let roles: Vec<_> = list.as_array().unwrap().iter().map(|slot| slot["role"].clone()).collect();
    assert!(["full", "write", "read"].iter().all(|role| roles.contains(&(*role).into())), "{list}");

    sandbox.set_password(Some("write"));
    sandbox.ok(&["backup", "--receipt", "receipt", "src"]);
    sandbox.ok(&["backup", "--dry-run", "src"]);
    for args in [&["ls", "latest"][..], &["check"], &["forget", "latest"], &["key", "list"], &["gc"]] {
        let refused = sandbox.snap(args).expect(1);
        assert!(
            refused.all().contains("role write") && refused.all().contains("full key"),
            "{}",
            refused.all()
        );
    }
    let late = sandbox.snap(&["status"]);
    assert!(!late.all().contains("no good backup"), "{}", late.all());
    sandbox.set_password(Some("read"));
    sandbox.assert_restores("latest", &sandbox.src());
    sandbox.ok(&["audit", "--receipt", "receipt"]);
    let refused = sandbox.snap(&["backup", "src"]).expect(1);
    assert!(refused.all().contains("role read"), "{}", refused.all());
    let shown = sandbox.ok(&["snapshots", "--json"]).json();
    assert!(shown[0]["writer"].is_string(), "{shown}");
}
