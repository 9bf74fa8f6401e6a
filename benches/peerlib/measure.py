"""Timing commands, and the file systems they run on."""

import os
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

GIB = 1 << 30
LOOP_BYTES = 24 * GIB


def run(*command, **more):
    """Runs a command that has to succeed; returns its output."""
    more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more}
    done = subprocess.run([str(part) for part in command], check=False, **more)
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, f"{command}\n{done.stderr}")
    return done.stdout


def clean_up(work):
    """Unmounts what an interrupted run left."""
    for name in ("src", "fs"):
        while os.path.ismount(work / name):
            run("umount", work / name)


@contextmanager
def scratch(work, kind):
    """A new file system."""
    at, image = work / "fs", work / "fs.img"
    at.mkdir(exist_ok=True)
    if kind == "tmpfs":
        run("mount", "-t", "tmpfs", "-o", "size=90%", "tmpfs", at)
    else:
        with open(image, "w") as file:
            file.truncate(LOOP_BYTES)
        # With a journal, as every ext4 in use has. Inode tables are not zeroed in the background meanwhile.
        run("mkfs.ext4", "-q", "-F", "-O", "has_journal", "-E", "lazy_itable_init=1", image)
        run("mount", "-o", "loop,noinit_itable", image, at)
    try:
        yield at
    finally:
        run("umount", at)
        image.unlink(missing_ok=True)


class Place:
    """One path that shows one source after the other, so that both are the same source to every program."""

    def __init__(self, path):
        self.path = path

    def show(self, source):
        self.hide()
        # Of a single file: the directory that holds nothing else.
        run("mount", "--bind", source if source.is_dir() else source.parent, self.path)

    def hide(self):
        # os.path.ismount sees no bind mount within one file system.
        while f" {self.path} " in Path("/proc/self/mounts").read_text():
            run("umount", self.path)


@contextmanager
def mounted(path):
    path.mkdir(exist_ok=True)
    place = Place(path)
    try:
        yield place
    finally:
        place.hide()


def warm(path):
    """Reads everything once."""
    if path.is_file():
        return _read(path)
    for top, _, names in os.walk(path):
        for name in names:
            file = Path(top, name)
            if file.is_file() and not file.is_symlink():
                _read(file)


def _read(path):
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 20):
            pass


def timed(commands, env):
    """Wall and CPU seconds and peak RSS of commands one after the other, their children counted."""
    wall = cpu = 0.0
    rss = 0
    # No program pays for dirty pages of the previous one.
    os.sync()
    for command in commands:
        cwd = None
        if isinstance(command, tuple):
            cwd, command = command
        began = time.monotonic()
        child = subprocess.Popen([str(part) for part in command], env=env, cwd=cwd, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        said = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall += time.monotonic() - began
        cpu += usage.ru_utime + usage.ru_stime
        rss = max(rss, usage.ru_maxrss * 1024)
        if child.returncode != 0:
            text = said.decode(errors="replace")[-600:]
            raise subprocess.CalledProcessError(child.returncode, f"{command}\n{text}")
    return {"wall": wall, "cpu": cpu, "rss": rss}


def size(path):
    """Bytes of all files below."""
    total = 0
    for top, _, names in os.walk(path):
        total += sum(os.lstat(os.path.join(top, name)).st_size for name in names)
    return total


def differences(source, restored):
    """What rsync would change to make the restored tree equal to the source."""
    if source.is_file():
        source = source.parent
    said = run("rsync", "-aHn", "--delete", "--checksum", "-i", f"{source}/", f"{restored}/")
    return [line for line in said.splitlines() if line]
