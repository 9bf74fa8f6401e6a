//! Tests of the configuration as a value: no files, no environment.

use std::path::Path;

use clap::Parser;

use super::field::Field;
use super::model::{RepositorySettings, SetSettings};
use super::{Config, Diagnostic};

const WHOLE: &str = r#"
repository = "home"
[repositories.home]
location = "store"
password-file = "secret/password"
[repositories.away]
location = "sftp:me@example.org:/srv/snap"
[defaults]
exclude = ["*.tmp"]
[defaults.keep]
daily = 7
[defaults.schedule]
full = "0 1 * * SUN"
jitter = "${JITTER:-5m}"
[sets.documents]
sources = ["~/x/../documents", "/srv/${NAME}"]
tags = "one"
[sets.documents.keep]
last = "unlimited"
[sets.documents.schedule]
full = "off"
incremental = "0 2 * * 1-6"
[sets.music]
repository = "away"
sources = ["music/"]
exclude = ["*.wav"]
[profiles.fast]
[profiles.fast.defaults]
compression = "fast"
[profiles.fast.sets.music]
exclude = ["${NEVER_SET}"]
"#;

fn read(text: &str, profile: Option<&str>) -> (Config, Vec<Diagnostic>) {
    Config::of_text(text, Path::new("/etc/snap"), profile, &|name| {
        (name == "NAME").then(|| "mail".to_owned())
    })
}

fn good(text: &str, profile: Option<&str>) -> Config {
    let (config, diagnostics) = read(text, profile);
    assert_eq!(diagnostics, []);
    config
}

#[test]
fn a_tilde_is_the_home_in_paths_and_patterns() {
    let text = "[sets.a]\nsources = [\"~\", \"~/x\"]\nexclude = [\"~/.cache\", \"!~/.cache/keep\", \"a~\"]";
    let home = std::env::var("HOME").unwrap();
    let config = good(text, None);
    let set = &config.sets()[0];
    assert_eq!(set.sources(), [Path::new(&home), &Path::new(&home).join("x")]);
    assert_eq!(set.filter().exclude, [&*format!("{home}/.cache"), &*format!("!{home}/.cache/keep"), "a~"]);
    let (_, _, what) = only("[sets.a]\nsources = [\"~other/x\"]");
    assert!(what.contains("your own home directory only"), "{what}");
}

fn only(text: &str) -> (usize, usize, String) {
    let (_, diagnostics) = read(text, None);
    let [one] = &diagnostics[..] else { panic!("not one diagnostic: {diagnostics:?}") };
    (one.line, one.column, one.what.clone())
}

#[test]
fn sets_inherit_the_defaults_they_do_not_override() {
    let config = good(WHOLE, None);
    let names: Vec<&str> = config.sets().iter().map(|set| set.name.as_str()).collect();
    assert_eq!(names, ["documents", "music"]);
    let (documents, music) = (&config.sets()[0], &config.sets()[1]);
    assert_eq!(documents.filter().exclude, ["*.tmp"]);
    assert_eq!(music.filter().exclude, ["*.wav"]);
    assert_eq!(documents.tags(), ["one"]);
    assert_eq!(documents.rules().len(), 2, "keep is put together key by key");
    assert_eq!(music.rules().len(), 1);
    assert!(documents.settings.schedule.full.as_ref().unwrap().0.is_none(), "off wins over the default");
    assert_eq!(music.settings.schedule.full.as_ref().unwrap().0.as_ref().unwrap().as_str(), "0 1 * * SUN");
    assert_eq!(music.settings.schedule.jitter.as_secs(), 300);
}

#[test]
fn relative_paths_begin_at_the_file() {
    let config = good(WHOLE, None);
    let home = config.repository("home").unwrap();
    assert_eq!(home.location().unwrap(), "/etc/snap/store");
    assert_eq!(home.settings.password_file.as_deref().unwrap(), Path::new("/etc/snap/secret/password"));
    assert_eq!(config.repository("/etc/snap/store/").unwrap().name, "home", "found by its place as well");
    assert_eq!(config.repository("away").unwrap().location().unwrap(), "sftp:me@example.org:/srv/snap");
    assert_eq!(config.sets()[1].sources(), [Path::new("/etc/snap/music")]);
    assert_eq!(config.sets()[0].sources()[1], Path::new("/srv/mail"));
}

#[test]
fn profile_overrides_the_rest_and_others_are_ignored() {
    let level = |config: &Config| config.sets()[1].settings.compression.and_then(|level| level.0);
    assert_eq!(level(&good(WHOLE, None)), None);
    let (_, diagnostics) = read(WHOLE, Some("fast"));
    assert!(diagnostics[0].what.contains("NEVER_SET is not set"), "{diagnostics:?}");
    let fast = good(&WHOLE.replace("${NEVER_SET}", "*.flac"), Some("fast"));
    assert_eq!(fast.sets()[1].filter().exclude, ["*.flac"]);
    assert_eq!(level(&fast), Some(1), "not seen in a set that is there already");
    assert_eq!(fast.sets()[1].repository().unwrap(), "away");
    let (_, diagnostics) = read(WHOLE, Some("fats"));
    assert_eq!(diagnostics[0].what, "there is no profile `fats`: did you mean `fast`?");
}

#[test]
fn errors_have_line_column_and_a_suggestion() {
    for (text, line, column, part) in [
        (
            "[sets.a]\nsorces = [\"/x\"]\nsources = \"/x\"",
            2,
            1,
            "unknown key `sorces` in [sets.a]: did you mean `sources`?",
        ),
        ("[sets.a]\nsources = \"/x\"\nkeep.dayly = 1", 3, 6, "did you mean `daily`?"),
        ("password-file = \"/p\"", 1, 1, "it belongs in [repositories.NAME]"),
        ("sources = \"/x\"", 1, 1, "it belongs in [sets.NAME], or in [defaults] for all sets"),
        ("  nonsense = 1", 1, 3, "unknown key `nonsense`: the known keys are repository"),
        ("[sets.a]\nsources = 7", 2, 11, "`sets.a.sources` must be a string, not a number"),
        ("[sets.a]\nsources = \"/x\"\nexclude-caches = \"yes\"", 3, 18, "true or false"),
        ("[sets.a]\nsources = \"/x\"\nmax-age = \"2y\"", 3, 11, "`sets.a.max-age` = \"2y\""),
        ("[sets.a]\nsources = \"/x\"\nschedule.full = \"0 25 * * *\"", 3, 17, "not a cron expression"),
        ("[sets.a]\nsources = \"/x\"\nschedule.full = \"0 0 30 2 *\"", 3, 17, "it never matches"),
        ("[sets.a]\nsources = \"/x\"\nschedule.time-zone = \"Europe/Nowhere\"", 3, 22, "a time zone"),
        ("[sets.a]\nsources = \"/x\"\nkind = \"ful\"", 3, 8, "did you mean full?"),
        ("[sets.a]\nsources = \"/${WHO}\"", 2, 11, "the variable WHO is not set"),
        ("[sets.a]\ntags = \"x\"", 1, 1, "the set `a` has no sources"),
        (
            "[repositories.home]\nlocation = \"/r\"\n[sets.a]\nsources = \"/x\"\nrepository = \"hme\"",
            5,
            14,
            "did you mean `home`?",
        ),
        ("[repositories.home]\npassword-file = \"/p\"", 1, 1, "has no location"),
        (
            "[repositories.home]\nlocation = \"/r\"\npassword = \"hunter2\"",
            3,
            1,
            "this file must not contain passwords",
        ),
        ("[sets.a\nsources = 1", 1, 8, ""),
        ("[sets.\"a b\"]\nsources = \"/x\"", 1, 7, "is not a valid name"),
        ("[sets.\"ä\"]\nsources = \"/ö\"\ntags = \"ü\"\nx = 1 # ü", 4, 1, "unknown key `x`"),
        ("[profiles.p.sets.a]\nsorces = 1", 2, 1, "did you mean `sources`?"),
    ] {
        let (at_line, at_column, what) = only(text);
        assert!(what.contains(part), "{text}\n{what}");
        assert!(!what.contains("hunter2"), "{what}");
        assert_eq!((at_line, at_column), (line, column), "{text}\n{what}");
    }
}

#[test]
fn invalid_secrets_are_not_shown() {
    let (_, _, what) = only("[sets.a]\nsources = \"/x\"\nnotify.webhook = \"\"");
    assert_eq!(what, "`sets.a.notify.webhook`: it is empty");
    let (_, _, what) = only("[repositories.a]\nlocation = \"/r\"\npassword-command = 7");
    assert_eq!(what, "`repositories.a.password-command` must be a string, not a number");
}

#[test]
fn all_errors_are_reported_at_once() {
    let (_, diagnostics) = read("a = 1\nb = 2\n[sets.x]\nc = 3", None);
    let places: Vec<_> = diagnostics.iter().map(|one| (one.line, one.column)).collect();
    assert_eq!(places, [(1, 1), (2, 1), (4, 1)]);
}

#[test]
fn the_template_is_right_and_every_default_is_valid_in_the_file() {
    good(include_str!("template.toml"), None);
    check("sets.a", &SetSettings::schema());
    check("repositories.a", &RepositorySettings::schema());
}

/// Checks that the default of each key is valid in the file.
fn check(path: &str, schema: &serde_json::Value) {
    assert_eq!(schema["additionalProperties"], false);
    for (key, property) in schema["properties"].as_object().unwrap() {
        assert!(property["description"].is_string(), "{path}.{key}");
        if property["properties"].is_object() {
            check(&format!("{path}.{key}"), property);
        } else if let Some(default) = property.get("default") {
            let (_, diagnostics) = read(&format!("{path}.{key} = {default}"), None);
            assert!(
                diagnostics.iter().all(|one| one.what.contains(" has no ")),
                "{path}.{key}: {diagnostics:?}"
            );
        }
    }
}

#[test]
fn repository_has_limits_that_flags_override() {
    let text = "[repositories.far]\nlocation = \"s3://b/x\"\nlimit-upload = 100\nlimit-download = \"2M\"";
    let config = good(text, None);
    let given = |args: &[&str]| crate::cli::Cli::try_parse_from(args).unwrap().global;
    let global = config.complete(&given(&["snap", "snapshots"]), None);
    assert_eq!((global.limit_upload, global.limit_download), (Some(102_400), Some(2 << 20)));
    let global = config.complete(&given(&["snap", "snapshots", "--limit-upload", "0"]), None);
    assert_eq!((global.limit_upload, global.limit_download), (Some(0), Some(2 << 20)));
}

#[test]
fn empty_file_flag_keeps_the_repositorys_file() {
    let text = "[repositories.nas]\nlocation = \"rest:https://nas/\"\ncacert = \"/ca\"\ntls-client-cert = \"/client\"\nkey-file = \"/key\"";
    let config = good(text, None);
    let files = |args: &[&str]| {
        let given = crate::cli::Cli::try_parse_from(args).unwrap().global;
        let global = config.complete(&given, None);
        [global.cacert, global.tls_client_cert, global.key_file]
            .map(|file| file.unwrap().into_string().unwrap())
    };
    let of_repository = ["/ca", "/client", "/key"].map(str::to_owned);
    let flags = ["--cacert", "--tls-client-cert", "--key-file"];
    assert_eq!(files(&["snap", "snapshots"]), of_repository);
    let with = |value: &str| {
        files(&[&["snap", "snapshots"][..], &flags.map(|flag| [flag, value]).concat()].concat())
    };
    assert_eq!(with(""), of_repository);
    assert_eq!(with("/own"), ["/own", "/own", "/own"].map(str::to_owned));
}
