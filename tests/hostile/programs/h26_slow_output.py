import sys
import time

for c in "held\n" * 1000:
    sys.stdout.write(c)
    sys.stdout.flush()
    time.sleep(1)
