# Writes down the calls that a test makes, with the data set's own solution, in a box of the server. The test has to
# pass with results that went through data, or nobody's could.
import base64
import zlib


def record(spec):
    space = {"__name__": "solution"}
    exec(compile(spec["program"], "program", "exec"), space)
    calls = []

    def call(name, args, kwargs):
        said = encode([list(args), kwargs])
        if '{"o":' in json.dumps(said):
            raise NotPlain("an argument of %s is not plain data" % name)
        calls.append(json.dumps({"f": name, "a": said[0], "k": said[1]}, separators=(",", ":")))
        given = decode(said)
        return decode(json.loads(to_text(space[name](*given[0], **given[1]))))
    try:
        run_test(spec, call)
        if not calls:
            raise NotPlain("the test calls none of: " + " ".join(spec["names"]))
        answer = {"calls": base64.b64encode(zlib.compress("".join(c + "\n" for c in calls).encode())).decode(), "n": len(calls)}
    except BaseException as e:
        answer = {"error": "%s: %s: %s" % (where(e, spec), type(e).__name__, str(e)[:300])}
    print(json.dumps(answer))


record(json.load(sys.stdin))
