# The test's side: runs the test with what the program has returned. It never shares a box with the program; what came
# from there is data. Exit status 42: passed; 43: not; anything else is a fault of the test.
import os
import signal

SECONDS = 20


class CallFailed(Exception):
    pass


class Results:
    def __init__(self, calls, results):
        self.calls = calls
        self.results = results
        self.at = 0
        self.last = ""

    def call(self, name, args, kwargs):
        at = self.at
        if at >= len(self.calls):
            raise CallFailed("the test makes more calls than were recorded of it")
        self.at += 1
        mine = json.dumps({"f": name, "a": encode(list(args)), "k": encode(kwargs)}, separators=(",", ":"))
        if mine != self.calls[at]:
            raise CallFailed("call %d is not the one that was recorded: its arguments come from an earlier result" % (at + 1))
        if at >= len(self.results):
            raise CallFailed("the program ended before call %d" % (at + 1))
        self.last = self.results[at][:500]
        result = json.loads(self.results[at])
        if set(result) == {"v"}:
            return decode(result["v"])
        for kind in result["x"]:
            known = getattr(__builtins__, str(kind), None)
            if isinstance(known, type) and issubclass(known, Exception):
                raise known(str(result["m"]))
        raise CallFailed("%s: %s" % (result["x"][0], result["m"]))


def lines_of(data):
    text = data.decode("utf-8", "replace")
    return text[:-1].split("\n") if text.endswith("\n") else text.split("\n") if text else []


def end(passed, why, folder):
    with open(os.path.join(folder, "judgemessage.txt"), "w", encoding="utf-8", errors="replace") as f:
        f.write(why + "\n")
    os._exit(42 if passed else 43)


def prove(calls, spec, results, folder):
    signal.signal(signal.SIGALRM, lambda *_: end(False, "its results keep the test busy for too long", folder))
    signal.alarm(SECONDS)
    r = Results(calls, results)
    if len(results) > len(calls):
        end(False, "it gave %d results to %d calls" % (len(results), len(calls)), folder)
    try:
        run_test(spec, r.call)
    except BaseException as e:
        end(False, "%s\n%s: %s\ncall %d gave %s" % (where(e, spec), type(e).__name__, str(e)[:1000], r.at, r.last), folder)
    end(True, "%d calls" % r.at, folder)


def read(path):
    with open(path, "rb") as f:
        return f.read()


# input, answer and feedback directory, as an output validator is called; the program's output on standard input
prove(lines_of(read(sys.argv[1])), json.loads(read(sys.argv[2])), lines_of(sys.stdin.buffer.read()), sys.argv[3])
