"""postcard values, as docs/format.md has them under "Encoding". See reader.py."""


class Bad(Exception):
    """Something that does not keep to the format."""


def need(condition, what):
    if not condition:
        raise Bad(what)


class Postcard:
    """A cursor over postcard bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        need(n <= len(self.data) - self.at, "a value goes beyond its bytes")
        self.at += n
        return bytes(self.data[self.at - n : self.at])

    def u8(self):
        return self.take(1)[0]

    def varint(self, bits):
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            need(shift < bits, "a varint too long")
        need(value < 1 << bits, "a varint too large")
        return value

    def u16(self):
        return self.varint(16)

    def u32(self):
        return self.varint(32)

    def u64(self):
        return self.varint(64)

    def u128(self):
        return self.varint(128)

    def signed(self, bits):
        value = self.varint(bits)
        return (value >> 1) ^ -(value & 1)

    def variant(self, count):
        value = self.u32()
        need(value < count, "an unknown variant")
        return value

    def bool(self):
        byte = self.u8()
        need(byte < 2, "neither true nor false")
        return byte == 1

    def bytes(self):
        return self.take(self.u64())

    def string(self):
        try:
            return self.bytes().decode("utf-8")
        except UnicodeDecodeError:
            raise Bad("a string that is not UTF-8") from None

    def id16(self):
        return self.take(16)

    def id32(self):
        return self.take(32)

    def time(self):
        seconds, nanos = self.signed(64), self.u32()
        need(nanos < 10**9, "nanoseconds out of range")
        return seconds, nanos

    def option(self, read):
        return read() if self.bool() else None

    def list(self, *reads):
        """A list; of tuples if there are several ways to read."""
        count = self.u64()
        need(count <= len(self.data), "a list longer than its bytes")
        if len(reads) == 1:
            return [reads[0]() for _ in range(count)]
        return [tuple(read() for read in reads) for _ in range(count)]

    def extra(self):
        return self.list(self.u16, self.bytes)

    def end(self):
        need(self.at == len(self.data), f"{len(self.data) - self.at} bytes left over")


def tags(extra, known):
    """The values of an extra list by tag. An odd tag must be known."""
    for tag, _ in extra:
        need(tag in known or tag % 2 == 0, f"unknown odd tag {tag}")
    order = [tag for tag, _ in extra]
    need(order == sorted(set(order)), "tags twice, or out of order")
    return dict(extra)
