"""In the virtual machine: calls one after the other, each on a connection of its own, until the file that is named exists."""

import http.client
import pathlib
import sys
import time

stop = pathlib.Path(sys.argv[1])
answered, failed = 0, []
while not stop.exists():
    c = http.client.HTTPConnection("127.0.0.1", 8080, timeout=300)
    try:
        c.request("GET", "/healthz", headers={"Connection": "close"})
        r = c.getresponse()
        r.read()
        if r.status == 200:
            answered += 1
        else:
            failed.append(f"status {r.status}")
    except Exception as e:  # a refused or a reset connection
        failed.append(f"{type(e).__name__}: {e}")
    finally:
        c.close()
    time.sleep(0.2)  # an emulated processor has other things to do
for f in failed[:5]:
    print(f)
print(f"answered {answered} failed {len(failed)}")
