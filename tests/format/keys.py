"""Keys, slots, signatures and HPKE, as docs/format.md has them under "Keys" to "Epochs". See reader.py."""
import hashlib
import hmac
import struct

from argon2 import low_level as argon2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from postcard import Bad, Postcard, need

VERSION = 1


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def hmac256(key, *parts):
    return hmac.new(key, b"".join(parts), "sha256").digest()


def raw_public(key):
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


# --------------------------------------------------------------------------- The keyring


class Epoch:
    """The keys of an epoch."""

    def __init__(self, master, repo):
        def derive(label):
            return HKDF(SHA256(), 32, repo, b"snap/1 " + label).derive(master)

        self.data, self.meta, self.shared = derive(b"data"), derive(b"meta"), derive(b"shared")
        self.session = derive(b"session")
        self.verifying = raw_public(Ed25519PrivateKey.from_private_bytes(derive(b"config")))


class ReadEpoch:
    """The keys of an epoch in a keyring of role read."""

    def __init__(self, keys):
        self.data, self.meta, self.shared, self.session, self.verifying = keys


class Session:
    """The keys of a session of a write key, in place of an epoch's."""

    def __init__(self, keys, repo, number, envelope):
        slot, epoch = bytes(envelope[:32]), keys.epoch(number)
        public, last = keys.writers.get(slot, (None, -1))
        need(number <= last, "a session of a write key that is not valid")
        both = hpke_open(epoch.session, b"snap/1 session" + repo + slot, envelope[32:], public)
        self.data, self.meta = both[:32], both[32:]


class Keys:
    """A keyring, with everything that is derived from it."""

    def __init__(self, naming, epochs, repo, family=None):
        def derive(label, length):
            return HKDF(SHA256(), length, family or repo, b"snap/1 " + label).derive(naming)

        self.naming = naming
        self.id, self.gear = derive(b"id", 32), derive(b"gear", 2048)
        self.epochs = dict(epochs)
        self.writers = {}
        self.newest = epochs[-1][0]

    def epoch(self, number):
        need(number in self.epochs, f"epoch {number} is not in the keyring")
        return self.epochs[number]

    @staticmethod
    def parse(plain, repo):
        p = Postcard(plain)
        role = p.u8()
        need(role in (0, 2), "a keyring of a role that is not known")
        full, read = lambda: Epoch(p.id32(), repo), lambda: ReadEpoch([p.id32() for _ in range(5)])
        naming, epochs, extra = p.id32(), p.list(p.u32, read if role else full), p.extra()
        p.end()
        need(all(tag % 2 == 0 for tag, _ in extra), "an odd tag in a keyring")
        numbers = [number for number, _ in epochs]
        need(numbers and sorted(set(numbers)) == numbers, "epochs in disorder")
        return Keys(naming, epochs, repo)


# --------------------------------------------------------------------------- Sealing


def xaes_open(key, nonce, body_and_tag, aad):
    """XAES-256-GCM, https://c2sp.org/XAES-256-GCM"""

    def aes(block):
        return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)

    first = int.from_bytes(aes(bytes(16)), "big")
    mask = (first << 1) & ((1 << 128) - 1)
    if first >> 127:
        mask ^= 0x87

    def derive(counter):
        message = int.from_bytes(bytes([0, counter]) + b"X\0" + nonce[:12], "big")
        return aes((message ^ mask).to_bytes(16, "big"))

    return AESGCM(derive(1) + derive(2)).decrypt(nonce[12:], body_and_tag, aad)


def unseal(cipher, key, aad, sealed):
    need(len(sealed) >= 40, "a sealed box too short")
    nonce, rest = bytes(sealed[:24]), bytes(sealed[24:])
    if cipher == 1:
        try:
            return xaes_open(key, nonce, rest, aad)
        except Exception as why:
            raise Bad(f"the tag does not fit ({type(why).__name__})") from None
    need(cipher == 0 and nonce == bytes(24), "an unknown cipher, or a nonce that is not zero")
    plain, tag = rest[:-16], rest[-16:]
    right = sha256(struct.pack("<Q", len(aad)), aad, plain)[:16]
    need(right == tag, "the checksum does not fit")
    return plain


def unsign(cipher, epoch, aad, plain):
    """What was signed, after its signature was verified. Without encryption nothing is."""
    if cipher == 0:
        return plain
    body, signature = plain[:-64], plain[-64:]
    message = b"snap/1 signed" + struct.pack("<Q", len(aad)) + aad + body
    need(verifies(epoch.verifying, message, signature), "the signature does not fit")
    return body


def hpke_open(private, info, sealed, sender=None):
    """RFC 9180: base mode, or auth mode if there is a sender, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
    ChaCha20Poly1305, no AAD."""
    kem, suite = b"KEM" + b"\0\x20", b"HPKE" + b"\0\x20" + b"\0\x01" + b"\0\x03"

    def extract(suite_id, salt, label, ikm):
        return hmac256(salt or bytes(32), b"HPKE-v1", suite_id, label, ikm)

    def expand(suite_id, prk, label, info, length):
        info = struct.pack(">H", length) + b"HPKE-v1" + suite_id + label + info
        return hmac256(prk, info, b"\1")[:length]

    enc, body = sealed[:32], sealed[32:]
    need(len(enc) == 32, "a keyring cut short")
    key = X25519PrivateKey.from_private_bytes(private)
    dh = key.exchange(X25519PublicKey.from_public_bytes(enc))
    mode, known = b"\0", enc + raw_public(key)
    if sender is not None:
        dh += key.exchange(X25519PublicKey.from_public_bytes(sender))
        mode, known = b"\2", known + sender
    prk = extract(kem, b"", b"eae_prk", dh)
    secret = expand(kem, prk, b"shared_secret", known, 32)
    context = mode + extract(suite, b"", b"psk_id_hash", b"") + extract(suite, b"", b"info_hash", info)
    prk = extract(suite, secret, b"secret", b"")
    aead, nonce = expand(suite, prk, b"key", context, 32), expand(suite, prk, b"base_nonce", context, 12)
    try:
        return ChaCha20Poly1305(aead).decrypt(nonce, bytes(body), b"")
    except Exception as why:
        raise Bad(f"a keyring that was not sealed to its slot ({type(why).__name__})") from None


# --------------------------------------------------------------------------- Slots, signatures


class Slot:
    """A slot that a password opens."""

    def __init__(self, raw, private, epoch, anchor):
        self.raw, self.private, self.epoch, self.anchor = raw, private, epoch, anchor

    def check_label(self, keys):
        label = Postcard(unseal(1, keys.epoch(self.epoch).meta, self.raw[:212], self.raw[212:]))
        label.time(), label.string(), label.string(), label.string()
        label.end()


def open_slot(raw, password, repo):
    """None if the password does not fit or the slot is another repository's."""
    need(len(raw) >= 212 and raw[:6] == b"SNAPKY", "not a key slot")
    version, kdf, kib, passes, lanes = struct.unpack_from("<HIIII", raw, 6)
    need(version == VERSION and kdf == 1, "a key slot of an unknown version or kdf")
    bearable = 8192 <= kib <= 2097152 and 1 <= passes <= 16 and 1 <= lanes <= 16
    need(bearable, "costs out of range")
    if raw[24:40] != repo:
        return None
    salt, check = raw[40:72], raw[72:104]
    derived = argon2.hash_secret_raw(password, salt, passes, kib, lanes, 64, argon2.Type.ID, 0x13)
    if not hmac.compare_digest(derived[32:], check):
        return None
    secret = unseal(1, derived[:32], raw[:108], raw[108:212])
    (epoch,) = struct.unpack_from("<I", raw, 104)
    return Slot(raw, secret[:32], epoch, secret[32:])


def verifies(key, message, signature):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(bytes(signature), bytes(message))
    except Exception:
        return False
    return True


def is_signed(config, raw, epoch, key):
    """Whether the configuration was signed, beginning at an epoch and its verifying key."""
    for number, next_key, signature in config["handovers"]:
        if number <= epoch or number > config["epoch"]:
            continue
        statement = b"snap/1 epoch" + config["repo"] + struct.pack("<I", number) + next_key
        if not verifies(key, statement, signature):
            return False
        epoch, key = number, next_key
    return epoch == config["epoch"] and verifies(key, raw[:-64], raw[-64:])
