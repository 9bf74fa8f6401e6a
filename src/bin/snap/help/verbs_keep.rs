//! Help of the verbs that maintain a repository.

use super::VerbHelp;
use super::verbs_read::SELECTION;

const RETENTION: &[&str] = &[
    "keep-last",
    "keep-hourly",
    "keep-daily",
    "keep-weekly",
    "keep-monthly",
    "keep-yearly",
    "keep-within",
    "keep-within-hourly",
    "keep-within-daily",
    "keep-within-weekly",
    "keep-within-monthly",
    "keep-within-yearly",
    "keep-tag",
    "keep-full",
    "expired",
    "min-age",
];

/// Rules for paths in old snapshots.
pub(super) const PATH_RULES: &[&str] = &["expire", "keep-deleted"];

pub(super) const VERBS: &[VerbHelp] = &[
    VerbHelp {
        name: "forget",
        paragraph: "Moves snapshots to the trash: those that are named, or all that no --keep rule \
            keeps. `snap undelete` brings them back for a day; after that, `snap gc` frees their \
            space. No snapshot depends on another, so any can be removed. The newest snapshot of \
            each host and its sources is always kept, unless it is named together with \
            --allow-remove-all.",
        examples: &[
            ("Show what rules would keep", "snap forget --keep-daily 7 --keep-weekly 5 --dry-run"),
            ("Forget one snapshot", "snap forget 1a2b3c4d"),
            ("Forget by rules, and free the space", "snap forget --keep-daily 7 --keep-monthly 12 --prune"),
        ],
        groups: &[
            ("What to forget", &["set", "allow-remove-all", "force", "group-by"]),
            ("How", &["prune", "dry-run"]),
            ("Retention rules", RETENTION),
            ("Snapshot selection", SELECTION),
        ],
    },
    VerbHelp {
        name: "cleanup",
        paragraph: "Runs `snap forget` and then `snap gc`, with the given rules, or else those of the \
            sets in the configuration. In between, rules per path remove paths from old \
            snapshots, as `snap rewrite --expire` does.",
        examples: &[
            ("Apply the rules of the configuration", "snap cleanup"),
            ("Show what other rules would do", "snap cleanup --keep-daily 7 --keep-monthly 12 --dry-run"),
        ],
        groups: &[
            (
                "How",
                &[
                    "set",
                    "group-by",
                    "keep-below",
                    "max-unused",
                    "max-repack",
                    "reseal",
                    "delta",
                    "empty-trash",
                    "dry-run",
                ],
            ),
            ("Retention rules", RETENTION),
            ("Rules per path", PATH_RULES),
            ("Snapshot selection", SELECTION),
        ],
    },
    VerbHelp {
        name: "alarm",
        paragraph: "A backup that differs suspiciously from earlier ones raises an alarm, and exits with \
            24: many files were rewritten or deleted, files now look encrypted or have a new \
            extension, the set grew unusually, or a set that always changed did not. Until the \
            alarm is settled, rules forget no snapshot of the same host and sources that is as \
            old as the alarm or older. Without a subcommand, open alarms are listed.",
        examples: &[
            ("List open alarms", "snap alarm"),
            ("Accept an intended change", "snap alarm accept"),
            ("Settle an alarm after the harm was repaired", "snap alarm clear 1a2b3c4d"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "heal",
        paragraph: "A file has bit rot if its bytes changed although its size and times are those of the \
            last backup. `snap backup --full` and `snap backup --reread` detect this, and raise \
            an alarm. This command restores the bytes and metadata from an older snapshot, and \
            keeps the bad version next to the file as NAME.corrupt-TIME. Files that were changed \
            since are left alone. Without PATH, files that were found and are not healed yet are \
            listed (exit code 24 if there are any).",
        examples: &[
            ("List files with bit rot", "snap heal"),
            ("Heal a file", "snap heal ~/photos/2019/dune.jpg"),
            ("Settle the alarm when all are healed", "snap alarm clear"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "alarm accept",
        paragraph: "Settles alarms about changes that were intended: later backups are compared with \
            these snapshots as with any others.",
        examples: &[
            ("Accept the only open alarm", "snap alarm accept"),
            ("Accept the alarm of one snapshot", "snap alarm accept 1a2b3c4d"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "alarm clear",
        paragraph: "Settles alarms about harm that has been repaired: later backups are not compared \
            with these snapshots, and the next backup, which finds the repaired files, raises no \
            alarm.",
        examples: &[
            ("Settle the only open alarm", "snap alarm clear"),
            ("Settle the alarm of one snapshot", "snap alarm clear 1a2b3c4d"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "audit",
        paragraph: "Lists who forgot, rewrote, purged or brought back snapshots, changed passwords or \
            settings, or settled alarms: when, from which host, and by which command. Each \
            record is written before the action, and stays in the repository for a year. With a \
            receipt of an earlier backup, checks instead whether the repository is older than \
            the receipt: then the exit code is 20.",
        examples: &[
            ("List the last year", "snap audit"),
            ("List the last week", "snap audit --since 7d"),
            ("Check that the repository is as new as a receipt", "snap audit --receipt receipt.json"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "undelete",
        paragraph: "Forgotten snapshots stay in the trash for at least a day, until a `snap gc` purges \
            them. Until then they can be brought back.",
        examples: &[
            ("List what can be brought back", "snap undelete"),
            ("Bring one back", "snap undelete 1a2b3c4d"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "gc",
        paragraph: "Deletes data that no snapshot needs any more, and rewrites packs that are mostly \
            unused. Backups and restores can run at the same time, also on other machines. \
            --delta also converts data that was stored before deltas were switched on: each \
            version of a file or directory is compared with the one in the previous snapshot, \
            and stored as a delta. A run stops at --max-repack and reports what is left for the \
            next one. It can be interrupted at any time without losing data.",
        examples: &[
            ("Free unused space", "snap gc"),
            ("Also free the space of recently forgotten snapshots", "snap gc --empty-trash"),
            ("Convert existing data to deltas, 50 GiB at a time", "snap gc --delta --max-repack 50G"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "status",
        paragraph: "Shows for each set how old the last good backup is, what failed and why, when it \
            runs next, and when the disk will be full. No password is needed; with one, backups \
            of other machines are shown, too. Exit code 23 means that the last good backup of a \
            set is too old.",
        examples: &[
            ("Show all sets", "snap status"),
            ("Let a monitor check that the last backup is recent", "snap status --max-age 26h --quiet"),
            ("Write metrics for Prometheus", "snap status --prometheus /var/lib/node_exporter/snap.prom"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "check",
        paragraph: "Checks that everything that snapshots need is present and, with --read-data, that \
            every byte is as it was written. If there is damage, the exit code is 20, and the \
            affected snapshots and paths are listed; `snap repair` saves the rest.",
        examples: &[
            ("Check the structure", "snap check"),
            ("Read every byte", "snap check --read-data"),
            ("Read a tenth of the data", "snap check --read-data-subset 10%"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "drill",
        paragraph: "Restores a sample of files to a scratch directory, compares them with the repository \
            and with the sources, and deletes them again. Each run uses another sample. With \
            --run, whole snapshots are restored, and a command tests them, for instance by \
            starting a database or comparing checksums. It runs in the restored directory, \
            SNAP_DRILL_DIR; if it fails, so does the drill (exit code 25).",
        examples: &[
            ("Test a sample of the newest snapshots", "snap drill"),
            ("Test a larger sample", "snap drill --files 1000 --bytes 1G --time 30m"),
            ("Let a script test what was restored", "snap drill --path /srv --run ./srv/verify.sh"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "repair",
        paragraph: "After damage, run these in order: `repair packs`, `repair snapshots`, `snap check`. \
            Lost data is recovered from a second copy or from parity where there is one. Nothing \
            that could still be of use is deleted.",
        examples: &[
            ("Save what can be read of damaged packs", "snap repair packs"),
            ("Then replace snapshots that lost data", "snap repair snapshots"),
            ("Show what would be done", "snap repair packs --dry-run"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "repair index",
        paragraph: "The index cache can be deleted at any time. Nothing in the repository depends on it, \
            and nothing there is changed.",
        examples: &[
            ("Rebuild it", "snap repair index"),
            ("Show what is wrong with it", "snap repair index --dry-run"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "repair packs",
        paragraph: "Lost data is recovered from parity or from other copies where possible. The rest of \
            each damaged pack is written to new packs. Without IDs, all packs that are known to \
            be damaged are repaired.",
        examples: &[
            ("Repair all packs that are known to be damaged", "snap repair packs"),
            ("Show what would be done for one of them", "snap repair packs 1a2b3c4d --dry-run"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "repair snapshots",
        paragraph: "Files that lost a part are marked and listed. The damaged snapshots go to the trash, \
            so `snap undelete` can bring them back.",
        examples: &[
            ("Replace all that lost data", "snap repair snapshots"),
            ("Show what they lost", "snap repair snapshots --dry-run"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "repair parity",
        paragraph: "Only parity files are written and removed; the packs themselves do not change.",
        examples: &[
            ("Write missing parity", "snap repair parity"),
            ("Show what is missing", "snap repair parity --dry-run"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "repair gc",
        paragraph: "Backups and garbage collections can then run again. What the abandoned one had not \
            deleted yet is kept.",
        examples: &[
            ("Abandon it", "snap repair gc"),
            ("Show what would be abandoned", "snap repair gc --dry-run"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "repair known",
        paragraph: "This machine records which repository is at which location, and which snapshots it \
            made there. If the repository no longer matches, commands refuse to run or warn, \
            until it matches again or this command accepts it.",
        examples: &[
            ("Show what would be accepted", "snap repair known --dry-run"),
            ("Accept it", "snap repair known"),
        ],
        groups: &[],
    },
];
