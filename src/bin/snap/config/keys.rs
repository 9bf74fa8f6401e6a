//! All keys of the configuration file: type, default and description. Validation, `config show` and `config
//! schema` are driven by this list and contain no keys of their own.

/// The type of a value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// Text that is never printed.
    Secret,
    /// A shell command. The shell expands variables itself.
    Command,
    /// Like `Command`, but never printed.
    SecretCommand,
    /// A path; a relative one starts at the directory of the file.
    Path,
    /// A path pattern; a leading `~/` is the home directory.
    Pattern,
    /// A repository: its name or location.
    Repository,
    /// The location of a repository.
    Location,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Number,
    /// `90s`, `10m`, `26h`, `2d`, `1w`.
    Duration,
    /// A number of bytes, with K, M, G or T.
    Size,
    /// A rate in KiB per second, or in bytes per second with a unit.
    Rate,
    /// A calendar duration such as `2y5m7d3h`, as for `--keep-within`.
    Age,
    /// A number of snapshots, or `unlimited`.
    Count,
    /// Bytes, or a percentage of a file system.
    Line,
    /// A percentage, or `off`.
    Share,
    /// A percentage up to 100, or `off`.
    Reread,
    /// Hours of the day: `22:00-06:00`.
    Window,
    /// A duration that is not zero.
    Time,
    /// A number of threads.
    Threads,
    /// A niceness, 0 to 19.
    Nice,
    /// A compression level.
    Level,
    /// How much data a check reads.
    Data,
    /// A cron expression, or `off`.
    Cron,
    /// The name of a time zone.
    Zone,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of values; a single value needs no brackets.
    List(&'static Kind),
    /// A table with these keys.
    Table(&'static [Key]),
    /// Tables with these keys, each with a name that the user chooses.
    Named(&'static [Key]),
}

/// A key of the configuration.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The default as TOML; empty if there is none.
    pub(crate) default: &'static str,
    pub(crate) help: &'static str,
}

const fn key(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Key {
    Key { name, kind, default, help }
}

/// Kinds of snapshots.
pub(crate) const KINDS: &[&str] = &["full", "incremental", "differential"];
/// When new chunks become deltas.
pub(crate) const DELTA: &[&str] = &["auto", "on", "off"];
/// Verbs that can have hooks.
pub(crate) const JOBS: &[&str] = &["backup", "cleanup", "forget", "check", "drill"];
/// Events that can cause notifications.
pub(crate) const EVENTS: &[&str] = &["failure", "problems", "recovery", "alarm", "success"];

/// The top level of the file.
pub(crate) const TOP: &[Key] = &[
    key(
        "repository",
        Kind::Repository,
        "",
        "The repository where nothing else names one: a name from [repositories], or a location",
    ),
    key("cache-dir", Kind::Path, "", "As --cache-dir"),
    key("state-dir", Kind::Path, "", "As --state-dir"),
    key("repositories", Kind::Named(REPOSITORY), "", "Repositories by name: -r NAME"),
    key("defaults", Kind::Table(SET), "", "What holds in every set that does not say otherwise"),
    key("sets", Kind::Named(SET), "", "What is backed up, by name: --set NAME"),
    key(
        "profiles",
        Kind::Named(PROFILE),
        "",
        "What -P NAME puts over the rest of the file: any of the keys above",
    ),
];

/// Keys of a profile: everything except profiles.
const PROFILE: &[Key] = &[
    key("repository", Kind::Repository, "", "As above"),
    key("cache-dir", Kind::Path, "", "As above"),
    key("state-dir", Kind::Path, "", "As above"),
    key("repositories", Kind::Named(REPOSITORY), "", "As above"),
    key("defaults", Kind::Table(SET), "", "As above"),
    key("sets", Kind::Named(SET), "", "As above"),
];

/// Keys of a repository.
pub(crate) const REPOSITORY: &[Key] = &[
    key("location", Kind::Location, "", "Where it is, as -r takes it"),
    key("password-file", Kind::Path, "", "As --password-file"),
    key("password-command", Kind::SecretCommand, "", "As --password-command"),
    key("key-file", Kind::Path, "", "As --key-file"),
    key("cacert", Kind::Path, "", "As --cacert"),
    key("tls-client-cert", Kind::Path, "", "As --tls-client-cert"),
    key("limit-upload", Kind::Rate, "", "As --limit-upload"),
    key("limit-download", Kind::Rate, "", "As --limit-download"),
    key("init", Kind::Bool, "false", "A backup makes it if it is not there, as --init"),
    key("no-encryption", Kind::Bool, "false", "It is made without encryption"),
    key("compression", Kind::Level, "\"default\"", "How well it compresses, where the set does not say"),
];

/// Keys of a set.
pub(crate) const SET: &[Key] = &[
    key("repository", Kind::Repository, "", "Where to: a name from [repositories], or a location"),
    key(
        "mirror",
        Kind::List(&Kind::Repository),
        "[]",
        "Where a second copy of the repository is kept, as --mirror",
    ),
    key("sources", Kind::List(&Kind::Path), "", "What is saved"),
    key("exclude", Kind::List(&Kind::Pattern), "[]", "As --exclude"),
    key("iexclude", Kind::List(&Kind::Pattern), "[]", "As --iexclude"),
    key("exclude-file", Kind::List(&Kind::Path), "[]", "As --exclude-file"),
    key("exclude-if-present", Kind::List(&Kind::Text), "[]", "As --exclude-if-present"),
    key("exclude-caches", Kind::Bool, "false", "As --exclude-caches"),
    key("exclude-larger-than", Kind::Size, "", "As --exclude-larger-than"),
    key("gitignore", Kind::Bool, "false", "As --gitignore"),
    key("one-file-system", Kind::Bool, "false", "As --one-file-system"),
    key("ignore-ctime", Kind::Bool, "false", "As --ignore-ctime"),
    key("allow-empty", Kind::Bool, "false", "As --allow-empty"),
    key("tags", Kind::List(&Kind::Text), "[]", "As --tag"),
    key("host", Kind::Text, "", "As --host; the machine's name if not given"),
    key("kind", Kind::Choice(KINDS), "\"incremental\"", "The kind of backup where the call does not say"),
    key("compression", Kind::Level, "", "As --compression"),
    key("delta", Kind::Choice(DELTA), "\"auto\"", "As --delta"),
    key("isolate", Kind::List(&Kind::Path), "[]", "As --isolate"),
    key(
        "check-data",
        Kind::Data,
        "\"none\"",
        "How much of the data `check --set` reads: none, all, N/T, a percentage or a size",
    ),
    key("reread", Kind::Reread, "", "As --reread; if not given, 1% in runs of a schedule and none in others"),
    key("max-age", Kind::Duration, "", "The age of the last good backup from which on the set is overdue"),
    key(
        "alarm",
        Kind::Table(ALARM),
        "",
        "From where on a backup is so unlike those before that it gives an alarm",
    ),
    key("keep", Kind::Table(KEEP), "", "What `forget` and `cleanup` keep"),
    key("keep-below", Kind::Line, "", "As --keep-below of `cleanup`"),
    key("min-age", Kind::Age, "", "As --min-age: no rule forgets what is younger"),
    key("drill", Kind::Table(DRILL), "", "What `drill` does beyond restoring a sample"),
    key(
        "max-duration",
        Kind::Time,
        "",
        "As --max-duration: a backup ends after so long, the next one goes on",
    ),
    key("window", Kind::Window, "", "As --window: the hours of the day in which it may be backed up"),
    key("on-battery", Kind::Bool, "true", "Whether it is backed up while the machine runs on battery"),
    key("metered", Kind::Bool, "true", "Whether it is backed up over a connection that is metered"),
    key("threads", Kind::Threads, "", "As --threads"),
    key("nice", Kind::Nice, "", "As --nice"),
    key("io-idle", Kind::Bool, "false", "As --io-idle"),
    key("limit-read", Kind::Rate, "", "As --limit-read"),
    key(
        "expire",
        Kind::List(&Kind::Table(EXPIRE)),
        "[]",
        "What `cleanup` takes out of old snapshots: { path = \"**/Downloads/**\", after = \"30d\" }",
    ),
    key(
        "keep-deleted",
        Kind::Age,
        "",
        "How long files that were deleted stay in older snapshots; for as long as these if not given",
    ),
    key("schedule", Kind::Table(SCHEDULE), "", "When `daemon` and `schedule run` do what"),
    key("hooks", Kind::Table(HOOKS), "", "Commands around a run"),
    key("notify", Kind::Table(NOTIFY), "", "Whom to tell"),
];

const EXPIRE: &[Key] = &[
    key("path", Kind::List(&Kind::Pattern), "", "What goes: one pattern or several, as those of --exclude"),
    key("after", Kind::Age, "", "The age of the snapshots that lose it"),
];

const KEEP: &[Key] = &[
    key("last", Kind::Count, "", "As --keep-last"),
    key("hourly", Kind::Count, "", "As --keep-hourly"),
    key("daily", Kind::Count, "", "As --keep-daily"),
    key("weekly", Kind::Count, "", "As --keep-weekly"),
    key("monthly", Kind::Count, "", "As --keep-monthly"),
    key("yearly", Kind::Count, "", "As --keep-yearly"),
    key("within", Kind::Age, "", "As --keep-within"),
    key("within-hourly", Kind::Age, "", "As --keep-within-hourly"),
    key("within-daily", Kind::Age, "", "As --keep-within-daily"),
    key("within-weekly", Kind::Age, "", "As --keep-within-weekly"),
    key("within-monthly", Kind::Age, "", "As --keep-within-monthly"),
    key("within-yearly", Kind::Age, "", "As --keep-within-yearly"),
    key("full", Kind::Count, "", "As --keep-full"),
    key(
        "tags",
        Kind::List(&Kind::Text),
        "[]",
        "As --keep-tag; each item may be several tags with commas between",
    ),
];

const ALARM: &[Key] = &[
    key("enabled", Kind::Bool, "true", "Whether backups are compared with the set's past at all"),
    key("after", Kind::Number, "7", "How many backups there must have been before one gives an alarm"),
    key("lost", Kind::Share, "\"50%\"", "Files rewritten or removed by one backup"),
    key("encrypted", Kind::Share, "\"5%\"", "Files that came to look encrypted, by one backup or by several"),
    key("renamed", Kind::Share, "\"5%\"", "Files that came back with an ending that no file had"),
    key("growth", Kind::Share, "\"200%\"", "How much the set may grow by one backup"),
    key("silence", Kind::Bool, "true", "Whether it counts that what always changed does not"),
];

const DRILL: &[Key] = &[
    key("run", Kind::Command, "", "As --run of `drill`"),
    key("run-timeout", Kind::Duration, "\"1h\"", "As --run-timeout of `drill`"),
    key("include", Kind::List(&Kind::Pattern), "[]", "As --include of `drill`"),
];

const SCHEDULE: &[Key] = &[
    key("enabled", Kind::Bool, "true", "Whether the set is run by itself at all"),
    key("full", Kind::Cron, "", "When a full backup is made"),
    key("incremental", Kind::Cron, "", "When an incremental backup is made"),
    key("differential", Kind::Cron, "", "When a differential backup is made"),
    key("cleanup", Kind::Cron, "", "When `cleanup` runs"),
    key("check", Kind::Cron, "", "When `check` runs"),
    key("drill", Kind::Cron, "", "When `drill` runs"),
    key("time-zone", Kind::Zone, "", "The zone of these times; the machine's if not given"),
    key(
        "jitter",
        Kind::Duration,
        "\"0s\"",
        "A start is put off by up to so much, each by another part of it",
    ),
    key("catch-up", Kind::Bool, "true", "What was missed is made up for, once"),
    key("retries", Kind::Number, "3", "How often a run that failed is tried again"),
    key(
        "retry-wait",
        Kind::Duration,
        "\"1m\"",
        "How long before the first retry; each next one waits twice as long, at most 1h",
    ),
];

const HOOKS: &[Key] = &[
    key(
        "condition",
        Kind::List(&Kind::Command),
        "[]",
        "Run before anything else; one that fails lets the run be skipped, which is no failure",
    ),
    key("before", Kind::List(&Kind::Command), "[]", "Run before; one that fails stops the run"),
    key("after", Kind::List(&Kind::Command), "[]", "Run after success"),
    key("on-failure", Kind::List(&Kind::Command), "[]", "Run after failure"),
    key("finally", Kind::List(&Kind::Command), "[]", "Run at the end, however it ended"),
    key("timeout", Kind::Duration, "\"1h\"", "How long one command may take"),
    key("jobs", Kind::List(&Kind::Choice(JOBS)), "[\"backup\"]", "What they stand around"),
];

const NOTIFY: &[Key] = &[
    key(
        "on",
        Kind::List(&Kind::Choice(EVENTS)),
        "[\"failure\", \"problems\", \"recovery\", \"alarm\"]",
        "What is told",
    ),
    key("command", Kind::Command, "", "A command that is told through SNAP_* variables"),
    key("webhook", Kind::Secret, "", "A URL to which a JSON object is posted"),
    key(
        "ping",
        Kind::Secret,
        "",
        "A URL that is asked for at the end of a backup, with /start at its beginning and /fail after failure",
    ),
    key("mail", Kind::List(&Kind::Text), "[]", "Addresses that get a mail"),
    key("sendmail", Kind::Path, "\"/usr/sbin/sendmail\"", "The program that sends it"),
    key("timeout", Kind::Duration, "\"10s\"", "How long each of them may take"),
];

/// Returns the known key that is most similar to `name`, if one is similar enough.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace('_', "-");
    let near = known.map(|other| (strsim::damerau_levenshtein(&plain(name), &plain(other)), other)).min()?;
    (near.0 <= 2.max(name.len() / 3)).then_some(near.1)
}
