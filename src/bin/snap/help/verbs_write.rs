//! Help of the verbs that write to a repository or copy to another one.

use super::VerbHelp;
use super::verbs_keep::PATHS;
use super::verbs_read::WHICH;

/// Options of `import restic` and `import borg`.
const FOREIGN: &[(&str, &[&str])] = &[
    ("The other repository", &["program", "via"]),
    ("What the snapshots say of themselves", &["tag", "host"]),
    ("The repository", &["init", "no-encryption", "compression"]),
    ("How", &["verify", "dry-run"]),
];

pub(super) const VERBS: &[VerbHelp] = &[
    VerbHelp {
        name: "init",
        paragraph: "A repository is a directory, or a place on a server, that holds all snapshots. It is locked with a password: keep \
            a copy of the password somewhere else than on this machine, since without it nothing can be read again. Where there \
            is a repository already, nothing is asked and nothing is changed.",
        examples: &[
            ("Make a repository on another disk", "snap init -r /mnt/disk/backup"),
            (
                "Make one on a server, with the password in a file",
                "snap init -r sftp://host/srv/backup --password-file ~/.snap-password",
            ),
            ("Make one whose packs survive some bad sectors", "snap init -r /mnt/disk/backup --parity 5%"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "backup",
        paragraph: "Saves what is named, or the sets of the configuration. Every snapshot is complete by itself, whatever was saved \
            before; only what the repository does not hold yet is stored. Files whose size, times and inode are those of the last \
            snapshot are not read again. Exit code 3 means that something of the sources could not be saved: it is named.",
        examples: &[
            ("Save the home directory, without caches", "snap backup ~ --exclude-caches --exclude '*.tmp'"),
            ("See what would be saved", "snap backup ~/documents --dry-run -v"),
            (
                "Save a database dump as one file",
                "pg_dump app | snap backup --stdin --stdin-filename app.sql",
            ),
        ],
        groups: &[
            ("What to save", &["set", "files-from", "stdin", "stdin-filename", "stdin-from-command"]),
            (
                "What to leave out",
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
                "How to find what changed",
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
            ("What the snapshot says of itself", &["tag", "description", "expires", "host", "as", "receipt"]),
            (
                "The repository",
                &["init", "no-encryption", "parity", "compression", "delta", "isolate", "mirror"],
            ),
            ("When and how fast", &["max-duration", "window", "limit-read"]),
        ],
    },
    VerbHelp {
        name: "copy",
        paragraph: "Copies snapshots into another repository, which has its own passwords and may hold snapshots of others. What is \
            there already is not copied again. For a second copy of the whole repository, `snap sync` is simpler and faster.",
        examples: &[
            ("Copy all snapshots to a new repository", "snap copy --to /mnt/other/backup --init"),
            ("Copy the newest one", "snap copy latest --to sftp://host/srv/backup"),
            (
                "See what would be copied of one host",
                "snap copy --host laptop --to /mnt/other/backup --dry-run",
            ),
        ],
        groups: &[
            (
                "The other repository",
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
            ("Which snapshots", WHICH),
        ],
    },
    VerbHelp {
        name: "sync",
        paragraph: "Brings a second copy of the repository up to date, object for object. The same passwords open both, and either may \
            be lost. `snap backup --mirror` does the same after each backup.",
        examples: &[
            ("Make the second copy", "snap sync --to /mnt/other/backup --init"),
            (
                "Bring it up to date, and forget there what was forgotten here",
                "snap sync --to /mnt/other/backup --delete",
            ),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "import",
        paragraph: "Makes a snapshot of a tar archive, as if its members had been saved at the time that is given. With --legacy it reads \
            the directory of the legacy backup script: each backup of its chain becomes a snapshot with its own time and kind.",
        examples: &[
            ("Import an archive as what it was", "snap import home-2024.tar.gz --time 2024-12-24 --tag old"),
            ("Look at what would be imported", "snap import home-2024.tar.gz --dry-run"),
            ("Import the archives of the legacy script", "snap import --legacy ./backups/incremental"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "import trees",
        paragraph: "Directories that each are a state of the same thing become snapshots with their times, oldest first. Of each, only \
            what differs is read: a file with several hard links is read once for all states (it is known by device, inode, \
            size, mtime and ctime), and a file that equals the state before in path, size and mtime is not read again. In \
            snapshots of a file system (snapper, ZFS, Btrfs) its ctime must be equal, too; elsewhere ctimes are those of the \
            copy, and neither compared nor stored. Times in names are local unless they have an offset. Run again, it adds what \
            is new: a state is there already if a snapshot has its host, its --as and its time.",
        examples: &[
            (
                "The states of rsync --link-dest, each a directory with a date",
                "snap import trees --children --as /home /mnt/backup",
            ),
            (
                "One host and directory of rsnapshot, in a dry run",
                "snap import trees /srv/rsnap --subdir localhost/home --as /home -n",
            ),
            ("snapper's snapshots of /home", "snap import trees /home/.snapshots"),
        ],
        groups: &[
            ("Which states", &["children", "subdir", "as", "time", "time-pattern", "time-from"]),
            (
                "What to leave out",
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
            ("What the snapshots say of themselves", &["tag", "host"]),
            ("The repository", &["init", "no-encryption", "compression"]),
            ("How", &["reread", "dry-run"]),
        ],
    },
    VerbHelp {
        name: "import restic",
        paragraph: "Every snapshot of a restic repository becomes a snapshot with its time, host, user, tags and paths, oldest first. restic \
            itself reads its repository: it mounts it for as long as the import takes, and of each snapshot only files are read that \
            differ from the one before in size, mtime or ctime. Where there is no FUSE its tar archives are read, whole. Its \
            variables (RESTIC_REPOSITORY, RESTIC_PASSWORD and so on) hold, and options behind -- are passed on to it. Run again, it \
            adds what is new.",
        examples: &[
            ("Look at what would be imported", "snap import restic /srv/restic -n"),
            (
                "Import all, and compare it with the original",
                "snap import restic /srv/restic --init --verify",
            ),
            (
                "A repository on another machine, with an option of restic's",
                "snap import restic sftp:nas:/srv/restic -- --limit-download 10000",
            ),
        ],
        groups: FOREIGN,
    },
    VerbHelp {
        name: "import borg",
        paragraph: "Every archive of a borg repository, version 1 or 2, becomes a snapshot with its time, host, user, tags and comment, \
            oldest first. borg itself reads its repository: it mounts it for as long as the import takes, and of each archive only \
            files are read that differ from the one before in size, mtime or ctime. Where there is no FUSE its tar archives are \
            read, whole. Its variables (BORG_REPO, BORG_PASSPHRASE and so on) hold, and options behind -- are passed on to it. Run \
            again, it adds what is new.",
        examples: &[
            ("Look at what would be imported", "snap import borg ssh://nas/srv/borg -n"),
            ("Import all, and compare it with the original", "snap import borg /srv/borg --init --verify"),
            (
                "Borg 2, which has another name here",
                "snap import borg /srv/borg2 --program /opt/borg2/bin/borg",
            ),
        ],
        groups: FOREIGN,
    },
    VerbHelp {
        name: "rewrite",
        paragraph: "Writes snapshots again without some paths, or with other words about themselves: for what should never have been \
            saved, or was saved under a wrong host name. The old ones go to the trash. With --expire and --keep-deleted only old snapshots \
            lose paths; never the newest of a host and its sources, pinned ones, and those that an alarm holds.",
        examples: &[
            ("Take a file out of all snapshots", "snap rewrite --exclude /home/me/secret.key"),
            ("See what that would change", "snap rewrite --exclude /home/me/secret.key --dry-run"),
            (
                "Take downloads out of what is older than 30 days",
                "snap rewrite --expire '**/Downloads/**=30d' --dry-run",
            ),
        ],
        groups: &[
            (
                "What to change",
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
            ("Rules per path", PATHS),
            ("How", &["force", "dry-run"]),
            ("Which snapshots", WHICH),
        ],
    },
    VerbHelp {
        name: "tag",
        paragraph: "Adds tags to snapshots, or removes them. Tags are labels to choose snapshots by, with --tag in other verbs and with \
            --keep-tag in rules of retention.",
        examples: &[
            ("Tag the newest snapshot", "snap tag latest --add before-upgrade"),
            ("Remove a tag from all snapshots that have it", "snap tag --tag test --remove test"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "pin",
        paragraph: "A pinned snapshot stays, whatever the rules of `snap forget` and `snap cleanup` say, until it is unpinned.",
        examples: &[
            ("Pin the newest snapshot", "snap pin latest"),
            ("Pin one by the beginning of its id", "snap pin 1a2b3c4d"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "unpin",
        paragraph: "Takes the pin off: from then on rules of retention decide about the snapshot as about any other.",
        examples: &[
            ("Unpin one by the beginning of its id", "snap unpin 1a2b3c4d"),
            ("Unpin the snapshot of a day", "snap unpin 2026-11-24"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "restic",
        paragraph: "For programs that call restic: its verbs, flags, variables, JSON and exit codes (those of restic 0.19), done on a \
            repository of snap's. The program answers so to the name restic as well, for which --install makes a link. docs/restic.md says \
            what is mapped and what is refused.",
        examples: &[
            ("A command line of restic's", "snap restic snapshots --json"),
            ("The link that other programs find", "snap restic --install /usr/local/bin"),
        ],
        groups: &[],
    },
];
