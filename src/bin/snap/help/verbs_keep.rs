//! Help of the verbs that maintain a repository.

use super::VerbHelp;
use super::verbs_read::WHICH;

const STAYS: &[&str] = &[
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
pub(super) const PATHS: &[&str] = &["expire", "keep-deleted"];

pub(super) const VERBS: &[VerbHelp] = &[
    VerbHelp {
        name: "forget",
        paragraph: "Moves snapshots to the trash: those that are named, or all that no --keep rule keeps. For a day `snap undelete` brings \
            them back; `snap gc` then frees the space. No snapshot needs another one, whatever goes. The newest snapshot of each host \
            and its sources always stays, unless --allow-remove-all is given with its name.",
        examples: &[
            ("See what rules would keep", "snap forget --keep-daily 7 --keep-weekly 5 --dry-run"),
            ("Forget one snapshot", "snap forget 1a2b3c4d"),
            ("Forget by rules, and free the space", "snap forget --keep-daily 7 --keep-monthly 12 --prune"),
        ],
        groups: &[
            ("What to forget", &["set", "allow-remove-all", "force", "group-by"]),
            ("How", &["prune", "dry-run"]),
            ("What stays", STAYS),
            ("Which snapshots", WHICH),
        ],
    },
    VerbHelp {
        name: "cleanup",
        paragraph: "Does what `snap forget` and then `snap gc` do, by the rules that are given or by those of the sets in the configuration; \
            in between it takes out of old snapshots what rules per path say, as `snap rewrite --expire` does.",
        examples: &[
            ("By the rules of the configuration", "snap cleanup"),
            (
                "By rules given here, first only to see",
                "snap cleanup --keep-daily 7 --keep-monthly 12 --dry-run",
            ),
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
            ("What stays", STAYS),
            ("Rules per path", PATHS),
            ("Which snapshots", WHICH),
        ],
    },
    VerbHelp {
        name: "alarm",
        paragraph: "A backup that is unlike those before it gives an alarm, and exit code 24: many files rewritten or gone, files that came \
            to look encrypted or have a new ending, a set that grew beyond measure, or one that always changed and does not. Until somebody \
            settles the alarm no rule forgets it, nor anything older of the same sources. Without a verb, open alarms are listed.",
        examples: &[
            ("See what is unusual", "snap alarm"),
            ("The change was meant", "snap alarm accept"),
            ("The harm was real, and is repaired", "snap alarm clear 1a2b3c4d"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "heal",
        paragraph: "A file whose bytes changed although its size and times are those of the last backup has rotted on its disk: `snap backup --full` \
            and `snap backup --reread` find that, and give an alarm. This puts back the bytes and the metadata that an older snapshot has. \
            The bad version stays beside it as NAME.corrupt-TIME. A file that was changed since is left alone. Without PATH, the files \
            are listed that were found and are not healed yet (exit code 24).",
        examples: &[
            ("List files with bit rot", "snap heal"),
            ("Put good bytes back", "snap heal ~/photos/2019/dune.jpg"),
            ("When all are healed, settle the alarm", "snap alarm clear"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "alarm accept",
        paragraph: "Settles alarms of changes that were meant: from then on they belong to the past that backups are compared with.",
        examples: &[
            ("The only open one", "snap alarm accept"),
            ("One by the beginning of its id", "snap alarm accept 1a2b3c4d"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "alarm clear",
        paragraph: "Settles alarms of harm that is repaired: the snapshot is no measure for others, and the next backup, which finds the \
            repaired files, gives no alarm.",
        examples: &[
            ("The only open one", "snap alarm clear"),
            ("One by the beginning of its id", "snap alarm clear 1a2b3c4d"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "audit",
        paragraph: "Lists who forgot, rewrote, purged or brought back snapshots, changed passwords or settings, or settled alarms: when, \
            from which host, and by which command. Each record is written before the act and stays in the repository for a year. With a receipt of an \
            earlier backup it says instead whether the repository is older than that one: exit code 20 if it is.",
        examples: &[
            ("All of the last year", "snap audit"),
            ("The last week", "snap audit --since 7d"),
            ("Is it as new as it was?", "snap audit --receipt receipt.json"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "undelete",
        paragraph: "Brings forgotten snapshots back out of the trash, as long as no `snap gc` has purged them; that is a day at least.",
        examples: &[
            ("List what can be brought back", "snap undelete"),
            ("Bring one back", "snap undelete 1a2b3c4d"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "gc",
        paragraph: "Garbage collection: deletes what no snapshot needs any more, and packs anew what is left of packs that are mostly unused. \
            Backups, restores and other machines may go on meanwhile. --delta brings over what was backed up without deltas: each \
            version of a file or directory is compared with the one in the snapshot before it, and stored as what changed. A run does as much \
            as --max-repack allows, and says what is left to the next; if it is cut short, nothing is lost.",
        examples: &[
            ("Free what can be freed", "snap gc"),
            ("Free forgotten snapshots at once, too", "snap gc --empty-trash"),
            ("Store older versions as deltas, a share at a time", "snap gc --delta --max-repack 50G"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "status",
        paragraph: "Says for each set how old the last good backup is, what failed and why, when it runs next, and for how long the disk lasts. \
            It needs no password; with one it also knows what other machines saved. Exit code 23 means that a set is older than it may be.",
        examples: &[
            ("Look at all sets", "snap status"),
            ("For a monitor: is the last backup younger than a day", "snap status --max-age 26h --quiet"),
            ("Write metrics for Prometheus", "snap status --prometheus /var/lib/node_exporter/snap.prom"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "check",
        paragraph: "Verifies that the repository is whole: all that snapshots need is there and, with --read-data, every byte is as it was \
            written. Damage is exit code 20, with the snapshots and paths that are touched; `snap repair` saves the rest.",
        examples: &[
            ("Check the structure", "snap check"),
            ("Read every byte", "snap check --read-data"),
            ("Read a tenth of the data", "snap check --read-data-subset 10%"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "drill",
        paragraph: "A fire drill: restores a sample of files to a scratch directory, compares them with what is stored and with the sources, and \
            removes them again. The sample is another one each time. With --run, whole snapshots are restored, and a command says whether \
            they are good: a database that starts, a list of checksums. It runs in the restored directory, SNAP_DRILL_DIR; if it fails, \
            so does the drill (exit code 25).",
        examples: &[
            ("Try a sample of the newest snapshots", "snap drill"),
            ("A larger one", "snap drill --files 1000 --bytes 1G --time 30m"),
            ("Let a script try what was restored", "snap drill --path /srv --run ./srv/verify.sh"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "repair",
        paragraph: "Saves what can be saved after damage. The order that helps is: `repair packs`, then `repair snapshots`, then `snap check`. \
            Where there is a second copy or parity, what was lost comes from there. Nothing is deleted that could still be of use.",
        examples: &[
            ("Write what can be read of damaged packs into new ones", "snap repair packs"),
            ("Then replace snapshots that lost something", "snap repair snapshots"),
            ("See first what would be done", "snap repair packs --dry-run"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "repair index",
        paragraph: "Makes this machine's index cache again from the packs. The cache is disposable: nothing in the repository changes.",
        examples: &[
            ("Make it again", "snap repair index"),
            ("See what is wrong with it", "snap repair index --dry-run"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "repair packs",
        paragraph: "Reads damaged packs, takes what is lost from parity or from other copies where it can, writes the rest into new packs, and \
            moves the damaged ones aside.",
        examples: &[
            ("All that are known to be damaged", "snap repair packs"),
            ("One of them, first only to see", "snap repair packs 1a2b3c4d --dry-run"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "repair snapshots",
        paragraph: "Replaces snapshots that lost something by what is left of them. Files that lost a part are marked as such and named; the \
            damaged snapshots go to the trash.",
        examples: &[
            ("All that lost something", "snap repair snapshots"),
            ("See first what they lost", "snap repair snapshots --dry-run"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "repair parity",
        paragraph: "Writes the parity that packs lack or that is damaged, and removes that of packs that are gone. Packs themselves stay as they \
            are.",
        examples: &[
            ("Write what is lacking", "snap repair parity"),
            ("See what is lacking", "snap repair parity --dry-run"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "repair gc",
        paragraph: "Gives up a garbage collection whose record cannot be read, so that another one can run. What it did not delete yet stays.",
        examples: &[
            ("Give it up", "snap repair gc"),
            ("See what would be given up", "snap repair gc --dry-run"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "repair known",
        paragraph: "Accepts the repository as it is now. This machine knows which repository lies where, and which snapshots it made there: where that does not fit any more, commands refuse or warn until it does again, or until this is run.",
        examples: &[
            ("See what would be accepted", "snap repair known --dry-run"),
            ("Accept it", "snap repair known"),
        ],
        groups: &[],
    },
];
