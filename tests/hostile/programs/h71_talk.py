# Spoils a talk with the interactor (h71_interactor.py) in one of the known ways.
import os
import sys
import time

how = "@VARIANT@"
if how == "never_reads":
    while True:
        sys.stdout.write("1\n")
        sys.stdout.flush()
        time.sleep(0.01)
elif how == "silent":
    time.sleep(60)
elif how == "no_flush":
    sys.stdout.write("50\n")
    sys.stdin.readline()
elif how == "closes_early":
    print(50, flush=True)
    os.close(0)
    os.close(1)
    time.sleep(60)
elif how == "ends_early":
    os._exit(0)
elif how == "fails_early":
    os._exit(7)
elif how == "floods":
    os.set_blocking(1, True)
    while True:
        os.write(1, b"9" * 65536)
elif how == "floods_and_forks":
    for _ in range(8):
        if os.fork() == 0:
            break
    while True:
        os.write(1, b"1\n" * 4096)
elif how == "right_then_forever":
    low, high = 1, 100
    while True:
        print((low + high) // 2, flush=True)
        answer = input()
        if answer == "right":
            while True:
                pass
        low, high = ((low + high) // 2 + 1, high) if answer == "higher" else (low, (low + high) // 2 - 1)
elif how == "kills":
    for pid in (1, -1, os.getppid()):
        try:
            os.kill(pid, 9)
        except OSError:
            pass
    time.sleep(60)
