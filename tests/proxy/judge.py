"""Holds what passed the proxy to the contract, and counts which operation was seen to give which status."""

import collections
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "contract"))
from contract import Contract  # noqa: E402

# names whose values are nobody's business, also in a test's log
SECRET = {"authorization", "cookie", "set-cookie"}


class Judge:
    def __init__(self, contract=None):
        self.contract = contract or Contract()
        self.seen = collections.Counter()  # (operation id or "-", status): how often
        self.samples = {}                  # (operation id, status): the shortest problem that was seen, for the contract's examples
        self.cache = {}                    # what was judged before: floods say the same again and again

    def exchange(self, request, answer):
        """What is wrong with an answer, and with the contract for a request that was taken."""
        if request is None:
            self.seen["-", answer.status] += 1
            if answer.status < 400:
                return ["an answer that no request asked for"]
            return self.contract.judge(None, "", answer.status, answer.headers, answer.body, answer.complete)
        if not request.sound:
            self.seen["-", answer.status] += 1
            if answer.status < 400:
                return [f"{answer.status} for what is not well-formed HTTP: {request.why}"]
            return self.contract.judge(None, "", answer.status, answer.headers, answer.body, answer.complete)
        method, target = request.method, request.target
        op = self.contract.asked(method, target, answer.status)
        self.seen[op["operationId"] if op else "-", answer.status] += 1
        if op and answer.status >= 400 and answer.body:
            key = f"{op['operationId']} {answer.status}"
            if len(answer.body) < len(self.samples.get(key, b"x" * 2000)):
                self.samples[key] = answer.body
        out = self.contract.judge(method, target, answer.status, answer.headers, answer.body, answer.complete and not answer.stream)
        if 200 <= answer.status < 300 and op:
            if not request.complete:
                return [*out, "was answered with success before all of it had come"]
            key = (method, target, request.headers.get("content-type"), request.body)
            faults = self.cache.get(key) if len(request.body) < 4096 else None
            if faults is None:
                faults = [f"the request was taken, although it {f}" for f in self.contract.taken(method, target, request.headers, request.body)]
                if len(request.body) < 4096 and len(self.cache) < 20000:
                    self.cache[key] = faults
            out += faults
        return out

    def taken(self):
        """What was seen since this was last asked, as {operation id: {status: how often}}."""
        out = {}
        for (op, status), n in self.seen.items():
            out.setdefault(op, {})[str(status)] = n
        self.seen.clear()
        samples, self.samples = {k: v.decode("utf-8", "replace") for k, v in self.samples.items()}, {}
        return {"operations": out, "samples": samples}

    def name(self, request, answer):
        if answer is None:
            return "an answer"
        if request is None or not request.sound:
            return f"{answer.status} to what is no request"
        op = self.contract.asked(request.method, request.target, answer.status)
        return f"{request.method} {request.target[:200]} ({op['operationId'] if op else 'no operation'}), {answer.status}"


def shown(message):
    """A message for a log: short, and without what signs in."""
    if message is None:
        return ""
    head = "; ".join(f"{n}: {'(not shown)' if n in SECRET else v[:80]}" for n, v in message.fields)
    return f"{head} | {message.body[:400].decode('utf-8', 'replace')}"
