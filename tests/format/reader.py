#!/usr/bin/env python3
"""A reader of snap repositories, written from docs/format.md without a look at snap's code.

It keeps that text honest: what it says must be enough to read a repository. So mend the text first,
then this program after it, and never this program after the code in src/.

  reader.py REPO snapshots         one line for each manifest, newest last
  reader.py REPO ls [ID]           kind, mode, size, SHA-256 or target, path; tab-separated
  reader.py REPO check             verifies every object, pack, block, chunk, sidecar and tree

The password is that of the environment's SNAP_PASSWORD. Everything that is read is verified. Needs
the modules zstandard, cryptography and argon2-cffi.
"""
import argparse
import hashlib
import os
import re
import struct
import sys
from collections import Counter

import zstandard

from keys import VERSION, Epoch, Keys, Session, hmac256, hpke_open, is_signed, open_slot, sha256, unseal, unsign
from parity import Field, check_sidecar
from postcard import Bad, Postcard, need, tags

DATA, TREE = 1, 2
KINDS = ["file", "file", "dir", "symlink", "fifo", "socket", "char", "block"]


# --------------------------------------------------------------------------- Configuration


def parse_config(raw):
    """The body, unchecked."""
    need(len(raw) >= 76 and raw[:6] == b"SNAPCF", "not a configuration")
    (length,) = struct.unpack_from("<I", raw, 8)
    need(len(raw) == 12 + length + 64, "a configuration of another length")
    p = Postcard(raw[12 : 12 + length])
    config = {"repo": p.id16(), "generation": p.u32(), "created": p.time()}
    config.update(incompat=p.u64(), ro_compat=p.u64())
    config.update(cipher=p.variant(2), open_master=p.option(p.id32))
    config.update(min=p.u32(), avg=p.u32(), max=p.u32(), mask_s=p.u64(), mask_l=p.u64())
    config.update(block_target=p.u32(), data_pack=p.u32(), tree_pack=p.u32())
    config.update(level=p.signed(32), undelete_window=p.u64(), stale_after=p.u64())
    config.update(epoch=p.u32(), handovers=p.list(p.u32, p.id32, p.bytes))
    config["slots"] = p.list(p.id32, p.u8, p.id32, p.bytes)
    config["extra"] = p.extra()
    p.end()
    return config


# --------------------------------------------------------------------------- Small objects


def small_object(cipher, keys, repo, raw, name):
    """Magic, body, and what follows."""
    need(len(raw) >= 64, "an object too short")
    version, its_cipher, way, length, epoch = struct.unpack_from("<HBB2xII", raw, 6)
    need(version <= VERSION, "an object of a newer format")
    need(version == VERSION and its_cipher == cipher, "an object of another version or cipher")
    need(way < 2, "an object of a newer program")
    need(raw[10:12] == bytes(2) and raw[20:24] == bytes(4), "reserved bytes that are not zero")
    start = 24 + 144 * way
    end = start + 40 + length
    need(len(raw) >= end, "an object cut short")
    magic, aad, number, epoch = raw[:6], raw[:start] + repo + name.encode(), epoch, keys.epoch(epoch)
    need(way == 0 or magic in (b"SNAPMF", b"SNAPAU"), "keys of a session in an object that has none")
    of = Session(keys, repo, number, raw[24:start]) if way else epoch
    key = of.meta if magic in (b"SNAPMF", b"SNAPAU") else epoch.shared
    body = unseal(cipher, key, aad, raw[start:end])
    if way == 0 and magic in (b"SNAPMF", b"SNAPAU", b"SNAPGC", b"SNAPGD", b"SNAPIX"):
        body = unsign(cipher, epoch, aad, body)
    need(len(raw) == end or magic == b"SNAPIX", "bytes behind an object")
    return magic, Postcard(body), raw[end:]


COUNTS = "new changed unchanged removed directories others bytes read added stored errors".split()


def parse_manifest(p):
    m = {"kind": p.variant(3), "parent": p.option(p.id16), "based_on": p.option(p.id16)}
    m.update(started=p.time(), ended=p.time(), host=p.string(), user=p.string())
    m.update(sources=p.list(p.bytes), tags=p.list(p.string), root=p.id32())
    m["counts"] = {name: p.u64() for name in COUNTS}
    m.update(partial=p.bool(), program=p.string())
    extra = tags(p.extra(), {1, 3})
    p.end()
    need(extra.get(1, b"") == b"", "a pin with bytes")
    if 3 in extra:
        need(extra[3][:1] in (b"\1", b"\2", b"\3"), "an alarm of an unknown state")
        extra[3].decode("utf-8")
    return m


def parse_body(magic, p):
    """The other small objects: their fields in order."""
    if magic == b"SNAPMF":
        return parse_manifest(p)
    fields = {
        b"SNAPFN": [p.id16, p.u64, p.time],
        b"SNAPSE": [lambda: p.variant(3), p.string, p.string, p.u32, p.time],
        b"SNAPBT": [p.u64, p.u64],
        b"SNAPSN": [p.u64, p.time],
        b"SNAPGC": [
            p.id16,
            p.time,
            lambda: p.list(p.id32),
            lambda: p.list(p.id16),
            lambda: p.list(p.id16, p.id16),
        ],
        b"SNAPGD": [],
        b"SNAPDM": [lambda: p.variant(2), p.id32, p.id16, p.time, p.string],
        b"SNAPAU": [p.u32, p.time, p.string, p.string, p.string, p.string]
        + [lambda: p.list(p.id16), p.string, p.extra],
        b"SNAPIX": [lambda: p.list(p.id32, p.u64, p.u32)],
    }
    need(magic in fields, f"unknown magic {magic}")
    body = [read() for read in fields[magic]]
    p.end()
    return body


# --------------------------------------------------------------------------- Packs


class Row:
    """A block: where it is, and what is in it."""

    def __init__(self, p):
        self.stored, self.plain, self.codec = p.u32(), p.u32(), p.u8()
        need(self.codec < 3, "an unknown codec")
        self.chunks = p.list(p.id32, p.u32)
        need(self.chunks and all(n for _, n in self.chunks), "a block or chunk of nothing")
        self.bases = p.list(lambda: p.take(8), lambda: p.take(4), p.u32) if self.codec == 2 else []
        need(sum(n for _, n in self.chunks) == self.plain <= 64 << 20, "chunks do not add up")
        prefix = sum(n for _, _, n in self.bases)
        fits = self.codec != 2 or self.bases and prefix <= 4 << 20
        need(fits, "a delta of no bases, or of too many bytes of them")

    def aad(self):
        """What binds a block to this row."""
        row = b"".join(chunk + struct.pack("<I", n) for chunk, n in self.chunks)
        row += b"".join(begin + tag + struct.pack("<I", n) for begin, tag, n in self.bases)
        return struct.pack("<BI", self.codec, self.plain) + sha256(row)


def unzstd(data, plain_length, prefix=None):
    """One frame, with nothing behind it."""
    header = zstandard.get_frame_parameters(data)
    need(data[:4] == b"\x28\xb5\x2f\xfd", "no frame, or a skippable one")
    need(header.dict_id == 0, "a frame with a dictionary")
    most = max(1024, 1 << (len(prefix or b"") + plain_length - 1).bit_length())
    need(header.window_size <= most, "the window of a frame is too large")
    if prefix is None:
        opener = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    else:
        raw = zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        opener = zstandard.ZstdDecompressor(dict_data=raw, max_window_size=1 << 31)
    frame = opener.decompressobj()
    out = frame.decompress(data)
    need(frame.eof and not frame.unused_data, "a frame cut short, or bytes behind it")
    need(len(out) == plain_length, "another plain length")
    return out


def parse_front(front, cipher, keys, repo):
    """Preamble and table: type, rows, the length of the pack, and the keys of its epoch."""
    need(len(front) >= 64 and front[:6] == b"SNAPPK", "not a pack")
    numbers = struct.unpack_from("<HBBBBIIQI", front, 6)
    version, kind, its_cipher, codec, way, plain, stored, area, epoch = numbers
    need(version <= VERSION, "a pack of a newer format")
    need(way < 2, "a pack of a newer program")
    need(version == VERSION and its_cipher == cipher, "a pack of another version or cipher")
    need(kind in (DATA, TREE) and codec < 2, "a pack of an unknown type or codec")
    need(plain <= 32 << 20 and area <= 1 << 30, "a pack too large")
    number, epoch = epoch, keys.epoch(epoch)
    start = 64 + 144 * way
    aad = b"table" + repo + front[:start]
    table = unseal(cipher, epoch.shared, aad, front[start : 64 + stored])
    table = table[:-32] if way else unsign(cipher, epoch, aad, table)
    of = Session(keys, repo, number, front[64:start]) if way else epoch
    table = unzstd(table, plain) if codec else table
    need(len(table) == plain, "a table of another length")
    p = Postcard(table)
    rows = p.list(lambda: Row(p))
    p.end()
    blocks = sum(row.stored for row in rows)
    need(blocks == area or cipher and blocks < area, "stored lengths do not add up")
    need(way == 0 or all(row.codec != 2 for row in rows), "a delta of a write key")
    at = 64 + stored
    for row in rows:
        row.at = at
        at += row.stored
    return kind, rows, 128 + 2 * stored + area, of


class Pack:
    def __init__(self, raw, name, repo):
        need(sha256(raw).hex() == name, "the name is not the hash")
        stored = struct.unpack_from("<I", raw, 16)[0]
        front = raw[: 64 + stored]
        parsed = parse_front(front, repo.cipher, repo.keys, repo.id)
        self.kind, self.rows, length, self.epoch = parsed
        need(len(raw) == length, "a pack of another length")
        need(raw[-64 - stored :] == front[64:] + b"SNAPPE" + front[6:64], "the end differs")
        self.raw, self.name = raw, name
        for row in self.rows:
            row.pack = self


# --------------------------------------------------------------------------- The repository


class Repository:
    def __init__(self, path, password=None):
        self.path, self.stats = path, Counter()
        self.where, self.packs, self.plain, self.trees = {}, {}, {}, {}
        self.begins = {}
        self.open(password)

    def names(self, folder, pattern):
        """Names that have the form of the layout; others are ignored."""
        try:
            listed = os.listdir(os.path.join(self.path, folder))
        except FileNotFoundError:
            return []
        return sorted(name for name in listed if re.fullmatch(pattern, name))

    def spread(self, folder):
        for xx in self.names(folder, "[0-9a-f]{2}"):
            yield from self.names(f"{folder}/{xx}", xx + "[0-9a-f]{62}")

    def read(self, *parts):
        with open(os.path.join(self.path, *parts), "rb") as file:
            return file.read()

    def open(self, password):
        found = [int(n) for n in self.names("config", "[1-9][0-9]*") if int(n) <= 1 << 30]
        complaints = []
        for n in sorted(found, reverse=True):
            try:
                config, keys = self.generation(n, password)
                break
            except Bad as why:
                complaints.append(f"config/{n}: {why}")
                print("passed over:", complaints[-1], file=sys.stderr)
        else:
            raise Bad("; ".join(complaints) or "no repository")
        need(config["incompat"] & ~3 == 0, "unknown bits of incompat")
        extra = tags(config["extra"], {1, 3})
        family = extra.get(1)
        need(family is None or len(family) == 16, "tag 1 of another length")
        self.config, self.id, self.cipher = config, config["repo"], config["cipher"]
        self.keys = Keys(keys.naming, list(keys.epochs.items()), self.id, family)
        for slot, role, public, _ in config["slots"]:
            if role == 1:
                self.keys.writers[slot] = (public, config["epoch"])
        retired = extra.get(3, b"")
        need(len(retired) % 68 == 0, "tag 3 of another length")
        for at in range(0, len(retired), 68):
            (last,) = struct.unpack_from("<I", retired, at + 64)
            self.keys.writers[retired[at : at + 32]] = (retired[at + 32 : at + 64], last)

    def generation(self, n, password):
        raw = self.read("config", str(n))
        need(len(raw) > 8, "too short")
        (version,) = struct.unpack_from("<H", raw, 6)
        need(version > 0, "version 0")
        raw = raw[:6] + struct.pack("<H", VERSION) + raw[8:]
        try:
            config = parse_config(raw)
            need(config["generation"] == n, "the generation is not its number")
            has_key = config["open_master"] is not None
            need(has_key == (config["cipher"] == 0), "a master key beside a cipher, or none without")
            order = [tag for tag, _ in config["extra"]]
            need(order == sorted(set(order)), "tags twice, or out of order")
            keys = self.unlock(config, raw, password)
        except Bad as why:
            if version != VERSION:
                sys.exit(f"config/{n} is of the newer format {version}")
            raise why
        return config, keys

    def unlock(self, config, raw, password):
        """The keys of an authentic configuration."""
        repo = config["repo"]
        if config["cipher"] == 0:
            need(config["open_master"] is not None, "no key")
            keys = Keys(config["open_master"], [(0, Epoch(config["open_master"], repo))], repo)
            need(is_signed(config, raw, 0, keys.epoch(0).verifying), "its signature does not fit")
            return keys
        need(password is not None, "it takes a password")
        removed = False
        for name in self.names("keys", "[0-9a-f]{64}"):
            file = self.read("keys", name)
            try:
                need(sha256(file).hex() == name, "its name is not its hash")
                slot = open_slot(file, password, repo)
            except Bad as why:
                print(f"keys/{name}: {why}", file=sys.stderr)
                continue
            if not slot or not is_signed(config, raw, slot.epoch, slot.anchor):
                continue
            sealed = [keyring for id, _, _, keyring in config["slots"] if id.hex() == name]
            removed |= not sealed
            if sealed:
                info = b"snap/1 keyring" + repo + bytes.fromhex(name)
                keys = Keys.parse(hpke_open(slot.private, info, sealed[0]), repo)
                need(keys.newest == config["epoch"], "a keyring of another epoch")
                fits = is_signed(config, raw, keys.newest, keys.epoch(keys.newest).verifying)
                need(fits, "its signature does not fit")
                slot.check_label(keys)
                return keys
        if removed:
            sys.exit("the key slot of this password was removed")
        raise Bad("no key slot fits the password")

    # Small objects

    def object(self, folder, name, bound=None):
        raw = self.read(folder, name)
        return small_object(self.cipher, self.keys, self.id, raw, bound or name)

    def manifests(self):
        """Folder, id and manifest, oldest first, without fences."""
        found = []
        h32 = "[0-9a-f]{32}"
        for folder, form in (("snapshots", h32), ("trash", rf"{h32}\.{h32}")):
            for name in self.names(folder, form):
                magic, body, _ = self.object(folder, name, name[:32])
                content = parse_body(magic, body)
                need(magic in (b"SNAPMF", b"SNAPFN"), "neither a manifest nor a fence")
                if magic == b"SNAPMF":
                    found.append((folder, name[:32], content))
        return sorted(found, key=lambda item: item[2]["started"])

    def other_objects(self):
        """Opens sessions, collections, damage and audit records, and segments."""
        h32 = "[0-9a-f]{32}"
        for folder, form in (
            ("sessions", h32 + r"(\.beat|\.seen|\.end)?"),
            ("gc", r"[0-9a-f]{16}(\.done)?"),
            ("damage", "[0-9a-f]{64}"),
            ("audit", h32),
        ):
            for name in self.names(folder, form):
                parse_body(*self.object(folder, name)[:2])
                self.stats["small objects"] += 1
        for name in self.names("index", h32):
            magic, body, rest = self.object("index", name)
            need(magic == b"SNAPIX", "not a segment")
            for _, length, front in parse_body(magic, body)[0]:
                parsed = parse_front(rest[:front], self.cipher, self.keys, self.id)
                need(parsed[2] == length, "a pack of another length in a segment")
                rest = rest[front:]
            need(not rest, "bytes behind the fronts")

    # Chunks

    def load_packs(self):
        for name in self.spread("packs"):
            pack = Pack(self.read("packs", name[:2], name), name, self)
            self.packs[name] = pack
            for row in pack.rows:
                at = 0
                for chunk, length in row.chunks:
                    self.where.setdefault((pack.kind, chunk), []).append((row, at, length))
                    self.begins.setdefault((pack.kind, chunk[:8]), set()).add(chunk)
                    at += length
                self.stats["blocks"] += 1
                self.stats["deltas"] += row.codec == 2

    def block(self, row):
        """The plain bytes of a block, every chunk's id verified."""
        if row in self.plain:
            return self.plain[row]
        kind, sealed = row.pack.kind, row.pack.raw[row.at : row.at + row.stored]
        aad = b"SNAPBL" + struct.pack("<H", VERSION) + self.id + bytes([kind]) + row.aad()
        key = row.pack.epoch.data if kind == DATA else row.pack.epoch.meta
        data = unseal(self.cipher, key, aad, sealed)
        if row.codec == 1:
            data = unzstd(data, row.plain)
        elif row.codec == 2:
            need(self.config["incompat"] & 1, "a delta where there may be none")
            data = unzstd(data, row.plain, b"".join(self.base(row, *base) for base in row.bases))
        need(len(data) == row.plain, "a block of another plain length")
        at = 0
        for chunk, length in row.chunks:
            right = hmac256(self.keys.id, bytes([kind]), data[at : at + length])
            need(right == chunk, f"chunk {chunk.hex()} has another id")
            at += length
        while len(self.plain) > 200:
            self.plain.pop(next(iter(self.plain)))
        self.plain[row] = data
        return data

    def base(self, row, begin, tag, length):
        ids = b"".join(chunk for chunk, _ in row.chunks)
        for chunk in self.begins.get((row.pack.kind, begin), ()):
            if sha256(ids, chunk)[:4] == tag:
                for other, at, n in self.where[row.pack.kind, chunk]:
                    if other.codec != 2 and n == length:
                        return self.block(other)[at : at + n]
        raise Bad(f"base {begin.hex()} is nowhere outside of deltas")

    def chunk(self, kind, chunk, length=None):
        why = Bad(f"chunk {chunk.hex()} is missing")
        for row, at, n in self.where.get((kind, chunk), ()):
            try:
                need(length in (None, n), f"chunk {chunk.hex()} has another length")
                return self.block(row)[at : at + n]
            except Bad as bad:
                why = bad
        raise why

    # Trees

    def piece(self, chunk):
        """A tree chunk: its first byte, and records."""
        if chunk not in self.trees:
            p = Postcard(self.chunk(TREE, chunk))
            form = p.u8()
            need(1 <= form <= 4, "an unknown piece")
            if form == 1:
                names, count = p.list(p.string), p.u32()
                records = [entry(p, names) for _ in range(count)]
            elif form == 2:
                records = p.list(p.bytes, p.id32, p.u64)
            elif form == 3:
                records = p.list(lambda: part(p))
            else:
                records = p.list(p.id32, p.u64)
            p.end()
            self.trees[chunk] = form, records
        return self.trees[chunk]

    def records(self, chunk, leaf, says=None, depth=0):
        """Records of a directory (leaf 1) or list (leaf 3), as its indexes say."""
        need(depth <= 8, "too many indexes")
        form, records = self.piece(chunk)
        need(form in (leaf, leaf + 1), "a piece of another kind")
        need(records or says is None and form == leaf == 1, "a piece without records")
        if says:
            first, count = says
            mine = records[0]["name"] if form == 1 else records[0][0]
            total = len(records) if form == 1 else sum(record[-1] for record in records)
            need(total == count and first in (None, mine), "a piece is not what its index says")
        if form == leaf:
            yield from records
            return
        for record in records:
            first = record[0] if leaf == 1 else None
            yield from self.records(record[-2], leaf, (first, record[-1]), depth + 1)

    def parts(self, size, content):
        parts = content if isinstance(content, list) else list(self.records(content, 3))
        need(sum(item[-1] for item in parts) == size, "parts do not add up to the size")
        return parts

    def content(self, parts):
        for chunk, length in parts:
            if chunk:
                yield self.chunk(DATA, chunk, length)
                continue
            self.stats["holes"] += 1
            while length:
                some = min(length, 1 << 20)
                yield bytes(some)
                length -= some

    def attributes(self, raw):
        """Verifies extended attributes."""
        p, last, inline, names = Postcard(raw), b"", 0, 0
        for _ in range(p.u64()):
            name, kind = p.bytes(), p.variant(3)
            need(1 <= len(name) <= 255 and b"\0" not in name and name > last, "a name")
            if kind == 0:
                value = p.bytes()
                inline += len(value)
            else:
                size, value = p.u64(), b""
                content = p.list(lambda: part(p)) if kind == 1 else p.id32()
                for _ in self.content(self.parts(size, content)):
                    pass
            last, names = name, names + len(name)
            need(max(inline, names) <= 65536, "attributes too large")
            self.stats["extended attributes"] += 1
        p.end()

    def walk(self, tree, path=b""):
        """Path, entry and digest or target, depth first; everything is read."""
        last = b""
        for e in self.records(tree, 1):
            need(e["name"] > last, "names do not ascend")
            last = e["name"]
            full, kind, says = path + b"/" + e["name"], e["kind"], "-"
            self.stats["hard links"] += e["link"] != 0
            if 1 in e["extra"]:
                self.attributes(e["extra"][1])
            if kind < 2:
                digest = hashlib.sha256()
                for data in self.content(self.parts(e["size"], e["content"])):
                    digest.update(data)
                says = digest.hexdigest()
            elif kind == 3:
                says = escape(e["target"])
            elif kind > 5:
                says = "%d,%d" % e["device"]
            yield full, e, says
            if kind == 2:
                yield from self.walk(e["tree"], full)

    def walk_snapshot(self, manifest):
        """Like walk, within the bounds that the manifest's counts give."""
        c = manifest["counts"]
        counted = ("new", "changed", "unchanged", "directories", "others")
        entries, size = sum(c[name] for name in counted), c["bytes"]
        left, bytes_left = entries + entries // 8 + 1024, size + size // 8 + (1 << 30)
        for item in self.walk(manifest["root"]):
            left, bytes_left = left - 1, bytes_left - item[1].get("size", 0)
            need(left >= 0 and bytes_left >= 0, "more than the manifest counts")
            yield item


def part(p):
    """Id and length of a chunk; None and length of a hole."""
    chunk, length = (p.id32(), p.u32()) if p.variant(2) == 0 else (None, p.u64())
    need(length > 0, "an empty part")
    need(chunk is None or length <= 16 << 20, "a chunk too long")
    return chunk, length


def entry(p, names):
    e = {"name": p.bytes(), "kind": p.variant(8)}
    name, kind = e["name"], e["kind"]
    need(1 <= len(name) <= 1024 and name not in (b".", b".."), "a name")
    need(b"/" not in name and b"\0" not in name, "a name with a slash or NUL")
    if kind < 2:
        e["size"] = p.u64()
        e["content"] = p.list(lambda: part(p)) if kind == 0 else p.id32()
    elif kind == 2:
        e["tree"] = p.id32()
    elif kind == 3:
        e["target"] = p.bytes()
    elif kind > 5:
        e["device"] = p.u32(), p.u32()
    e["mode"], e["uid"], e["gid"], user, group = (p.u32() for _ in range(5))
    need(e["mode"] <= 0o7777, "a mode")
    need(max(user, group) <= len(names), "an owner without a name")
    e["mtime"], e["ctime"], e["link"], e["flags"] = p.time(), p.time(), p.u128(), p.u32()
    need(e["flags"] < 4, "unknown flags: this needs a newer reader")
    e["extra"] = tags(p.extra(), {1, 3, 4, 6, 18})
    readers = {3: Postcard.u64, 4: Postcard.time, 6: Postcard.u32, 18: Postcard.time}
    for tag, read in readers.items():
        if tag in e["extra"]:
            value = Postcard(e["extra"][tag])
            read(value)
            value.end()
    return e


# --------------------------------------------------------------------------- Commands


def escape(raw):
    plain = (chr(c) if 0x21 <= c < 0x7F and c != 0x5C else f"\\x{c:02x}" for c in raw)
    return "".join(plain)


def ls(repo, manifest):
    for path, e, says in repo.walk_snapshot(manifest):
        columns = KINDS[e["kind"]], f"{e['mode']:04o}", str(e.get("size", 0)), says, escape(path)
        print("\t".join(columns))


def check(repo):
    repo.other_objects()
    for pack in repo.packs.values():
        for row in pack.rows:
            repo.block(row)
    field = None
    for name in repo.spread("parity"):
        if name in repo.packs:
            field = field or Field()
            check_sidecar(repo.read("parity", name[:2], name), repo.packs[name], field)
            repo.stats["sidecars"] += 1
    for folder, _, manifest in repo.manifests():
        repo.stats["in " + folder] += 1
        for _ in repo.walk_snapshot(manifest):
            repo.stats["entries"] += 1
    for name in sorted(repo.stats):
        print(f"{name}: {repo.stats[name]}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("repo")
    parser.add_argument("command", choices=["snapshots", "ls", "check"])
    parser.add_argument("id", nargs="?", default="", help="how an id begins; none: the newest")
    options = parser.parse_args()
    password = os.environ.get("SNAP_PASSWORD")
    repo = Repository(options.repo, None if password is None else os.fsencode(password))
    if options.command == "snapshots":
        for folder, name, m in repo.manifests():
            kind = ["full", "incremental", "differential"][m["kind"]]
            print(name, folder, kind, m["started"][0], m["host"], sep="\t")
        return
    repo.load_packs()
    if options.command == "check":
        check(repo)
        return
    found = [
        manifest
        for folder, name, manifest in repo.manifests()
        if folder == "snapshots" and name.startswith(options.id)
    ]
    need(found, "no such snapshot")
    ls(repo, found[-1])


if __name__ == "__main__":
    try:
        main()
    except Bad as why:
        sys.exit(f"error: {why}")
