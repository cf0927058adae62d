"""Outputs that break what assumes lines, text, or both."""

import os
import random
import sys

what = sys.stdin.readline().strip()
out = sys.stdout.buffer
if what == "long":
    for _ in range(160):
        out.write(b"a" * 65536)
    out.write(b"\n")
elif what == "nul":
    out.write(b"he\0ld\n\0")
elif what == "random":
    out.write(random.Random(29).randbytes(50000))
elif what == "surrogates":
    out.write(b"\xed\xa0\x80\xc0\xaf\xf4\x90\x80\x80\xff\n")
out.flush()
os._exit(0)
