"""The victim: leaves marks wherever it can, and stays for a while so that others may look."""

import os
import socket
import time

for folder in ("/tmp", "/dev/shm", "/box", "/var/tmp", "/run", "/"):
    try:
        with open(f"{folder}/mark-of-the-other", "w") as f:
            f.write("mark-of-the-other")
        os.chmod(f"{folder}/mark-of-the-other", 0o666)
    except OSError:
        pass
s = socket.socket(socket.AF_UNIX)
s.bind("\0mark-of-the-other")
s.listen(5)
os.environ["MARK"] = "mark-of-the-other"
time.sleep(0.7)
print("held")
