"""PNG and JPEG for tests, made and read here by the standard library alone, so that what the server makes of them is checked by
something that shares nothing with it.

A picture is a list of rows of (r, g, b, a).
"""

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_of(width, height, depth, colour, lines, extra=b"", interlace=0):
    """lines: the bytes of each row, without filters."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    data = zlib.compress(b"".join(b"\0" + line for line in lines))
    return SIGNATURE + chunk(b"IHDR", head) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def png(rows):
    return png_of(len(rows[0]), len(rows), 8, 6, [b"".join(bytes(p) for p in row) for row in rows])


def png16(rows):
    return png_of(len(rows[0]), len(rows), 16, 6, [b"".join(struct.pack(">4H", *(v * 257 for v in p)) for p in row) for row in rows])


def png_palette(rows):
    """With transparency in its palette."""
    colours = sorted({p for row in rows for p in row})
    extra = chunk(b"PLTE", b"".join(bytes(p[:3]) for p in colours)) + chunk(b"tRNS", bytes(p[3] for p in colours))
    return png_of(len(rows[0]), len(rows), 8, 3, [bytes(colours.index(p) for p in row) for row in rows], extra)


def png_rows(data):
    """Reads 8 bit PNGs of every colour type but palettes; fails on anything that is odd about the file."""
    assert data[:8] == SIGNATURE, data[:16]
    at, idat, head, names = 8, b"", None, []
    while at < len(data):
        n, name = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + n]
        assert struct.unpack(">I", data[at + 8 + n:at + 12 + n])[0] == zlib.crc32(name + body), name
        at += 12 + n
        names.append(name)
        if name == b"IHDR":
            head = struct.unpack(">IIBBBBB", body)
        elif name == b"IDAT":
            idat += body
    assert names[0] == b"IHDR" and names[-1] == b"IEND" and at == len(data), names
    w, h, depth, colour, _, _, interlace = head
    assert depth == 8 and interlace == 0, head
    n = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    raw, rows, before = zlib.decompress(idat), [], bytes(w * n)
    for y in range(h):
        kind, line = raw[y * (w * n + 1)], bytearray(raw[y * (w * n + 1) + 1:(y + 1) * (w * n + 1)])
        for x in range(w * n):
            a, b, c = (line[x - n] if x >= n else 0), before[x], (before[x - n] if x >= n else 0)
            if kind == 4:
                p = a + b - c
                near = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            else:
                near = (0, a, b, (a + b) // 2)[kind]
            line[x] = (line[x] + near) & 255
        before = bytes(line)
        pixels = [before[i:i + n] for i in range(0, w * n, n)]
        rows.append([tuple(p[:3]) + (p[3],) if n == 4 else tuple(p) + (255,) if n == 3 else (p[0],) * 3 + (p[1] if n == 2 else 255,) for p in pixels])
    return rows


class _Bits:
    def __init__(self):
        self.out, self.acc, self.n = bytearray(), 0, 0

    def put(self, value, n):
        for i in range(n - 1, -1, -1):
            self.acc, self.n = self.acc << 1 | value >> i & 1, self.n + 1
            if self.n == 8:
                self.out += bytes([self.acc]) + (b"\0" if self.acc == 255 else b"")
                self.acc, self.n = 0, 0

    def end(self):
        while self.n:
            self.put(1, 1)
        return bytes(self.out)


def jpeg(blocks, components=3, exif=None, adobe=None):
    """A baseline JPEG of flat blocks of 8 x 8 pixels, whose values (component by component, as they are stored) come out exactly.

    blocks: rows of tuples of components.  exif: an orientation.  adobe: the transform of an Adobe marker."""
    def segment(marker, body):
        return bytes([255, marker]) + struct.pack(">H", len(body) + 2) + body
    out = b"\xff\xd8"
    if exif is not None:
        tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, exif, 0, 0)
        out += segment(0xE1, b"Exif\0\0" + tiff)
    if adobe is not None:
        out += segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, adobe))
    out += segment(0xDB, b"\0" + bytes([8] + [1] * 63))  # a DC step of 8 is one step of brightness
    width, height = len(blocks[0]) * 8, len(blocks) * 8
    out += segment(0xC0, struct.pack(">BHHB", 8, height, width, components) + b"".join(bytes([i + 1, 0x11, 0]) for i in range(components)))
    out += segment(0xC4, b"\0" + bytes([0, 0, 0, 12] + [0] * 12) + bytes(range(12)))  # DC: twelve codes of four bits
    out += segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\0")                      # AC: the end of the block, one bit
    out += segment(0xDA, bytes([components]) + b"".join(bytes([i + 1, 0]) for i in range(components)) + b"\0\x3f\0")
    bits, last = _Bits(), [0] * components
    for row in blocks:
        for block in row:
            for i in range(components):
                diff, last[i] = block[i] - 128 - last[i], block[i] - 128
                size = abs(diff).bit_length()
                bits.put(size, 4)
                bits.put(diff if diff >= 0 else diff + (1 << size) - 1, size)
                bits.put(0, 1)
    return out + bits.end() + b"\xff\xd9"
