"""Parity of packs, as docs/format.md has it under "Parity". See reader.py."""
import hashlib
import struct

from postcard import need

VERSION = 1
CANTOR = "0001ACCA3C0E163EC582ED2E914C40126C9810D86A72B900FDB8FB34FF38991E"


def sha256(raw):
    return hashlib.sha256(raw).digest()


class Field:
    """GF(2^16) on symbols, by tables of logarithms."""

    def __init__(self):
        powers, x = [], 1
        for _ in range(65535):
            powers.append(x)
            x = x << 1 ^ (0x1002D if x & 0x8000 else 0)
        self.log, self.exp = [0] * 65536, [0] * 65535
        polynomials = [0]
        for at in range(0, 64, 4):
            polynomials += [x ^ int(CANTOR[at : at + 4], 16) for x in polynomials]
        symbol = {polynomial: number for number, polynomial in enumerate(polynomials)}
        for power, polynomial in enumerate(powers):
            self.exp[power] = symbol[polynomial]
            self.log[symbol[polynomial]] = power

    def mul(self, a, b):
        return self.exp[(self.log[a] + self.log[b]) % 65535] if a and b else 0

    def coefficients(self, w, c):
        d = 1
        while d < len(w):
            for r in range(0, len(w), 2 * d):
                for i in range(r, r + d):
                    w[i + d] ^= w[i]
                    w[i] ^= self.mul((c + r) // d, w[i + d])
            d *= 2
        return w

    def values(self, w, c):
        w, d = list(w), len(w) // 2
        while d:
            for r in range(0, len(w), 2 * d):
                for i in range(r, r + d):
                    w[i] ^= self.mul((c + r) // d, w[i + d])
                    w[i + d] ^= w[i]
            d //= 2
        return w

    def parity(self, data, m):
        """m symbols of parity for those of the pack."""
        k = len(data)
        many, few = (1 << (n - 1).bit_length() for n in (k, m))
        if many > few or k == m:
            total = [0] * few
            for at in range(0, k, few):
                group = (data[at : at + few] + [0] * few)[:few]
                group = self.coefficients(group, at + few)
                total = [a ^ b for a, b in zip(total, group)]
            return self.values(total, 0)[:m]
        w = self.coefficients(data + [0] * (many - k), 0)
        return self.values(w, many)[:m]


def symbols(shard):
    """Those of its first 64 bytes."""
    return [shard[i] | shard[32 + i] << 8 for i in range(32)]


def check_sidecar(raw, pack, field):
    need(len(raw) >= 64 and raw[:6] == b"SNAPRS", "not a sidecar")
    version, s, k, m, zero, length = struct.unpack_from("<HIIIIQ", raw, 6)
    need(version == VERSION and zero == 0 and raw[32:64].hex() == pack.name, "another's header")
    need(0 < s <= 4096 and s % 64 == 0 and 0 < k <= 16384 and 1 <= m <= k, "impossible numbers")
    need(length == len(pack.raw) and (k - 1) * s < length <= k * s, "another length of the pack")
    sums = 8 * (k + m) + 16
    need(len(raw) == 128 + 2 * sums + m * s, "a sidecar of another length")
    need(raw[-64 - sums :] == raw[64 : 64 + sums] + raw[:64], "the end differs")
    need(sha256(raw[: 48 + sums])[:16] == raw[48 + sums : 64 + sums], "the check does not fit")
    both = pack.raw.ljust(k * s, b"\0") + raw[64 + sums :]
    shards = [both[i * s : (i + 1) * s] for i in range(k + m)]
    for i, shard in enumerate(shards):
        need(sha256(shard)[:8] == raw[64 + 8 * i : 72 + 8 * i], f"the hash of shard {i}")
    # Some of the columns must do in Python: each is coded by itself.
    columns = list(zip(*map(symbols, shards)))[:4]
    for column in columns:
        need(field.parity(list(column[:k]), m) == list(column[k:]), "the parity is another")
