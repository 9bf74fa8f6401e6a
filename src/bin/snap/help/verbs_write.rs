//! Help of the verbs that write to a repository or copy to another one.

use super::VerbHelp;
use super::verbs_keep::PATH_RULES;
use super::verbs_read::SELECTION;

/// Options of `import restic` and `import borg`.
const FOREIGN_GROUPS: &[(&str, &[&str])] = &[
    ("Other repository", &["program", "via"]),
    ("Snapshot attributes", &["tag", "host"]),
    ("Repository", &["init", "no-encryption", "compression"]),
    ("How", &["verify", "dry-run"]),
];

pub(super) const VERBS: &[VerbHelp] = &[
    VerbHelp {
        name: "init",
        paragraph: "A repository is a directory, or a location on a server, that holds all snapshots. It \
            is encrypted, and a password protects the key: without the password nothing can be \
            read again, so keep a copy of it somewhere other than on this machine. An existing \
            repository is never changed.",
        examples: &[
            ("Create a repository on another disk", "snap init -r /mnt/disk/backup"),
            (
                "Create one on a server, with the password in a file",
                "snap init -r sftp://host/srv/backup --password-file ~/.snap-password",
            ),
            ("Create one that survives some bad sectors", "snap init -r /mnt/disk/backup --parity 5%"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "backup",
        paragraph: "Backs up the given paths, or else the sets of the configuration. Every snapshot is \
            complete, whatever was saved before, but only data that the repository does not have \
            is stored. Files whose size, mtime and ctime are those of the last snapshot are not \
            read again. Exit code 3 means that some files could not be saved; they are listed.",
        examples: &[
            ("Back up the home directory without caches", "snap backup ~ --exclude-caches --exclude '*.tmp'"),
            ("Show what would be saved", "snap backup ~/documents --dry-run -v"),
            (
                "Back up a database dump as one file",
                "pg_dump app | snap backup --stdin --stdin-filename app.sql",
            ),
        ],
        groups: &[
            ("Sources", &["set", "files-from", "stdin", "stdin-filename", "stdin-from-command"]),
            (
                "Excludes",
                &[
                    "exclude",
                    "iexclude",
                    "exclude-file",
                    "exclude-if-present",
                    "exclude-caches",
                    "exclude-larger-than",
                    "gitignore",
                    "one-file-system",
                ],
            ),
            (
                "Change detection",
                &[
                    "full",
                    "incremental",
                    "differential",
                    "parent",
                    "ignore-ctime",
                    "allow-empty",
                    "expect-change",
                    "reread",
                ],
            ),
            ("Snapshot attributes", &["tag", "description", "expires", "host", "as", "receipt"]),
            ("Repository", &["init", "no-encryption", "parity", "compression", "delta", "isolate", "mirror"]),
            ("Time and rate limits", &["max-duration", "window", "limit-read"]),
        ],
    },
    VerbHelp {
        name: "copy",
        paragraph: "The other repository has its own passwords, and may contain snapshots of other \
            machines. Data that it already has is not copied again. For a second copy of the \
            whole repository, `snap sync` is simpler and faster.",
        examples: &[
            ("Copy all snapshots to a new repository", "snap copy --to /mnt/other/backup --init"),
            ("Copy the newest one", "snap copy latest --to sftp://host/srv/backup"),
            (
                "Show what would be copied for one host",
                "snap copy --host laptop --to /mnt/other/backup --dry-run",
            ),
        ],
        groups: &[
            (
                "Other repository",
                &[
                    "to",
                    "to-password-file",
                    "to-password-command",
                    "to-key-file",
                    "to-insecure-no-password",
                    "init",
                    "no-encryption",
                ],
            ),
            ("How", &["compression", "delta", "dry-run"]),
            ("Snapshot selection", SELECTION),
        ],
    },
    VerbHelp {
        name: "sync",
        paragraph: "The second copy contains the same objects, so the same passwords open it, and either \
            copy can replace the other. `snap backup --mirror` does the same after each backup.",
        examples: &[
            ("Create the second copy", "snap sync --to /mnt/other/backup --init"),
            (
                "Update it, and forget there what was forgotten here",
                "snap sync --to /mnt/other/backup --delete",
            ),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "import",
        paragraph: "Makes a snapshot of a tar archive, as if its members had been backed up at the given \
            time. With --legacy it reads the archive directory of the legacy backup script: each \
            backup of its chain becomes a snapshot with its own time and kind.",
        examples: &[
            (
                "Import an archive with its original date",
                "snap import home-2024.tar.gz --time 2024-12-24 --tag old",
            ),
            ("Show what would be imported", "snap import home-2024.tar.gz --dry-run"),
            ("Import the archives of the legacy script", "snap import --legacy ./backups/incremental"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "import trees",
        paragraph: "Each directory becomes a snapshot with its own time, oldest first. Only differences \
            are read: a file with several hard links is read once for all states (it is \
            identified by device, inode, size, mtime and ctime), and a file with the same path, \
            size and mtime as in the previous state is not read again. In file system snapshots \
            (snapper, ZFS, Btrfs) the ctime must be the same, too; elsewhere ctimes are those of \
            the copy, and are neither compared nor stored. Times in names are local unless they \
            have an offset. If the import is repeated, it adds only new states: a state exists \
            already if a snapshot has its host, its --as path and its time.",
        examples: &[
            (
                "Import the dated directories of rsync --link-dest",
                "snap import trees --children --as /home /mnt/backup",
            ),
            (
                "Show what would be imported from rsnapshot for one host and directory",
                "snap import trees /srv/rsnap --subdir localhost/home --as /home -n",
            ),
            ("Import snapper's snapshots of /home", "snap import trees /home/.snapshots"),
        ],
        groups: &[
            ("States", &["children", "subdir", "as", "time", "time-pattern", "time-from"]),
            (
                "Excludes",
                &[
                    "exclude",
                    "iexclude",
                    "exclude-file",
                    "exclude-if-present",
                    "exclude-caches",
                    "exclude-larger-than",
                    "gitignore",
                    "one-file-system",
                ],
            ),
            ("Snapshot attributes", &["tag", "host"]),
            ("Repository", &["init", "no-encryption", "compression"]),
            ("How", &["reread", "dry-run"]),
        ],
    },
    VerbHelp {
        name: "import restic",
        paragraph: "Every snapshot of the restic repository becomes a snapshot with its time, host, \
            user, tags and paths, oldest first. The program restic itself reads its repository: \
            it mounts it during the import, and only files whose size, mtime or ctime differ \
            from the previous snapshot are read. Without FUSE, complete tar archives are read \
            instead. restic's variables (RESTIC_REPOSITORY, RESTIC_PASSWORD and so on) apply, \
            and options after -- are passed to it. If the import is repeated, it adds only new \
            snapshots.",
        examples: &[
            ("Show what would be imported", "snap import restic /srv/restic -n"),
            ("Import all, and compare with the original", "snap import restic /srv/restic --init --verify"),
            (
                "Import from another machine, with an option for restic",
                "snap import restic sftp:nas:/srv/restic -- --limit-download 10000",
            ),
        ],
        groups: FOREIGN_GROUPS,
    },
    VerbHelp {
        name: "import borg",
        paragraph: "Every archive of the borg repository becomes a snapshot with its time, host, user, \
            tags and comment, oldest first. The program borg itself reads its repository: it \
            mounts it during the import, and only files whose size, mtime or ctime differ from \
            the previous archive are read. Without FUSE, complete tar archives are read instead. \
            borg's variables (BORG_REPO, BORG_PASSPHRASE and so on) apply, and options after -- \
            are passed to it. If the import is repeated, it adds only new archives.",
        examples: &[
            ("Show what would be imported", "snap import borg ssh://nas/srv/borg -n"),
            ("Import all, and compare with the original", "snap import borg /srv/borg --init --verify"),
            (
                "Import with a certain version of borg",
                "snap import borg /srv/borg2 --program /opt/borg2/bin/borg",
            ),
        ],
        groups: FOREIGN_GROUPS,
    },
    VerbHelp {
        name: "rewrite",
        paragraph: "Replaces snapshots by new ones without some paths, or with other attributes: for \
            files that should never have been saved, or for a wrong host name. The replaced \
            snapshots go to the trash. --expire and --keep-deleted remove paths only from old \
            snapshots, and never from the newest of a host and its sources, from pinned ones, or \
            from those that an open alarm protects.",
        examples: &[
            ("Remove a file from all snapshots", "snap rewrite --exclude /home/me/secret.key"),
            ("Show what that would change", "snap rewrite --exclude /home/me/secret.key --dry-run"),
            (
                "Show what removing downloads older than 30 days would change",
                "snap rewrite --expire '**/Downloads/**=30d' --dry-run",
            ),
        ],
        groups: &[
            (
                "Changes",
                &[
                    "exclude",
                    "exclude-file",
                    "new-host",
                    "description",
                    "expires",
                    "add-tag",
                    "remove-tag",
                    "set-tag",
                ],
            ),
            ("Rules per path", PATH_RULES),
            ("How", &["force", "dry-run"]),
            ("Snapshot selection", SELECTION),
        ],
    },
    VerbHelp {
        name: "tag",
        paragraph: "Tags are labels by which snapshots are selected: with --tag in other commands, and \
            with --keep-tag in retention rules.",
        examples: &[
            ("Tag the newest snapshot", "snap tag latest --add before-upgrade"),
            ("Remove a tag from all snapshots that have it", "snap tag --tag test --remove test"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "pin",
        paragraph: "A pinned snapshot is kept, whatever the rules of `snap forget` and `snap cleanup` \
            say, until it is unpinned.",
        examples: &[
            ("Pin the newest snapshot", "snap pin latest"),
            ("Pin one by a prefix of its id", "snap pin 1a2b3c4d"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "unpin",
        paragraph: "From then on, retention rules apply to the snapshot as to any other.",
        examples: &[
            ("Unpin one by a prefix of its id", "snap unpin 1a2b3c4d"),
            ("Unpin the last snapshot of a day", "snap unpin 2026-11-24"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "restic",
        paragraph: "Accepts restic's commands, flags and variables, and prints its JSON and exit codes \
            (those of restic 0.19), but works on a repository of snap. If the program is called \
            by the name restic, it does the same; --install creates such a link. docs/restic.md \
            lists what is supported and what is refused.",
        examples: &[
            ("Run a restic command", "snap restic snapshots --json"),
            ("Create the link that other programs find", "snap restic --install /usr/local/bin"),
        ],
        groups: &[],
    },
];
