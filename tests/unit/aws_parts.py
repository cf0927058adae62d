#!/usr/bin/env python3
"""Runs the drivers of Amazon's services against servers that this starts: broker_sqs and blob_s3 on an SQS and S3 whose every request
must be signed right (tests/parts/sqs.py), and at night, or with ASSAY_RADOSGW=1, blob_s3 on Ceph's radosgw too (tests/parts/s3.py).
"""

import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "parts"))
sys.dont_write_bytecode = True
import s3  # noqa: E402
import sqs  # noqa: E402

BUILD = pathlib.Path(os.environ.get("abs_top_builddir", os.getcwd()))
number, ok = 0, True


def say(good, name):
    global number, ok
    number += 1
    ok = ok and good
    print(f"{'ok' if good else 'not ok'} {number} - {name}", flush=True)


def run(program, env, where):
    a = subprocess.run([str(BUILD / "tests" / "unit" / program)], env={**os.environ, "CMOCKA_MESSAGE_OUTPUT": "TAP", "HOME": "/nonexistent", **env},
                       stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    sys.stderr.write(a.stderr)
    for line in a.stdout.splitlines():
        if line.startswith(("ok ", "not ok ")) and " - " in line and line.split()[1 if line.startswith("ok") else 2].isdigit():
            say(line.startswith("ok"), f"{program} on {where}: {line.split(' - ', 1)[1]}")
        elif not line.startswith(("1..", "TAP", "ok - ", "not ok - ")):
            print("#", line)
    if a.returncode != 0 and ok:
        say(False, f"{program} on {where} ended with {a.returncode}")


def main():
    place = os.environ.get("ASSAY_PARTS_BUILD")
    if place is None and not os.access(sqs.ROOT, os.W_OK):
        place = BUILD  # a source tree that is not ours to write in, as distcheck's
    try:
        server = sqs.Sqs(place)
    except sqs.Missing as why:
        print(f"1..0 # SKIP {why}")
        return 0
    blobs = BUILD / "tests" / "unit" / "blob_common_s3_test"
    with server as s:
        run("broker_sqs_test", {**s.env, "ASSAY_TEST_SQS": s.url}, "fauxqs")
        before = s.control("counts")
        say(before["refused"] == 0 and before["good"] > 100, f"all {before['good']} requests to SQS were signed right {before['reason']}")
        if blobs.exists():
            run(blobs.name, {**s.env, "ASSAY_TEST_S3_ENDPOINT": s.url, "ASSAY_TEST_S3_BUCKET": s.bucket("blobs")}, "fauxqs")
            after = s.control("counts")
            # the three are what urls_let_clients_put_and_get must see refused
            say(after["refused"] == 3 and after["good"] > before["good"] + 100,
                f"all {after['good'] - before['good']} requests to S3 were signed right {after['reason']}")
        else:
            say(True, "blobs in S3 # SKIP built without cmocka (Debian: libcmocka-dev)")
    if blobs.exists() and (os.environ.get("ASSAY_NIGHT") == "1" or os.environ.get("ASSAY_RADOSGW") == "1"):
        try:
            with s3.Radosgw() as r:
                run(blobs.name, {**r.env, "ASSAY_TEST_S3_ENDPOINT": r.url, "ASSAY_TEST_S3_BUCKET": r.bucket}, "radosgw")
        except s3.Missing as why:
            say(True, f"blobs on radosgw # SKIP {why}")
    print(f"1..{number}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
