"""Workers on a broker, killed at random under load: the server process, the boxkeeper, the whole worker, and what is behind them.

A Path is the broker: it sends, does harm to itself, and collects. What was sent is written down outside of all of them; at the end each has
one verdict, the right one.
"""

import collections
import contextlib
import os
import pathlib
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "e2e"), str(HERE.parent / "parts")]
from harness import Server, wait_for  # noqa: E402

PROGRAMS = {  # what is sent, and what must come of it
    "OK": 'print(int(input()) + 1)',
    "WA": 'print(int(input()) + 2)',
    "RE": 'import sys; sys.exit(3)',
    "BF": 'print(',
}
KILLS = int(os.environ.get("ASSAY_KILLS", "200" if os.environ.get("ASSAY_NIGHT") == "1" else "6"))


class Path:
    name = "broker"  # what is harmed, in the count

    def __init__(self, deal):
        self.deal = deal
        self.sent = {}                                # id -> (what must come of it, whether the message has an id of its own)
        self.answers = collections.defaultdict(list)  # id -> results
        self.unsure = set()                           # ids that were perhaps not sent

    def take(self, result):
        self.answers[result["id"]].append(result)

    def missing(self):
        return set(self.sent) - self.unsure - set(self.answers)

    def send(self):
        """One more."""
        raise NotImplementedError

    def harm(self):
        raise NotImplementedError

    def collect(self):
        """Takes what came."""
        raise NotImplementedError

    def settled(self):
        """Whether nothing is left of what was sent."""
        raise NotImplementedError


@contextlib.contextmanager
def workers(env, n=2):
    with contextlib.ExitStack() as stack:
        started = [Server(env={"ASSAY_ONLY": "submissions,runner", **env}, name=f"worker{i}") for i in range(n)]
        for w in started:
            stack.callback(w.close)
            w.spawn()
        for w in started:
            w.wait_ready(120)
        yield started


def strike(path, servers):
    """Kills one thing, and starts again what does not start itself; gives its name."""
    what = path.deal.choices(["server", "boxkeeper", "worker", path.name], [60, 15, 20, 5])[0]
    w = path.deal.choice(servers)
    if what == path.name:
        path.harm()
    elif what == "worker":
        w.stop(signal.SIGKILL)
        w.spawn()
    else:
        pid = w.children().get(what)
        if pid is None:
            return what + " (between two lives)"
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return what


def run(path, servers, seed, kills=KILLS):
    """The kills, and then what must be; gives how often each was struck."""
    struck = collections.Counter()
    for n in range(1, kills + 1):
        for _ in range(path.deal.randint(3, 8)):
            path.send()
        time.sleep(path.deal.uniform(0.1, 1.2))
        struck[strike(path, servers)] += 1
        path.collect()
        if len(path.missing()) > 60:  # not more work than there is time for
            wait_for("the workers to keep up", lambda: path.collect() or len(path.missing()) < 20, 300, 0.5)
        if n % 50 == 0:
            print(f"# {n} kills, {len(path.sent)} sent, {len(path.answers)} answered", flush=True)
    quiet = time.monotonic()
    try:
        wait_for("all answers", lambda: path.collect() or not path.missing(), 300, 0.2)
    except AssertionError:
        raise AssertionError(f"seed {seed}: lost {sorted(path.missing(), key=int)[:10]} of {len(path.sent)}") from None
    print(f"# all were answered {time.monotonic() - quiet:.1f} s after the last kill")
    wait_for("nothing to be left of what was sent", path.settled, 120, 0.3)
    path.collect()
    judged = {i: len({r["event_id"] for r in rs}) for i, rs in path.answers.items()}
    wrong = {i: [r.get("status", r.get("error")) for r in rs] for i, rs in path.answers.items()
             if i not in path.sent or any(r.get("status") != path.sent[i][0] for r in rs)}
    double = sorted(i for i, n in judged.items() if n > 1)
    print(f"# seed {seed}: {kills} strikes ({', '.join(f'{n} {w}' for w, n in sorted(struck.items()))}), {len(path.sent)} sent, "
          f"{len(path.answers)} answered, {len(path.unsure)} of unknown sending, {len(wrong)} wrong, {len(double)} under two event ids, "
          f"{sum(len(rs) - judged[i] for i, rs in path.answers.items())} answers published again", flush=True)
    assert not wrong, list(wrong.items())[:5]
    # what a message without an id of its own becomes when the path itself breaks in the midst of it nobody promises
    named = [i for i in double if path.sent[i][1]]
    assert not named and (not double or struck[path.name]), double
    return struck
