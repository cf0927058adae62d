"""Archives that mean harm (H48, H49): each function makes one. What must come of it is in table.py."""

import io
import stat
import struct
import zipfile
import zlib

MIB = 1 << 20


def packed(*entries):
    """(name, bytes, mode) each; the names as they are given, twice if need be."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as z:
        for name, content, mode in (e if len(e) == 3 else (*e, stat.S_IFREG | 0o644) for e in entries):
            info = zipfile.ZipInfo("x")
            info.filename, info.external_attr, info.create_system = name, mode << 16, 3
            info.compress_type = zipfile.ZIP_DEFLATED
            z.writestr(info, content)
    return out.getvalue()


def up():
    return packed(("fine", b"x"), ("../../../escaped", b"x"))


def up_inside():
    return packed(("a/b/../../../escaped", b"x"))


def absolute():
    return packed(("/tmp/escaped", b"x"))


def drive():
    return packed(("C:\\escaped", b"x"))


def link_and_file():
    return packed(("out", b"/tmp", stat.S_IFLNK | 0o777), ("out/escaped", b"x"))


def twice():
    return packed(("a.txt", b"1"), ("b", b""), ("./a.txt", b"2"))


def but_for_case():
    return packed(("src/Main.java", b"1"), ("SRC/main.java", b"2"))


def below_a_file():
    return packed(("a", b"1"), ("a/b", b"2"))


def line_feed():
    return packed(("a\nb", b"x"))


def escape_sequence():
    return packed(("\x1b]0;owned\x07", b"x"))


def not_utf8():
    return packed(("caf?", b"x")).replace(b"caf?", b"caf\xe9")


def long_name():
    return packed(("n" * 4000, b"x"))


def zeros():
    return packed(("zeros", bytes(60 * MIB)))


def many_zeros():
    one = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = one.compress(bytes(8 * MIB)) + one.flush()
    return raw([(f"zeros-{i}", data, 8 * MIB, zlib.crc32(bytes(8 * MIB))) for i in range(40)])


def raw(entries, declared=None, claimed=None, shared=False):
    """Deflated entries, byte by byte: (name, deflated, size, crc). `declared`: the size that headers say; `claimed`: the number that the
    last record says; `shared`: all entries' data is that of the first, whose local header is only there once for each name."""
    body, central = b"", b""
    for name, data, size, crc in entries:
        raw_name = name.encode()
        say = size if declared is None else declared
        at = len(body)
        body += struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 8, 0, 0x5A21, crc, len(data), say, len(raw_name), 0) + raw_name
        body += b"" if shared and at > 0 else data
        central += struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 0x31E, 20, 0, 8, 0, 0x5A21, crc, len(data), say, len(raw_name), 0, 0, 0, 0,
                               (stat.S_IFREG | 0o644) << 16, at) + raw_name
    n = min(len(entries) if claimed is None else claimed, 65535)
    return body + central + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, n, n, len(central), len(body), 0)


def overlapping():
    """Each file's data begins in the next one's header: quoted, as in the bombs that need no nesting."""
    one = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = one.compress(bytes(4 * MIB)) + one.flush()
    return raw([(f"kernel-{i}", data, 4 * MIB, zlib.crc32(bytes(4 * MIB))) for i in range(60)], shared=True)


EMPTY = (b"\x03\x00", 0, 0)  # deflated nothing


def many_entries():
    return raw([(f"{i:x}", *EMPTY) for i in range(12000)])


def many_entries_unsaid():
    return raw([(f"{i:x}", *EMPTY) for i in range(12000)], claimed=3)


def lying_size():
    one = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = one.compress(bytes(60 * MIB)) + one.flush()
    return raw([("small", data, 60 * MIB, zlib.crc32(bytes(60 * MIB)))], declared=100)


def deep():
    return packed(("/".join("d" * 200), b"x"))


def nested():
    inner = packed(("zeros", bytes(8 * MIB)))
    for _ in range(5):
        inner = packed(*((f"{i}.zip", inner) for i in range(16)))
    return packed(("nested.zip", inner))
