//! Help of the verbs that set up and automate snap.

use super::VerbHelp;

pub(super) const VERBS: &[VerbHelp] = &[
    VerbHelp {
        name: "config",
        paragraph: "The configuration names repositories and sets: what is saved, where to, how often, and what is kept. With it no verb needs \
            a flag.",
        examples: &[
            ("Write a first one, to be filled in", "snap config init"),
            ("See whether it is right", "snap config check"),
            ("See what holds, and why", "snap config show"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "config init",
        paragraph: "Writes a configuration with comments. Nothing is overwritten.",
        examples: &[
            ("Where snap looks for it", "snap config init"),
            ("To look at it first", "snap config init --output -"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "config check",
        paragraph: "Reads the configuration and says what is wrong with it, with line, column and the nearest key that exists.",
        examples: &[
            ("The configuration that would be used", "snap config check"),
            ("Another one", "snap config check --config ./snap.toml"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "config show",
        paragraph: "Prints every value that holds and where it comes from: a flag, a variable, a line of the file, or the default. Secrets are \
            not shown.",
        examples: &[("All of it", "snap config show"), ("One set", "snap config show --set home")],
        groups: &[],
    },
    VerbHelp {
        name: "config schema",
        paragraph: "Prints the JSON schema of the configuration, for editors that check and complete TOML while one types.",
        examples: &[
            ("Print it", "snap config schema"),
            ("Save it for an editor", "snap config schema > snap.schema.json"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "config set",
        paragraph: "Changes a setting that lies in the repository itself, so that it holds for every machine that writes there.",
        examples: &[
            ("Keep parity of five percent from now on", "snap config set parity 5%"),
            ("Keep none", "snap config set parity 0"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "config test-notify",
        paragraph: "Sends a test message to every receiver of notifications, and says which of them answered.",
        examples: &[
            ("All of them", "snap config test-notify"),
            ("Those of one set", "snap config test-notify --set home"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "schedule",
        paragraph: "The times of the sets in the configuration. What was missed while the machine was off is made up for once.",
        examples: &[
            ("See what runs when", "snap schedule show"),
            ("Have systemd, launchd or cron run it", "snap schedule install"),
            ("See what that would write", "snap schedule install --dry-run"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "schedule show",
        paragraph: "Lists the jobs of the configuration with the times at which they run next.",
        examples: &[
            ("The next time of each", "snap schedule show"),
            ("The next five", "snap schedule show --count 5"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "schedule run",
        paragraph: "Runs what is due and ends: for a timer or cron that calls it every few minutes.",
        examples: &[
            ("Run what is due", "snap schedule run"),
            ("With another configuration", "snap schedule run --config /etc/snap/other.toml"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "schedule install",
        paragraph: "Writes a systemd service and timer (macOS: a job of launchd), or a line in the crontab where there is no systemd, and \
            enables them.",
        examples: &[
            ("See what would be written and run", "snap schedule install --dry-run"),
            ("For this user", "snap schedule install --user"),
            ("In the crontab", "snap schedule install --cron"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "schedule remove",
        paragraph: "Takes away what `snap schedule install` wrote, with the same options as it was called with.",
        examples: &[
            ("Take it away", "snap schedule remove"),
            ("See what would be removed", "snap schedule remove --dry-run"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "daemon",
        paragraph: "Keeps the schedule itself, in the foreground: for containers, and for machines without systemd and cron. It can answer \
            Prometheus meanwhile.",
        examples: &[
            ("Run until it is stopped", "snap daemon"),
            ("With metrics at a port", "snap daemon --metrics 9187"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "key",
        paragraph: "A repository may have several passwords, each in a key slot of its own; any of them opens it. Changing or removing a \
            password does not encrypt anything anew: who had the repository and an old password can still read what was in it then. `key \
            rotate` shuts them out of what is written from then on.",
        examples: &[
            ("Add a password for another machine", "snap key add --label laptop"),
            ("List the slots", "snap key list"),
            ("Shut out who had a removed one", "snap key rotate"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "key rotate",
        paragraph: "Begins a new epoch of the repository's key: what is written from then on is sealed with new keys. All passwords that are valid \
            now open these, too, without being asked for; remove those that shall not before (`snap key remove`). Whoever kept an old key \
            still reads what was written before, until `snap gc --reseal` has sealed it again and the old packs are gone from everywhere. Each \
            machine that uses the repository goes on as before; a run that is under way may have to be started again.",
        examples: &[
            ("A laptop was stolen: remove its password", "snap key remove 1a2b3c4d"),
            ("Then begin a new epoch", "snap key rotate"),
            ("Seal again what older epochs sealed", "snap gc --reseal --max-repack 50G"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "key add",
        paragraph: "Adds a password beside the one that opens the repository now. It is asked for twice, or read from a file; or it is made \
            of 24 words to be put away on paper. A key file is a second factor: from then on that password opens nothing without it. Any file \
            of up to a mebibyte that never changes is good (`head -c 32 /dev/urandom > snap.key`); it is hashed and not stored. A password of \
            role read restores, lists, mounts, checks and copies to other repositories, and writes nothing to this one; give whoever has it \
            credentials of the storage that only read. A password of role write makes backups, and reads nothing back; docs/clients.md.",
        examples: &[
            ("Type it", "snap key add --label laptop"),
            ("Print a recovery key of 24 words", "snap key add --recovery"),
            (
                "For a client: it makes backups and reads nothing back",
                "snap key add --role write --label web1",
            ),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "key list",
        paragraph: "Lists the key slots with when they were made, what a try of the password costs (memory x passes), their roles and their labels, and marks the one in use.",
        examples: &[("List them", "snap key list"), ("For a program", "snap key list --json")],
        groups: &[],
    },
    VerbHelp {
        name: "key remove",
        paragraph: "Removes a key slot, so that its password no longer opens the repository. The one in use stays. Who kept a copy of the slot \
            and its password has the key all the same: `snap key rotate` shuts them out of what is written from then on.",
        examples: &[
            ("Remove one by the beginning of its id", "snap key remove 1a2b3c4d"),
            ("Find the id first", "snap key list"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "key passwd",
        paragraph: "Replaces the password that opens the repository now by another one. Other passwords stay as they are.",
        examples: &[
            ("Type the new one", "snap key passwd"),
            ("Read it from a file", "snap key passwd --new-password-file new.txt"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "key rehash",
        paragraph: "Writes the key slot in use anew, with the same password at other costs: more memory or passes make each guess \
            dearer, also for you. Argon2id takes 64 MiB and 3 passes by default; a copy of the old slot can still be tried at its old costs.",
        examples: &[
            ("Raise an old slot to what is the default now", "snap key rehash"),
            ("Make a guess eight times as dear", "snap key rehash --kdf-memory 512M"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "completions",
        paragraph: "Prints a script that lets the Tab key complete verbs and options.",
        examples: &[
            ("For this bash", "snap completions bash > ~/.local/share/bash-completion/completions/snap"),
            ("For fish", "snap completions fish > ~/.config/fish/completions/snap.fish"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "man",
        paragraph: "Writes a manual page for snap, for each of its verbs (snap.1, snap-backup.1 and so on) and for its configuration (snap.toml.5). Pages of section 5 go into the directory man5 beside DIR if DIR is called man1, as man looks for them there.",
        examples: &[
            ("Where man finds them", "snap man ~/.local/share/man/man1"),
            ("In a directory of a package", "snap man debian/tmp/man"),
        ],
        groups: &[],
    },
];
