"""The disks that a power cut could have left, made from a trace of what a process told its disk (shims/power.c).

What was synced is there. Of what was not, any part may be: of a file, each page as any of the writes to it since the last
fsync left it, one of them torn between two such states at a sector's edge, and the length of before, of after, or of a
write between; of the folders' entries, any that do not build on one that is missing. A name is certain when its folder was
synced, a file's bytes when the file was: an fsync of the one says nothing about the other.
"""

import os
import pathlib
import struct

PAGE, SECTOR = 4096, 512
HEAD = struct.Struct("=IIQQ")


def records(raw):
    at = 0
    while at + HEAD.size <= len(raw):
        kind, n, a, b = HEAD.unpack_from(raw, at)
        yield at + HEAD.size + n, chr(kind), a, b, raw[at + HEAD.size:at + HEAD.size + n]
        at += HEAD.size + n


class File:
    def __init__(self):
        self.synced = bytearray()
        self.size = 0      # as the running system sees it
        self.pending = []  # (offset, bytes), or (length, None) for a truncation

    def write(self, at, data):
        self.pending.append((at, data))
        self.size = max(self.size, at + len(data))

    def truncate(self, n):
        self.pending.append((n, None))
        self.size = n

    @staticmethod
    def apply(to, at, data):
        if data is None:
            del to[at:]
            to.extend(bytes(at - len(to)))
        else:
            if len(to) < at:
                to.extend(bytes(at - len(to)))
            to[at:at + len(data)] = data

    def sync(self):
        for at, data in self.pending:
            self.apply(self.synced, at, data)
        self.pending = []

    def after_cut(self, rng):
        if not self.pending:
            return bytes(self.synced)
        mode = rng.random()
        if mode < 0.1:
            return bytes(self.synced)
        lengths, pieces, size = [len(self.synced)], {}, len(self.synced)
        for at, data in self.pending:
            if data is None:
                if at < size:  # what is cut off reads as zeros when it comes back
                    data, size = bytes(size - at), at
                else:
                    size = at
                    lengths.append(size)
                    continue
            else:
                size = max(size, at + len(data))
            lengths.append(size)
            for page in range(at // PAGE, (at + len(data) + PAGE - 1) // PAGE):
                low, high = max(at, page * PAGE), min(at + len(data), (page + 1) * PAGE)
                pieces.setdefault(page, []).append((low - page * PAGE, data[low - at:high - at]))
        out = bytearray(self.synced)
        out.extend(bytes(max(max(lengths), (max(pieces, default=-1) + 1) * PAGE) - len(out)))
        torn = rng.choice(list(pieces)) if pieces and mode > 0.5 else None
        for page, writes in pieces.items():
            kept = rng.choice([0, len(writes), rng.randint(0, len(writes))])
            now = bytearray(out[page * PAGE:(page + 1) * PAGE])
            for at, data in writes[:kept]:
                now[at:at + len(data)] = data
            if page == torn and kept < len(writes):
                at, data = writes[kept]
                whole = bytearray(now)
                whole[at:at + len(data)] = data
                for s in range(0, PAGE, SECTOR):
                    if rng.random() < 0.5:
                        now[s:s + SECTOR] = whole[s:s + SECTOR]
            out[page * PAGE:(page + 1) * PAGE] = now
        del out[rng.choice(lengths):]
        return bytes(out)


class Disk:
    """A folder as it is told of in a trace."""

    def __init__(self, root, base=None):
        self.root = str(root)
        self.names = {self.root: None}  # path -> File, or None for a folder: what is certain
        self.live = {}                  # path -> File, as the running system sees it
        self.by_inode, self.pending, self.acked = {}, [], []
        if base:
            for path in sorted(pathlib.Path(base).rglob("*")):
                name = f"{self.root}/{path.relative_to(base)}"
                f = None
                if path.is_file():
                    f = self.live[name] = File()
                    f.synced = bytearray(path.read_bytes())
                    f.size = len(f.synced)
                self.names[name] = f

    def feed(self, kind, a, b, raw):
        if kind == "A":
            self.acked.append(raw.decode())
        elif kind == "C":
            f = self.by_inode[a] = self.live[raw.decode()] = File()
            self.pending.append(("link", [raw.decode()], f))
        elif kind == "O":
            path = raw.decode()
            if path not in self.live:  # made by a process that was not watched
                self.live[path] = self.names[path] = File()
            self.by_inode[a] = self.live[path]
        elif kind == "W":
            self.by_inode[a].write(b, raw)
        elif kind == "T":
            self.by_inode[a].truncate(b)
        elif kind == "S":
            self.by_inode[a].sync()
        elif kind == "M":
            self.pending.append(("link", [raw.decode()], None))
        elif kind == "U":
            self.live.pop(raw.decode(), None)
            self.pending.append(("unlink", [raw.decode()], None))
        elif kind == "R":
            old, new = raw.decode().split("\0")
            f = self.live.pop(old, None)
            self.live[new] = f
            self.pending.append(("rename", [old, new], f))
        elif kind == "D":
            folder, rest = raw.decode(), []
            for op in self.pending:
                if any(os.path.dirname(p) == folder for p in op[1]):
                    self.apply(self.names, op)
                else:
                    rest.append(op)
            self.pending = rest

    @staticmethod
    def apply(names, op):
        kind, paths, f = op
        if kind == "link":
            names[paths[0]] = f
        elif kind == "unlink":
            names.pop(paths[0], None)
        else:
            names.pop(paths[0], None)
            names[paths[1]] = f

    def cut(self, rng, to):
        """Writes to the folder `to` what could be there after a power cut now."""
        names, missing, chance = dict(self.names), set(), rng.choice([0.0, 0.5, 1.0])
        for op in self.pending:
            if rng.random() < chance or any(p in missing for p in op[1]):
                missing.update(op[1])
            else:
                self.apply(names, op)
        for path, f in sorted(names.items()):
            if any(path.startswith(m + "/") for m in missing if m not in names) or os.path.dirname(path) not in names and path != self.root:
                continue  # in a folder that is not there
            out = pathlib.Path(str(to) + path[len(self.root):])
            if f is None:
                out.mkdir(parents=True, exist_ok=True)
            elif path.endswith("-shm"):
                if rng.random() < 0.5:  # nothing that a recovery may rely on
                    out.write_bytes(rng.randbytes(32768))
            else:
                out.write_bytes(f.after_cut(rng))
