//! Help of the verbs that inspect and restore snapshots.

use super::VerbHelp;

/// Options that select snapshots.
pub(super) const SELECTION: &[&str] = &["host", "tag", "path"];

pub(super) const VERBS: &[VerbHelp] = &[
    VerbHelp {
        name: "snapshots",
        paragraph: "Lists snapshots, oldest first: id, time, host, kind, number and size of the files, \
            size added to the repository, tags and sources. With --json it prints one array, as \
            restic does.",
        examples: &[
            ("List all", "snap snapshots"),
            (
                "List the newest two of each host and its sources",
                "snap snapshots --latest 2 --group-by host,paths",
            ),
            ("List snapshots of one host with a tag", "snap snapshots --host laptop --tag before-upgrade"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "ls",
        paragraph: "Lists all files of a snapshot or, if a path is given, those of one directory. `snap \
            help selectors` describes how to name a snapshot. Paths are as they were saved, \
            without the leading slash.",
        examples: &[
            ("List the whole newest snapshot", "snap ls latest"),
            ("List one directory of it, with sizes and times", "snap ls -l latest home/me/documents"),
            ("List the last snapshot of a day", "snap ls 2026-11-24"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "cat",
        paragraph: "Prints the content of one file in a snapshot to standard output.",
        examples: &[
            ("Print a file", "snap cat latest:home/me/notes.txt"),
            ("Compare it with the current one", "snap cat latest:home/me/notes.txt | diff - ~/notes.txt"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "restore",
        paragraph: "Only what differs is written, so an interrupted restore can be repeated, and a \
            restore to / puts lost files back in place. Exit code 3 means that some files could \
            not be restored; they are listed.",
        examples: &[
            ("Restore everything to another directory", "snap restore latest --target ~/restored"),
            ("Restore one directory in place", "snap restore latest --target / --include /home/me/documents"),
            ("Show what would be written", "snap restore latest --target / --include /etc --dry-run"),
        ],
        groups: &[
            ("What to restore", &["include", "exclude", "delete"]),
            ("Existing files", &["overwrite", "verify"]),
            ("Metadata", &["numeric-ids", "no-owner", "no-devices", "no-setuid", "no-xattrs", "sparse"]),
        ],
    },
    VerbHelp {
        name: "mount",
        paragraph: "The mount is read-only, and has the directories `snapshots/`, `hosts/` and `tags/` \
            and the link `latest`. Programs can copy from it as from any disk. `fusermount3 -u \
            DIR` unmounts it.",
        examples: &[
            ("Mount in the background", "snap mount ~/mnt"),
            ("Mount until Ctrl-C, only snapshots of one host", "snap mount -f --host laptop ~/mnt"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "browse",
        paragraph: "Shows snapshots, their directories, the versions of a file and the differences \
            between two snapshots, and restores marked files. The keys are shown at the bottom.",
        examples: &[
            ("Browse all snapshots", "snap browse"),
            ("Browse a repository on another disk", "snap browse -r /mnt/disk/backup"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "export",
        paragraph: "The archive can be read without snap. With --delta it contains only what changed \
            since the snapshot's parent.",
        examples: &[
            ("Write an archive", "snap export latest -o home.tar.gz"),
            (
                "Pipe a part of a snapshot to another machine",
                "snap export latest:etc --format tar | ssh host tar x",
            ),
            (
                "Export only what changed since a date",
                "snap export latest --since 2026-11-01 -o changes.tar.zst",
            ),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "diff",
        paragraph: "Compares file by file two snapshots, or a snapshot with the current state of a \
            directory.",
        examples: &[
            ("Show what changed since the previous snapshot", "snap diff latest~1 latest"),
            (
                "Show what changed on disk since the last backup",
                "snap diff latest:home/me/documents ~/documents",
            ),
            ("Show only changes of content", "snap diff 2026-11-01 latest --no-metadata"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "find",
        paragraph: "Searches all snapshots, or the selected ones, and shows for each match its versions \
            and the snapshots that contain them.",
        examples: &[
            ("Find files by name", "snap find '*.odt'"),
            ("Find large files that changed recently", "snap find '*' --larger 1G --newer 30d"),
            ("Find copies of a file under any name", "snap find --content photo.jpg"),
        ],
        groups: &[
            (
                "Search",
                &["regex", "iname", "newer", "older", "larger", "smaller", "type", "chunk", "content"],
            ),
            ("Output", &["long", "null"]),
            ("Snapshot selection", &["snapshot", "host", "tag", "path"]),
        ],
    },
    VerbHelp {
        name: "history",
        paragraph: "Lists the distinct versions of a file or directory in all snapshots, and restores \
            one of them under a name of your choice.",
        examples: &[
            ("List the versions of a file", "snap history home/me/notes.txt"),
            (
                "Restore the second one under another name",
                "snap history home/me/notes.txt --number 2 --restore-as notes-old.txt",
            ),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "du",
        paragraph: "Shows for each directory how large it is, how much of the repository it uses, and \
            how much that grew.",
        examples: &[
            ("Show the directories of the newest snapshot", "snap du latest --depth 2"),
            ("Show what only one snapshot uses", "snap du --unique --sort unique"),
            (
                "Show what made the repository grow since a date",
                "snap du --since 2026-11-01 --sort growth --top 10",
            ),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "stats",
        paragraph: "Shows how much there is to restore, how much is stored, how much snapshots share, \
            and how much removing each snapshot would free.",
        examples: &[
            ("Show statistics of the whole repository", "snap stats"),
            ("Show statistics of one host", "snap stats --host laptop"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "serve",
        paragraph: "The web page shows the state of the backups, finds files in all snapshots and \
            restores them; WebDAV is for file managers. Both are read-only unless --allow says \
            otherwise. The printed address contains a token, without which nothing is shown.",
        examples: &[
            ("Serve on this machine", "snap serve"),
            (
                "Allow restores to new directories below ~/got-back",
                "snap serve --allow restore=$HOME/got-back",
            ),
            ("Use a fixed port and a token of your own", "snap serve --port 8080 --token-file ~/.snap-token"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "serve passwd",
        paragraph: "The password is valid for all servers of this user. Only its hash is stored, in the \
            state directory.",
        examples: &[
            ("Set it; it is asked for twice", "snap serve passwd"),
            ("Remove it", "snap serve passwd --remove"),
        ],
        groups: &[],
    },
];
