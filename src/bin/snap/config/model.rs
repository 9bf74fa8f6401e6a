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
    Command, Data, Event, Job, Level, Location, Nice, Pattern, Place, PositiveDuration, Rate, Reread, Secret,
    SecretCommand, Share, Size, Threads, Times,
};
use crate::args::values::SizeLimit;

/// The default time that a hook, and a command of a drill, may take.
const HOUR: Duration = Duration::from_secs(3600);

/// Tables that a misplaced key of the file may belong in.
pub(super) const HOMES: [(&str, &[&str]); 2] = [
    ("[repositories.NAME]", RepositorySettings::FIELDS),
    ("[sets.NAME], or in [defaults] for all sets", SetSettings::FIELDS),
];

tables! {
/// The file.
File {
    repository: Option<Placed<Place>> =>
        "The default repository: a name from [repositories], or a location",
    cache_dir: Option<PathBuf> => "As --cache-dir",
    state_dir: Option<PathBuf> => "As --state-dir",
    repositories: Vec<Named<RepositorySettings>> => "Repositories by name: -r NAME",
    defaults: SetSettings => "Defaults for all sets",
    sets: Vec<Named<SetSettings>> => "Sets of sources by name: --set NAME",
    profiles: Vec<Named<Profile>> => "Profiles for -P NAME, which override any of the keys above",
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
    location: Option<Location> => "The location, as for -r",
    password_file: Option<PathBuf> => "As --password-file",
    password_command: Option<SecretCommand> => "As --password-command",
    key_file: Option<PathBuf> => "As --key-file",
    cacert: Option<PathBuf> => "As --cacert",
    tls_client_cert: Option<PathBuf> => "As --tls-client-cert",
    limit_upload: Option<Rate> => "As --limit-upload",
    limit_download: Option<Rate> => "As --limit-download",
    init: bool => "Whether a backup creates the repository if it does not exist, as --init",
    no_encryption: bool => "Whether it is created without encryption",
    compression: Level = Level(None) => "Compression for sets that specify none",
}

/// A set.
SetSettings {
    repository: Option<Placed<Place>> => "The repository to back up to: a name from [repositories], or a location",
    mirror: Vec<Place> => "Second copies of the repository, as --mirror",
    sources: Option<Vec<PathBuf>> => "The paths to back up",
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
    host: Option<String> => "As --host; default: the machine's name",
    kind: SnapshotKind = SnapshotKind::Incremental => "The default kind of backup",
    compression: Option<Level> => "As --compression",
    delta: Delta => "As --delta",
    isolate: Vec<PathBuf> => "As --isolate",
    check_data: Data => "How much data `check --set` reads: none, all, N/T, a percentage or a size",
    reread: Option<Reread> => "As --reread; default: 1% in scheduled runs and none in others",
    max_age: Option<Duration> => "The age of the last good backup at which the set is overdue",
    alarm: Alarm => "When a backup differs so much from earlier ones that it raises an alarm",
    keep: Keep => "Retention rules for `forget` and `cleanup`",
    keep_below: Option<SizeLimit> => "As --keep-below of `cleanup`",
    min_age: Option<Age> => "As --min-age: rules forget no younger snapshots",
    drill: Drill => "A command that tests what `drill` restored",
    max_duration: Option<PositiveDuration> => "As --max-duration: a backup stops after this time, and the next one continues",
    window: Option<Window> => "As --window: the hours of the day in which backups may run",
    on_battery: bool = true => "Whether backups run while the machine is on battery",
    metered: bool = true => "Whether backups run over a metered connection",
    threads: Option<Threads> => "As --threads",
    nice: Option<Nice> => "As --nice",
    io_idle: bool => "As --io-idle",
    limit_read: Option<Rate> => "As --limit-read",
    expire: Placed<Vec<Expire>> =>
        "What `cleanup` removes from old snapshots: { path = \"**/Downloads/**\", after = \"30d\" }",
    keep_deleted: Option<Age> =>
        "How long deleted files stay in older snapshots; default: as long as these",
    schedule: Schedule => "When `daemon` and `schedule run` run which jobs",
    hooks: Hooks => "Commands to run around a job",
    notify: Notify => "Notifications",
}

/// What old snapshots lose.
Expire {
    path: Option<Vec<Pattern>> => "What to remove: one or several patterns, as for --exclude",
    after: Option<Age> => "The age of snapshots from which it is removed",
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
    tags: Vec<String> => "As --keep-tag; each item can be several comma-separated tags",
}

/// When a backup is unusual.
Alarm {
    enabled: bool = true => "Whether backups are compared with earlier ones",
    after: u64 = Limits::default().runs as u64 =>
        "Number of backups before the first alarm",
    lost: Share = Share(Limits::default().lost) => "Share of files rewritten or removed by one backup",
    encrypted: Share = Share(Limits::default().opaque) =>
        "Share of files that came to look encrypted, in one backup or several",
    renamed: Share = Share(Limits::default().renamed) =>
        "Share of files that reappeared with a new extension",
    growth: Share = Share(Limits::default().growth) => "How much the set may grow in one backup",
    silence: bool = Limits::default().silence => "Whether a set that always changed and no longer does raises an alarm",
}

/// What tests a restored snapshot.
Drill {
    run: Option<Command> => "As --run of `drill`",
    run_timeout: Duration = HOUR => "As --run-timeout of `drill`",
    include: Vec<Pattern> => "As --include of `drill`",
}

/// When jobs run by themselves.
Schedule {
    enabled: bool = true => "Whether the schedule runs the set",
    full: Option<Times> => "When a full backup is made",
    incremental: Option<Times> => "When an incremental backup is made",
    differential: Option<Times> => "When a differential backup is made",
    cleanup: Option<Times> => "When `cleanup` runs",
    check: Option<Times> => "When `check` runs",
    drill: Option<Times> => "When `drill` runs",
    time_zone: Option<TimeZone> => "Time zone of these times; default: the machine's",
    jitter: Duration => "Delay each start by up to this long, depending on machine, job and time",
    catch_up: bool = true => "Whether missed runs are made up for, once",
    retries: u64 = 3 => "Number of retries of a failed run",
    retry_wait: Duration = Duration::from_secs(60) =>
        "Delay before the first retry; doubled for each next one, up to 1h",
}

/// Commands around a run.
Hooks {
    condition: Vec<Command> =>
        "Run first; if one fails, the run is skipped, which is no failure",
    before: Vec<Command> => "Run before the job; if one fails, the job does not run",
    after: Vec<Command> => "Run after success",
    on_failure: Vec<Command> => "Run after failure",
    finally: Vec<Command> => "Run at the end, whatever the result",
    timeout: Duration = HOUR => "Maximum duration of each command",
    jobs: Vec<Job> = vec![Job("backup")] => "The jobs that they run around",
}

/// Receivers of notifications.
Notify {
    on: Vec<Event> = ["failure", "problems", "recovery", "alarm"].map(Event).into() => "The events to send",
    command: Option<Command> => "A command that gets the event in SNAP_* variables",
    webhook: Option<Secret> => "A URL to which a JSON object is posted",
    ping: Option<Secret> =>
        "A URL that is requested after a backup, with /start at its start and /fail after a failure",
    mail: Vec<String> => "Addresses to send mail to",
    sendmail: PathBuf = PathBuf::from("/usr/sbin/sendmail") => "The program that sends mail",
    timeout: Duration = Duration::from_secs(10) => "Maximum duration of each notification",
}
}
