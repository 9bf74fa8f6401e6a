//! Help of the verbs that inspect and restore snapshots.

use super::VerbHelp;

/// Options that select snapshots.
pub(super) const WHICH: &[&str] = &["host", "tag", "path"];

pub(super) const VERBS: &[VerbHelp] = &[
    VerbHelp {
        name: "snapshots",
        paragraph: "Lists snapshots, oldest first: id, time, host, kind, number and size of the files, what was added to the repository, \
            tags and sources. With --json it prints one array, as restic does.",
        examples: &[
            ("List all", "snap snapshots"),
            (
                "List the newest two of each host and its sources",
                "snap snapshots --latest 2 --group-by host,paths",
            ),
            ("List those of one host with a tag", "snap snapshots --host laptop --tag before-upgrade"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "ls",
        paragraph: "Lists all files of a snapshot, or with a path those of one directory. `snap help selectors` says how a snapshot is named; paths are as they were saved, without \
            the leading slash.",
        examples: &[
            ("List all that the newest snapshot holds", "snap ls latest"),
            ("List one directory of it, with sizes and times", "snap ls -l latest home/me/documents"),
            ("List the last snapshot up to a day", "snap ls 2026-11-24"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "cat",
        paragraph: "Prints the content of one file of a snapshot to standard output.",
        examples: &[
            ("Print a file", "snap cat latest:home/me/notes.txt"),
            ("Compare it with the one of today", "snap cat latest:home/me/notes.txt | diff - ~/notes.txt"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "restore",
        paragraph: "Writes a snapshot, or a part of it, below a directory. Only what differs is written, so a restore that was cut short \
            goes on where it was, and a restore to / puts back what was lost. Exit code 3 means that something could not be restored: \
            it is named.",
        examples: &[
            ("Restore everything beside the original", "snap restore latest --target ~/restored"),
            (
                "Put one directory back into its place",
                "snap restore latest --target / --include /home/me/documents",
            ),
            ("See first what would be written", "snap restore latest --target / --include /etc --dry-run"),
        ],
        groups: &[
            ("What to restore", &["include", "exclude", "delete"]),
            ("What is there already", &["overwrite", "verify"]),
            (
                "What entries get",
                &["numeric-ids", "no-owner", "no-devices", "no-setuid", "no-xattrs", "sparse"],
            ),
        ],
    },
    VerbHelp {
        name: "mount",
        paragraph: "Shows all snapshots as directories, read only: `snapshots/`, `hosts/`, `tags/` and `latest`. Programs can copy from there as \
            from any disk. `fusermount3 -u DIR` ends it.",
        examples: &[
            ("Mount in the background", "snap mount ~/mnt"),
            ("Mount until Ctrl-C, only snapshots of one host", "snap mount -f --host laptop ~/mnt"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "browse",
        paragraph: "Looks around in the terminal: snapshots, their directories, versions of a file, what differs between two, and \
            restores what is marked. The keys are shown at the bottom.",
        examples: &[
            ("Look around in all snapshots", "snap browse"),
            ("In a repository on another disk", "snap browse -r /mnt/disk/backup"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "export",
        paragraph: "Writes a snapshot, or a part of it, as a tar archive that needs no snap to be read. With --delta, only what changed \
            since the snapshot's parent.",
        examples: &[
            ("Write an archive", "snap export latest -o home.tar.gz"),
            ("Pipe a part of it to another machine", "snap export latest:etc --format tar | ssh host tar x"),
            ("Only what changed since a day", "snap export latest --since 2026-11-01 -o changes.tar.zst"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "diff",
        paragraph: "Compares two snapshots, or a snapshot with a directory as it is now, file by file.",
        examples: &[
            ("What changed since the snapshot before", "snap diff latest~1 latest"),
            ("What changed here since the last backup", "snap diff latest:home/me/documents ~/documents"),
            ("Only changes of content", "snap diff 2026-11-01 latest --no-metadata"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "find",
        paragraph: "Looks through all snapshots, or those that are chosen, and says which versions of each file there are and which snapshots \
            have them.",
        examples: &[
            ("Find files by name", "snap find '*.odt'"),
            ("Find large files that changed lately", "snap find '*' --larger 1G --newer 30d"),
            ("Find copies of a file, whatever they are called", "snap find --content photo.jpg"),
        ],
        groups: &[
            (
                "What to look for",
                &["regex", "iname", "newer", "older", "larger", "smaller", "type", "chunk", "content"],
            ),
            ("Output", &["long", "null"]),
            ("Which snapshots", &["snapshot", "host", "tag", "path"]),
        ],
    },
    VerbHelp {
        name: "history",
        paragraph: "Lists the distinct versions of one file or directory over all snapshots, and writes one of them where one likes.",
        examples: &[
            ("List the versions of a file", "snap history home/me/notes.txt"),
            (
                "Bring back the second one under another name",
                "snap history home/me/notes.txt --number 2 --restore-as notes-old.txt",
            ),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "du",
        paragraph: "Says which directories fill a snapshot or the repository: how large they are, what they need of the repository, and how \
            that grows.",
        examples: &[
            ("The directories of the newest snapshot", "snap du latest --depth 2"),
            ("What only one snapshot needs", "snap du --unique --sort unique"),
            (
                "What made the repository grow since a day",
                "snap du --since 2026-11-01 --sort growth --top 10",
            ),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "stats",
        paragraph: "Says how much there is to restore, how small it is stored, how much is shared between snapshots, and what would be freed \
            without one.",
        examples: &[
            ("Of the whole repository", "snap stats"),
            ("Of the snapshots of one host", "snap stats --host laptop"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "serve",
        paragraph: "Starts a web page that says how the backups are, finds files in all snapshots and gives them back, and WebDAV for \
            file managers. Both are read only unless --allow says otherwise. The address that is printed holds a token; \
            without it nothing is shown.",
        examples: &[
            ("Open it on this machine", "snap serve"),
            (
                "With restores to new directories below ~/got-back",
                "snap serve --allow restore=$HOME/got-back",
            ),
            (
                "At a fixed port, with a token of your own",
                "snap serve --port 8080 --token-file ~/.snap-token",
            ),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "serve passwd",
        paragraph: "Sets a password that the login form of the page takes beside the token: for all servers of this user, kept as a \
            hash in the state directory.",
        examples: &[
            ("Ask for it, twice", "snap serve passwd"),
            ("Take tokens only, as before", "snap serve passwd --remove"),
        ],
        groups: &[],
    },
];
