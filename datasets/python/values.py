# Values that cross between the program and the test's side, as JSON. What is plain in both is itself; all else is an
# object of one member, its tag: "t" tuple, "d" dict, "s" set, "z" frozenset, "b" bytes, "i" a large int, "c" complex,
# "r" range, "o" what has no plain form, by the name of its type. Nothing that is decoded can have methods of its own.
import json


class Opaque:
    """What cannot cross. It equals nothing but itself, and is neither true nor false."""

    def __init__(self, kind):
        self.kind = kind

    def __bool__(self):
        raise TypeError("a value of type " + self.kind + " is not plain data")

    def __repr__(self):
        return "<" + self.kind + ">"


def encode(v):
    if v is None or v is True or v is False:
        return v
    if isinstance(v, str):
        return str.__str__(v)
    if isinstance(v, int):
        v = int(v)
        return v if -1 << 63 <= v < 1 << 64 else {"i": hex(v)}
    if isinstance(v, float):
        return float(v)
    if isinstance(v, list):
        return [encode(x) for x in v]
    if isinstance(v, tuple):
        return {"t": [encode(x) for x in v]}
    if isinstance(v, dict):
        return {"d": [[encode(k), encode(x)] for k, x in v.items()]}
    if isinstance(v, set):
        return {"s": [encode(x) for x in v]}
    if isinstance(v, frozenset):
        return {"z": [encode(x) for x in v]}
    if isinstance(v, (bytes, bytearray)):
        return {"b": v.hex()}
    if isinstance(v, complex):
        return {"c": [v.real, v.imag]}
    if isinstance(v, range):
        return {"r": [v.start, v.stop, v.step]}
    return {"o": type(v).__name__}


def decode(v):
    if isinstance(v, list):
        return [decode(x) for x in v]
    if not isinstance(v, dict):
        return v
    (tag, x), = v.items()
    if tag == "t":
        return tuple(decode(y) for y in x)
    if tag == "d":
        return {decode(k): decode(y) for k, y in x}
    if tag == "s":
        return {decode(y) for y in x}
    if tag == "z":
        return frozenset(decode(y) for y in x)
    if tag == "b":
        return bytes.fromhex(x)
    if tag == "i":
        return int(x, 16)
    if tag == "c":
        return complex(*x)
    if tag == "r":
        return range(*x)
    if tag == "o":
        return Opaque(str(x))
    raise ValueError("an unknown tag")


def to_text(v):
    return json.dumps(encode(v), separators=(",", ":"))
