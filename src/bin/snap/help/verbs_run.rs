//! Help of the verbs that set up and automate snap.

use super::VerbHelp;

pub(super) const VERBS: &[VerbHelp] = &[
    VerbHelp {
        name: "config",
        paragraph: "The configuration defines repositories and sets: what to back up, where to, how \
            often, and what to keep. With a configuration, no command needs flags.",
        examples: &[
            ("Write one to fill in", "snap config init"),
            ("Check it for errors", "snap config check"),
            ("Show the effective values", "snap config show"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "config init",
        paragraph: "Writes a configuration with comments. An existing file is not overwritten.",
        examples: &[
            ("Write it where snap looks for it", "snap config init"),
            ("Print it", "snap config init --output -"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "config check",
        paragraph: "Reports each error with line and column, and for an unknown key the most similar one \
            that exists.",
        examples: &[
            ("Check the configuration that would be used", "snap config check"),
            ("Check another file", "snap config check --config ./snap.toml"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "config show",
        paragraph: "The source of each value is a flag, a variable, a line of the file, or the default. \
            Secrets are not shown.",
        examples: &[("Show all", "snap config show"), ("Show one set", "snap config show --set home")],
        groups: &[],
    },
    VerbHelp {
        name: "config schema",
        paragraph: "Editors use the schema to check and complete TOML while you type.",
        examples: &[
            ("Print it", "snap config schema"),
            ("Save it for an editor", "snap config schema > snap.schema.json"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "config set",
        paragraph: "The setting is stored in the repository, and applies to every machine that writes to \
            it.",
        examples: &[
            ("Store parity of 5% from now on", "snap config set parity 5%"),
            ("Store no more parity", "snap config set parity 0"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "config test-notify",
        paragraph: "Sends a test notification to every receiver in the configuration, and shows which of \
            them accepted it.",
        examples: &[
            ("Test all receivers", "snap config test-notify"),
            ("Test the receivers of one set", "snap config test-notify --set home"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "schedule",
        paragraph: "The configuration contains the times for each set. Runs that were missed while the \
            machine was off are made up for once.",
        examples: &[
            ("Show what runs when", "snap schedule show"),
            ("Let systemd, launchd or cron run it", "snap schedule install"),
            ("Show what that would write", "snap schedule install --dry-run"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "schedule show",
        paragraph: "Lists the jobs of the configuration, and when each runs next.",
        examples: &[
            ("Show the next time of each job", "snap schedule show"),
            ("Show the next five times", "snap schedule show --count 5"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "schedule run",
        paragraph: "Runs the jobs that are due, and ends. A timer or cron should call it every few \
            minutes.",
        examples: &[
            ("Run what is due", "snap schedule run"),
            ("Use another configuration", "snap schedule run --config /etc/snap/other.toml"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "schedule install",
        paragraph: "Writes a systemd service and timer (on macOS a launchd job), or a line in the \
            crontab if there is no systemd, and enables them.",
        examples: &[
            ("Show what would be written and run", "snap schedule install --dry-run"),
            ("Install for this user", "snap schedule install --user"),
            ("Install in the crontab", "snap schedule install --cron"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "schedule remove",
        paragraph: "Removes what `snap schedule install` installed. Give it the same options.",
        examples: &[
            ("Remove it", "snap schedule remove"),
            ("Show what would be removed", "snap schedule remove --dry-run"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "daemon",
        paragraph: "Runs the schedule itself, without systemd or cron: for containers, and for machines \
            that have neither. It can also serve metrics for Prometheus.",
        examples: &[
            ("Run until it is stopped", "snap daemon"),
            ("Also serve metrics on a port", "snap daemon --metrics 9187"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "key",
        paragraph: "A repository can have several passwords, each in a key slot of its own; any of them \
            opens it. Changing or removing a password does not encrypt existing data again: \
            anybody who has a copy of the repository and an old password can still read what was \
            in it at that time. `key rotate` protects data that is written later.",
        examples: &[
            ("Add a password for another machine", "snap key add --label laptop"),
            ("List the slots", "snap key list"),
            ("Protect new data from removed passwords", "snap key rotate"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "key rotate",
        paragraph: "Data that is written from now on is encrypted with new keys. All existing passwords \
            open these, too, without being entered again; so first remove the passwords that \
            should not (`snap key remove`). Anybody who has an old key can still read older \
            data, until `snap gc --reseal` has encrypted it again and no copy of the old packs \
            is left. The other machines that use the repository continue as before; a command \
            that is running now may have to be started again.",
        examples: &[
            ("A laptop was stolen: remove its password", "snap key remove 1a2b3c4d"),
            ("Then encrypt new data with a new key", "snap key rotate"),
            ("Encrypt existing data again", "snap gc --reseal --max-repack 50G"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "key add",
        paragraph: "The existing passwords stay valid. The new one is asked for twice, read from a file, \
            or generated as 24 words for paper. A key file is a second factor: without it, its \
            password opens nothing. Any file of up to 1 MiB that never changes can be used \
            (`head -c 32 /dev/urandom > snap.key`); only its hash is used, and it is not stored. \
            With role read, a password restores, lists, mounts, checks, and copies to other \
            repositories, but writes nothing to this one; give its holder read-only credentials \
            of the storage. With role write, it makes backups and reads nothing back; see \
            docs/clients.md.",
        examples: &[
            ("Add one, typed twice", "snap key add --label laptop"),
            ("Print a recovery key of 24 words", "snap key add --recovery"),
            ("Add one for a client that may only make backups", "snap key add --role write --label web1"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "key list",
        paragraph: "Shows for each key slot when it was created, the cost of trying a password (memory x \
            passes), its role and its label, and marks the one in use.",
        examples: &[("List them", "snap key list"), ("Print JSON", "snap key list --json")],
        groups: &[],
    },
    VerbHelp {
        name: "key remove",
        paragraph: "The password of the removed slot no longer opens the repository. Anybody who has a \
            copy of the slot and its password still has the key: `snap key rotate` protects data \
            that is written later.",
        examples: &[
            ("Remove one by a prefix of its id", "snap key remove 1a2b3c4d"),
            ("Find the id first", "snap key list"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "key passwd",
        paragraph: "Replaces the password that opens the repository now. Other passwords are not \
            affected.",
        examples: &[
            ("Type the new password", "snap key passwd"),
            ("Read it from a file", "snap key passwd --new-password-file new.txt"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "key rehash",
        paragraph: "Replaces the key slot in use by one with the same password and another cost: more \
            memory or passes make each guess more expensive, but also each use. The default is \
            64 MiB and 3 passes of Argon2id. A copy of the old slot can still be attacked at the \
            old cost.",
        examples: &[
            ("Raise an old slot to the current default", "snap key rehash"),
            ("Make a guess eight times as expensive", "snap key rehash --kdf-memory 512M"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "completions",
        paragraph: "Prints a script with which the Tab key completes commands and options.",
        examples: &[
            ("Install for bash", "snap completions bash > ~/.local/share/bash-completion/completions/snap"),
            ("Install for fish", "snap completions fish > ~/.config/fish/completions/snap.fish"),
        ],
        groups: &[],
    },
    VerbHelp {
        name: "man",
        paragraph: "Writes a manual page for snap, for each of its commands (snap.1, snap-backup.1 and \
            so on) and for its configuration (snap.toml.5). If DIR is named man1, pages of \
            section 5 go to the directory man5 next to it, where man looks for them.",
        examples: &[
            ("Write them where man finds them", "snap man ~/.local/share/man/man1"),
            ("Write them to the directory of a package", "snap man debian/tmp/man"),
        ],
        groups: &[],
    },
];
