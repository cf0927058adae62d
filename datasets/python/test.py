# Runs a test whose calls of the program's functions are made by `call`.
import sys


class NotPlain(Exception):
    pass


def caller(name, call):
    def function(*args, **kwargs):
        return call(name, args, kwargs)
    function.__name__ = name
    return function


def run_test(spec, call):
    space = {"__name__": "__test__"}
    if "random" in spec["test"] or "random" in spec["setup"]:
        import random
        random.seed(0)  # the same calls each time
    exec(compile(spec["setup"], "setup", "exec"), space)
    for name in spec["names"]:
        space[name] = caller(name, call)
    exec(compile(spec["test"], "test", "exec"), space)


def where(e, spec):
    """The test's own line that failed, which is what a judge wants to see."""
    line = 0
    trace = e.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "test":
            line = trace.tb_lineno
        trace = trace.tb_next
    lines = spec["test"].split("\n")
    return "line %d: %s" % (line, lines[line - 1].strip()) if 0 < line <= len(lines) else "the test"
