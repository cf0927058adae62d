# The program's side: calls come in, a line each, and results go out, a line each. It holds no test, and nothing that it
# says is believed beyond "this is what was returned", so it need not be kept from the program that it runs.
import os
import sys


def names_of(e):
    return [c.__name__ for c in type(e).__mro__ if c not in (object, BaseException)]


def serve():
    calls = sys.stdin.buffer.read().decode().split("\n")
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # what the program prints is not among the results, and there is nothing to be read
    os.dup2(2, 1)
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    import solution
    for line in calls:
        if not line:
            continue
        call = json.loads(line)
        try:
            function = getattr(solution, call["f"])
            text = '{"v":' + to_text(function(*decode(call["a"]), **decode(call["k"]))) + "}"
        except MemoryError:
            raise
        except BaseException as e:
            text = json.dumps({"x": names_of(e), "m": str(e)[:1000]})
        results.write(text + "\n")
        results.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # whatever the program has left running


serve()
