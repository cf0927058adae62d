import os
import sys
import time

got = sys.stdin.read().strip()
if got == "crash":
    os.abort()
if got == "raise":
    raise RuntimeError("on this output")
if got == "spin":
    while True:
        pass
if got == "hang":
    time.sleep(600)
if got == "eat":
    kept = []
    while True:
        kept.append(bytearray(16 << 20))
if got == "fork":
    while True:
        os.fork()
if got == "flood":
    while True:
        os.write(1, b"x" * 65536)
if got == "fill":
    with open(sys.argv[3] + "judgemessage.txt", "wb") as f:
        while True:
            f.write(b"x" * 65536)
if got == "link":
    os.symlink("/etc/passwd", sys.argv[3] + "judgemessage.txt")
sys.exit(42)
