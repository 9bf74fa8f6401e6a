"""The data: made once, in an old and a new version, and kept."""

import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from peerlib.measure import run

SMALL_FILES = 200_000


@dataclass
class Set:
    name: str
    old: Path
    new: Path
    # Versions between these two, which are backed up and not timed.
    between: tuple = ()


def prepare(name, work):
    """Makes missing data."""
    return Set(name, *ALL[name](work))


def make(path, build):
    """Builds under another name, then renames: a final name is always complete."""
    if not path.exists():
        part = path.with_name(path.name + ".part")
        if part.is_dir():
            shutil.rmtree(part)
        build(part)
        part.rename(path)
    return path


def linux(work):
    """Two releases of Debian's kernel source: the two oldest that apt offers."""
    old, new = work / "linux-a", work / "linux-b"
    if not (old.exists() and new.exists()):
        lines = run("apt-cache", "madison", "linux-source-6.1").splitlines()
        versions = [line.split("|")[1].strip() for line in lines]
        upstream = {}
        for version in versions:
            upstream.setdefault(version.split("-")[0], version)
        newer, older = list(upstream.values())[-2:]
        make(old, lambda part: unpack(work, older, part))
        make(new, lambda part: unpack(work, newer, part))
    return old, new


def unpack(work, version, out):
    deb = work / "deb"
    deb.mkdir(exist_ok=True)
    run("apt-get", "download", f"linux-source-6.1={version}", cwd=deb)
    package = next(path for path in deb.iterdir() if version.replace(":", "%3a") in path.name)
    out.mkdir()
    run("sh", "-c", 'dpkg-deb --fsys-tarfile "$1" | tar -xO ./usr/src/linux-source-6.1.tar.xz '
        '| xz -dc -T0 | tar -x --strip-components=1 -C "$2"', "sh", package, out)


def sysroot(work):
    """The Rust tool chain; the new version is a copy with every fiftieth file longer and every two hundredth gone."""
    old = Path(run("rustc", "--print", "sysroot").strip())

    def change(part):
        run("cp", "-a", old, part)
        edit_files(part, every=50, gone=200)
    return old, make(work / "sysroot-b", change)


def edit_files(top, every, gone):
    files = sorted(path for path in top.rglob("*") if path.is_file() and not path.is_symlink())
    for number, path in enumerate(files):
        if number % gone == 0:
            path.unlink()
        elif number % every == 0:
            with open(path, "ab") as file:
                file.write(b"one more line\n")


def random_bytes(path, count):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        for _ in range(count >> 20):
            file.write(os.urandom(1 << 20))


def incompressible(work):
    """2 GB of incompressible data; the new version has an inserted mebibyte and a hundred overwritten places."""
    def old(part):
        random_bytes(part / "file", 2_000 << 20)

    def new(part):
        part.mkdir()
        with open(work / "random-a/file", "rb") as source, open(part / "file", "wb") as out:
            for number in range(2_000):
                out.write(source.read(1 << 20))
                if number == 700:
                    out.write(os.urandom(1 << 20))
            for place in range(100):
                out.seek(place * (20 << 20) + 12_345)
                out.write(os.urandom(4_096))
    return make(work / "random-a", old) / "file", make(work / "random-b", new) / "file"


def image(work):
    """An ext4 of /usr/lib as a file; the new version has had files added and removed by the kernel."""
    def old(part):
        part.mkdir()
        used = int(run("du", "-sb", "/usr/lib").split()[0])
        with open(part / "disk.img", "wb") as file:
            file.truncate(used * 13 // 10 + (256 << 20) & ~0xFFFFF)
        run("mkfs.ext4", "-q", "-F", "-d", "/usr/lib", part / "disk.img")

    def new(part):
        run("cp", "-a", "--sparse=always", work / "image-a", part)
        at = work / "mnt"
        at.mkdir(exist_ok=True)
        run("mount", "-o", "loop", part / "disk.img", at)
        try:
            edit_files(at, every=100, gone=300)
            run("cp", "-a", "/usr/include", at / "added")
        finally:
            run("umount", at)
    return make(work / "image-a", old) / "disk.img", make(work / "image-b", new) / "disk.img"


def small(work):
    """One directory of many small files; the new version: 2000 changed, 500 gone, 500 more."""
    def fill(part, numbers, salt):
        for number in numbers:
            draw = random.Random(f"{salt} {number}")
            words = (f"{draw.choice(('alpha', 'beta', 'gamma', 'delta'))} {draw.getrandbits(24)}\n"
                     for _ in range(draw.randrange(10, 200)))
            (part / f"file-{number:06}").write_text("".join(words))

    def old(part):
        part.mkdir()
        fill(part, range(SMALL_FILES), "old")

    def new(part):
        run("cp", "-a", work / "small-a", part)
        fill(part, range(0, SMALL_FILES, 100), "new")
        fill(part, range(SMALL_FILES, SMALL_FILES + 500), "new")
        for number in range(7, SMALL_FILES, SMALL_FILES // 500):
            (part / f"file-{number:06}").unlink()
    return make(work / "small-a", old), make(work / "small-b", new)


def row(number, change):
    draw = random.Random(f"{number} {change}")
    return (f"INSERT INTO orders VALUES ({number},{draw.randrange(100_000)},'{draw.randbytes(16).hex()}',"
            f"'{draw.choice(('open', 'paid', 'sent', 'done'))}',{draw.randrange(100_000) / 100:.2f},"
            f"'customer {draw.randrange(50_000)} of shop {draw.randrange(37)}');\n")


def write_dump(part, name, rows):
    part.mkdir()
    with open(part / name, "w", encoding="ascii") as file:
        file.writelines(rows)


def dump(work):
    """A database dump, 150 MB; in the new version one row in 1000 is changed, and 5000 are new."""
    count = 1_200_000
    old, new = work / "dump-a", work / "dump-b"
    if not (old.exists() and new.exists()):
        rows = [row(number, 0) for number in range(count)]
        make(old, lambda part: write_dump(part, "dump.sql", rows))
        for number in random.Random("dump").sample(range(count), count // 1000):
            rows[number] = row(number, 1)
        rows += [row(number, 0) for number in range(count, count + 5000)]
        make(new, lambda part: write_dump(part, "dump.sql", rows))
    return old, new


def series(work):
    """Thirty daily dumps of 18 MB with dated names, of which each changes one row in 200; a backup sees one of them."""
    count, days = 150_000, 30
    paths = [work / f"series-{day:02}" for day in range(1, days + 1)]
    if not all(path.exists() for path in paths):
        rows = [row(number, 0) for number in range(count)]
        for day, path in enumerate(paths, 1):
            make(path, lambda part: write_dump(part, f"dump-2026-11-{day:02}.sql", rows))
            for number in random.Random(day).sample(range(count), count // 200):
                rows[number] = row(number, day)
    return paths[0], paths[-1], tuple(paths[1:-1])


def mail(work):
    """A maildir of 20 000 mails; in the new version 2000 are seen, 1000 are filed elsewhere, 500 gone and 500 new."""
    def write(part, numbers):
        for number in numbers:
            draw = random.Random(f"mail {number}")
            lines = "".join(f"{draw.randbytes(27).hex()}\n" for _ in range(draw.randrange(10, 400)))
            (part / f"new/{1_700_000_000 + number}.M{number}.host").write_text(f"Subject: {number}\n\n{lines}")

    def old(part):
        for folder in ("new", "cur", ".Archive/cur"):
            (part / folder).mkdir(parents=True)
        write(part, range(20_000))

    def new(part):
        run("cp", "-a", work / "mail-a", part)
        for number, path in enumerate(sorted((part / "new").iterdir())):
            if number % 40 == 7:
                path.unlink()
            elif number % 20 == 3:
                path.rename(part / ".Archive/cur" / f"{path.name}:2,RS")
            elif number % 10 == 0:
                path.rename(part / "cur" / f"{path.name}:2,S")
        write(part, range(20_000, 20_500))
    return make(work / "mail-a", old), make(work / "mail-b", new)


def tarred(work, set_):
    """The old version as an uncompressed archive, to time its unpacking."""
    source = set_.old if set_.old.is_dir() else set_.old.parent
    return make(work / f"{set_.name}.tar", lambda part: run("tar", "-cf", part, "-C", source, "."))


ALL = {"linux": linux, "sysroot": sysroot, "random": incompressible, "image": image, "small": small, "dump": dump,
       "series": series, "mail": mail}
