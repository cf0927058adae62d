#!/usr/bin/env python3
"""Starts a private RabbitMQ and runs the tests of its driver against it."""

import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "parts"))
sys.dont_write_bytecode = True
from rabbitmq import Missing, RabbitMQ  # noqa: E402

BUILD = pathlib.Path(os.environ.get("abs_top_builddir", os.getcwd()))


def main():
    program = BUILD / "tests" / "unit" / "broker_amqp_test"
    if not program.exists():
        print("1..0 # SKIP the RabbitMQ broker was not built: rabbitmq-c was not there (Debian: librabbitmq-dev)")
        return 0
    try:
        server = RabbitMQ(tls=True)
    except Missing as why:
        print(f"1..0 # SKIP {why}")
        return 0
    with server as mq:
        env = {**os.environ, "CMOCKA_MESSAGE_OUTPUT": "TAP", "ASSAY_TEST_AMQP": mq.url, "ASSAY_TEST_AMQPS": mq.tls_url,
               "ASSAY_TEST_AMQP_CA": str(mq.dir / "ca.pem")}
        return subprocess.run([str(program), *sys.argv[1:]], env=env, stdin=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(main())
