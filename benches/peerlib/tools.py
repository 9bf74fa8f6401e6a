"""The programs: how each backs up, restores and forgets.

Every operation gives the commands to time, or nothing where the program has no such thing. All are used as their
manuals say; those that encrypt do, and those that let one choose compress with zstd at level 3 or their default.
A command that has to run in some directory is a pair: the directory and the command. An unchanged backup is a new
snapshot to most of them: what is forgotten is all but the last, so that the older version's own data can go.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from peerlib.measure import run

PASSWORD = "peers"


class Tool:
    name = ""
    encrypts = True

    def __init__(self, program):
        self.program = program

    def begin(self, scratch, source):
        """Creates an empty repository on a new file system, which also has the caches."""
        self.scratch, self.source = scratch, source
        self.repo, home = scratch / "repo", scratch / "home"
        home.mkdir()
        kept = {key: value for key, value in os.environ.items() if key in ("PATH", "LANG", "LC_ALL", "TERM")}
        self.env = {**kept, "HOME": str(home), **self.settings()}
        self.init()

    def settings(self):
        return {}

    def run(self, *args):
        return run(self.program, *args, env=self.env)

    def version(self):
        said = re.search(r"\d+(\.\d+)+(b\d+)?", run(self.program, "--version", stderr=subprocess.STDOUT))
        return f"{self.name} {said.group() if said else '?'}"

    def restored(self, out):
        """Where in a restore's target the source's content lies."""
        return out / self.source.relative_to("/")

    def check(self):
        return []

    def forget(self):
        return []


class Snap(Tool):
    name = "snap"

    def settings(self):
        return {"SNAP_REPO": str(self.repo), "SNAP_PASSWORD": PASSWORD}

    def init(self):
        self.run("init")

    def first(self):
        return [[self.program, "backup", self.source]]

    unchanged = changed = first

    def list(self):
        return [[self.program, "snapshots"]]

    def check(self):
        return [[self.program, "check", "--read-data"]]

    def restore_old(self, point, out):
        which = self.snapshots()[-1 if point else 0]
        return [[self.program, "restore", which, "--target", out]]

    restore_new = restore_old

    def forget(self):
        return [[self.program, "forget", *self.snapshots()[:-1]], [self.program, "gc", "--empty-trash"]]

    def snapshots(self):
        return [one["id"] for one in json.loads(self.run("snapshots", "--json"))]


class Restic(Tool):
    name = "restic"

    def version(self):
        return "restic " + run(self.program, "version").split()[1]

    def settings(self):
        return {"RESTIC_REPOSITORY": str(self.repo), "RESTIC_PASSWORD": PASSWORD}

    def init(self):
        self.run("init")

    def first(self):
        return [[self.program, "backup", self.source]]

    unchanged = changed = first

    def list(self):
        return [[self.program, "snapshots"]]

    def check(self):
        return [[self.program, "check", "--read-data"]]

    def restore_old(self, point, out):
        return [[self.program, "restore", self.snapshots()[-1 if point else 0], "--target", out]]

    restore_new = restore_old

    def forget(self):
        return [[self.program, "forget", *self.snapshots()[:-1], "--prune"]]

    def snapshots(self):
        found = sorted(json.loads(self.run("snapshots", "--json")), key=lambda one: one["time"])
        return [one["id"] for one in found]


class Rustic(Restic):
    name = "rustic"
    version = Tool.version

    def settings(self):
        return {"RUSTIC_REPOSITORY": str(self.repo), "RUSTIC_PASSWORD": PASSWORD, "RUSTIC_NO_PROGRESS": "true"}

    def restored(self, out):
        return out

    def restore_old(self, point, out):
        return [[self.program, "restore", f"{self.snapshots()[-1 if point else 0]}:{self.source}", out]]

    restore_new = restore_old

    def forget(self):
        return [[self.program, "forget", *self.snapshots()[:-1], "--prune", "--instant-delete"]]

    def snapshots(self):
        groups = json.loads(self.run("snapshots", "--json"))
        found = [one for group in groups for one in (group["snapshots"] if "snapshots" in group else group[1])]
        return [one["id"] for one in sorted(found, key=lambda one: one["time"])]


class Borg(Tool):
    name = "borg"

    def settings(self):
        return {"BORG_REPO": str(self.repo), "BORG_PASSPHRASE": PASSWORD}

    def init(self):
        self.run("init", "--encryption", "repokey-blake2")
        self.made = 0

    def first(self):
        self.made += 1
        return [[self.program, "create", "--compression", "zstd,3", f"::{self.made}", self.source]]

    unchanged = changed = first

    def list(self):
        return [[self.program, "list"]]

    def check(self):
        return [[self.program, "check", "--verify-data"]]

    def restore_old(self, point, out):
        return [(out, [self.program, "extract", f"::{self.made if point else 1}"])]

    restore_new = restore_old

    def forget(self):
        return [[self.program, "delete", f"::{number}"] for number in range(1, self.made)] + [[self.program, "compact"]]


class Borg2(Borg):
    """The beta, if its program is found as `borg2`. Only archives of one name share what it knows of unchanged files."""
    name = "borg2"

    def init(self):
        self.run("repo-create", "--encryption", "aes256-ocb")

    def first(self):
        return [[self.program, "create", "--compression", "zstd,3", "peers", self.source]]

    unchanged = changed = first

    def list(self):
        return [[self.program, "repo-list"]]

    def restore_old(self, point, out):
        return [(out, [self.program, "extract", self.archives()[-1 if point else 0]])]

    restore_new = restore_old

    def forget(self):
        return [[self.program, "delete", archive] for archive in self.archives()[:-1]] + [[self.program, "compact"]]

    def archives(self):
        """Oldest first."""
        found = json.loads(self.run("repo-list", "--json"))["archives"]
        return [f"aid:{one['id']}" for one in sorted(found, key=lambda one: one["time"])]


class Bupstash(Tool):
    name = "bupstash"

    def settings(self):
        return {"BUPSTASH_REPOSITORY": str(self.repo), "BUPSTASH_KEY": str(self.scratch / "key")}

    def init(self):
        self.run("new-key", "-o", self.scratch / "key")
        self.run("init")

    def first(self):
        return [[self.program, "put", "--compression", "zstd:3", self.source]]

    unchanged = changed = first

    def list(self):
        return [[self.program, "list"]]

    def restored(self, out):
        return out

    def restore_old(self, point, out):
        return [[self.program, "restore", "--into", out, f"id={self.items()[-1 if point else 0]}"]]

    restore_new = restore_old

    def forget(self):
        return [[self.program, "rm", f"id={item}"] for item in self.items()[:-1]] + [[self.program, "gc"]]

    def items(self):
        said = self.run("list", "--format", "jsonl1")
        found = sorted((json.loads(line) for line in said.splitlines()), key=lambda one: one["unix_timestamp_millis"])
        return [one["id"] for one in found]


class Conserve(Tool):
    name = "conserve"
    encrypts = False

    def init(self):
        self.run("init", self.repo)
        self.made = 0

    def first(self):
        self.made += 1
        return [[self.program, "backup", "--no-progress", self.repo, self.source]]

    unchanged = changed = first

    def list(self):
        return [[self.program, "versions", self.repo]]

    def check(self):
        return [[self.program, "validate", "--no-progress", self.repo]]

    def restored(self, out):
        return out

    def restore_old(self, point, out):
        band = f"b{self.made - 1 if point else 0:04}"
        # Required even though the target is empty.
        return [[self.program, "restore", "--no-progress", "--force-overwrite", "-b", band, self.repo, out]]

    restore_new = restore_old

    def forget(self):
        bands = [word for number in range(self.made - 1) for word in ("-b", f"b{number:04}")]
        return [[self.program, "delete", "--no-progress", *bands, self.repo]]


class Tar(Tool):
    """tar.gz with GNU tar's snapshot file, as the legacy backup script does."""
    name = "tar"
    encrypts = False

    def init(self):
        self.repo.mkdir()
        self.made = 0

    def first(self):
        self.made += 1
        out = self.repo / f"{self.made}.tar.gz"
        return [(self.source, [self.program, "-c", "-z", "-f", out, "-g", self.repo / "seen", "."])]

    unchanged = changed = first

    def list(self):
        return [[self.program, "-t", "-f", self.repo / "1.tar.gz"]]

    def check(self):
        return [["gzip", "-t", *sorted(self.repo.glob("*.tar.gz"))]]

    def restored(self, out):
        return out

    def restore_old(self, point, out):
        last = self.made if point else 1
        return [[self.program, "-x", "-f", self.repo / f"{number + 1}.tar.gz", "-g", "/dev/null", "-C", out]
                for number in range(last)]

    restore_new = restore_old


class Copy(Tool):
    """A copy and a copy back: no backup, but the cost of the file system."""
    name = "cp"
    encrypts = False

    def init(self):
        self.repo.mkdir()

    def first(self):
        return [[self.program, "-a", f"{self.source}/.", self.repo]]

    def unchanged(self):
        return []

    changed = list = unchanged

    def restored(self, out):
        return out

    def restore_old(self, point, out):
        return [[self.program, "-a", f"{self.repo}/.", out]] if point == 0 else []

    restore_new = restore_old


ALL = {tool.name: tool for tool in (Snap, Restic, Rustic, Borg, Borg2, Bupstash, Conserve, Tar, Copy)}


def find(name, snap):
    """The program of that name, if it is installed."""
    program = snap if name == "snap" else shutil.which(name)
    if program is None or not Path(program).exists():
        return None
    return ALL[name](str(program))
