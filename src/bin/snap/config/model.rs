//! All keys of the configuration file. This is the only place of each key's name, type, default and
//! description: reading, `config show` and `config schema` follow from it.

use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::Value;
use snap_backup::model::manifest::SnapshotKind;
use snap_backup::model::tripwire::Limits;
use snap_backup::ops::forget::age::Age;
use snap_backup::ops::forget::policy::Count;
use snap_backup::ops::schedule::window::Window;
use snap_backup::repo::write::delta_writer::Delta;

use super::document::Node;
use super::field::{Field, Named, Placed, Reader, Shown, key, table_schema, tables};
use super::types::{
    Command, Data, Event, Job, Level, Location, Nice, Pattern, Place, Rate, Reread, Secret, SecretCommand,
    Share, Size, SomeTime, Threads, Times,
};
use crate::args::values::Line;

/// The default time that a hook, and a command of a drill, may take.
const HOUR: Duration = Duration::from_secs(3600);

tables! {
/// The file.
File {
    repository: Option<Placed<Place>> =>
        "The repository where nothing else names one: a name from [repositories], or a location",
    cache_dir: Option<PathBuf> => "As --cache-dir",
    state_dir: Option<PathBuf> => "As --state-dir",
    repositories: Vec<Named<RepositorySettings>> => "Repositories by name: -r NAME",
    defaults: SetSettings => "What holds in every set that does not say otherwise",
    sets: Vec<Named<SetSettings>> => "What is backed up, by name: --set NAME",
    profiles: Vec<Named<Profile>> => "What -P NAME puts over the rest of the file: any of the keys above",
}

/// A profile: everything except profiles.
Profile {
    repository: Option<Place> => "As above",
    cache_dir: Option<PathBuf> => "As above",
    state_dir: Option<PathBuf> => "As above",
    repositories: Vec<Named<RepositorySettings>> => "As above",
    defaults: SetSettings => "As above",
    sets: Vec<Named<SetSettings>> => "As above",
}

/// A repository.
RepositorySettings {
    location: Option<Location> => "Where it is, as -r takes it",
    password_file: Option<PathBuf> => "As --password-file",
    password_command: Option<SecretCommand> => "As --password-command",
    key_file: Option<PathBuf> => "As --key-file",
    cacert: Option<PathBuf> => "As --cacert",
    tls_client_cert: Option<PathBuf> => "As --tls-client-cert",
    limit_upload: Option<Rate> => "As --limit-upload",
    limit_download: Option<Rate> => "As --limit-download",
    init: bool => "A backup makes it if it is not there, as --init",
    no_encryption: bool => "It is made without encryption",
    compression: Level = Level(None) => "How well it compresses, where the set does not say",
}

/// A set.
SetSettings {
    repository: Option<Placed<Place>> => "Where to: a name from [repositories], or a location",
    mirror: Vec<Place> => "Where a second copy of the repository is kept, as --mirror",
    sources: Option<Vec<PathBuf>> => "What is saved",
    exclude: Vec<Pattern> => "As --exclude",
    iexclude: Vec<Pattern> => "As --iexclude",
    exclude_file: Vec<PathBuf> => "As --exclude-file",
    exclude_if_present: Vec<String> => "As --exclude-if-present",
    exclude_caches: bool => "As --exclude-caches",
    exclude_larger_than: Option<Size> => "As --exclude-larger-than",
    gitignore: bool => "As --gitignore",
    one_file_system: bool => "As --one-file-system",
    ignore_ctime: bool => "As --ignore-ctime",
    allow_empty: bool => "As --allow-empty",
    tags: Vec<String> => "As --tag",
    host: Option<String> => "As --host; the machine's name if not given",
    kind: SnapshotKind = SnapshotKind::Incremental => "The kind of backup where the call does not say",
    compression: Option<Level> => "As --compression",
    delta: Delta => "As --delta",
    isolate: Vec<PathBuf> => "As --isolate",
    check_data: Data => "How much of the data `check --set` reads: none, all, N/T, a percentage or a size",
    reread: Option<Reread> => "As --reread; if not given, 1% in runs of a schedule and none in others",
    max_age: Option<Duration> => "The age of the last good backup from which on the set is overdue",
    alarm: Alarm => "From where on a backup is so unlike those before that it gives an alarm",
    keep: Keep => "What `forget` and `cleanup` keep",
    keep_below: Option<Line> => "As --keep-below of `cleanup`",
    min_age: Option<Age> => "As --min-age: no rule forgets what is younger",
    drill: Drill => "What `drill` does beyond restoring a sample",
    max_duration: Option<SomeTime> => "As --max-duration: a backup ends after so long, the next one goes on",
    window: Option<Window> => "As --window: the hours of the day in which it may be backed up",
    on_battery: bool = true => "Whether it is backed up while the machine runs on battery",
    metered: bool = true => "Whether it is backed up over a connection that is metered",
    threads: Option<Threads> => "As --threads",
    nice: Option<Nice> => "As --nice",
    io_idle: bool => "As --io-idle",
    limit_read: Option<Rate> => "As --limit-read",
    expire: Placed<Vec<Expire>> =>
        "What `cleanup` takes out of old snapshots: { path = \"**/Downloads/**\", after = \"30d\" }",
    keep_deleted: Option<Age> =>
        "How long files that were deleted stay in older snapshots; for as long as these if not given",
    schedule: Schedule => "When `daemon` and `schedule run` do what",
    hooks: Hooks => "Commands around a run",
    notify: Notify => "Whom to tell",
}

/// What old snapshots lose.
Expire {
    path: Option<Vec<Pattern>> => "What goes: one pattern or several, as those of --exclude",
    after: Option<Age> => "The age of the snapshots that lose it",
}

/// Rules of retention.
Keep {
    last: Option<Count> => "As --keep-last",
    hourly: Option<Count> => "As --keep-hourly",
    daily: Option<Count> => "As --keep-daily",
    weekly: Option<Count> => "As --keep-weekly",
    monthly: Option<Count> => "As --keep-monthly",
    yearly: Option<Count> => "As --keep-yearly",
    within: Option<Age> => "As --keep-within",
    within_hourly: Option<Age> => "As --keep-within-hourly",
    within_daily: Option<Age> => "As --keep-within-daily",
    within_weekly: Option<Age> => "As --keep-within-weekly",
    within_monthly: Option<Age> => "As --keep-within-monthly",
    within_yearly: Option<Age> => "As --keep-within-yearly",
    full: Option<Count> => "As --keep-full",
    tags: Vec<String> => "As --keep-tag; each item may be several tags with commas between",
}

/// When a backup is unusual.
Alarm {
    enabled: bool = true => "Whether backups are compared with the set's past at all",
    after: u64 = Limits::default().runs as u64 =>
        "How many backups there must have been before one gives an alarm",
    lost: Share = Share(Limits::default().lost) => "Files rewritten or removed by one backup",
    encrypted: Share = Share(Limits::default().opaque) =>
        "Files that came to look encrypted, by one backup or by several",
    renamed: Share = Share(Limits::default().renamed) =>
        "Files that came back with an ending that no file had",
    growth: Share = Share(Limits::default().growth) => "How much the set may grow by one backup",
    silence: bool = Limits::default().silence => "Whether it counts that what always changed does not",
}

/// What tests a restored snapshot.
Drill {
    run: Option<Command> => "As --run of `drill`",
    run_timeout: Duration = HOUR => "As --run-timeout of `drill`",
    include: Vec<Pattern> => "As --include of `drill`",
}

/// When jobs run by themselves.
Schedule {
    enabled: bool = true => "Whether the set is run by itself at all",
    full: Option<Times> => "When a full backup is made",
    incremental: Option<Times> => "When an incremental backup is made",
    differential: Option<Times> => "When a differential backup is made",
    cleanup: Option<Times> => "When `cleanup` runs",
    check: Option<Times> => "When `check` runs",
    drill: Option<Times> => "When `drill` runs",
    time_zone: Option<TimeZone> => "The zone of these times; the machine's if not given",
    jitter: Duration => "A start is put off by up to so much, each by another part of it",
    catch_up: bool = true => "What was missed is made up for, once",
    retries: u64 = 3 => "How often a run that failed is tried again",
    retry_wait: Duration = Duration::from_secs(60) =>
        "How long before the first retry; each next one waits twice as long, at most 1h",
}

/// Commands around a run.
Hooks {
    condition: Vec<Command> =>
        "Run before anything else; one that fails lets the run be skipped, which is no failure",
    before: Vec<Command> => "Run before; one that fails stops the run",
    after: Vec<Command> => "Run after success",
    on_failure: Vec<Command> => "Run after failure",
    finally: Vec<Command> => "Run at the end, however it ended",
    timeout: Duration = HOUR => "How long one command may take",
    jobs: Vec<Job> = vec![Job("backup")] => "What they stand around",
}

/// Receivers of notifications.
Notify {
    on: Vec<Event> = ["failure", "problems", "recovery", "alarm"].map(Event).into() => "What is told",
    command: Option<Command> => "A command that is told through SNAP_* variables",
    webhook: Option<Secret> => "A URL to which a JSON object is posted",
    ping: Option<Secret> =>
        "A URL that is asked for at the end of a backup, with /start at its beginning and /fail after failure",
    mail: Vec<String> => "Addresses that get a mail",
    sendmail: PathBuf = PathBuf::from("/usr/sbin/sendmail") => "The program that sends it",
    timeout: Duration = Duration::from_secs(10) => "How long each of them may take",
}
}
