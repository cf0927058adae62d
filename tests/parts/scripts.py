"""The 25 scripts that a worker through a broker is tried with: Python, Go, C, C++ and Java, each right, wrong, over its
time, over its memory, and not to be built.  They sum the integers on standard input, as those of the older worker's simulator.

    scripts.message("go", "tl", "id-1")            one message, as bytes
    scripts.all_messages()                         [(id, expected status, bytes)] of all 25
    scripts.check(result, expected)                complains when a result is not what the wire format says
"""

import json

OUTCOMES = ("ok", "wa", "tl", "ml", "bf")
STATUS = {"ok": "OK", "wa": "WA", "tl": "TL", "ml": "ML", "bf": "BF"}
LIMITS = {"tl": {"time_limit_ms": 1000, "memory_limit_bytes": 256 << 20}, "ml": {"time_limit_ms": 5000, "memory_limit_bytes": 16 << 20}}
USUAL = {"time_limit_ms": 2000, "memory_limit_bytes": 256 << 20}
TESTS = [{"number": 1, "input": "1 2 3\n", "expected_output": "6\n"}, {"number": 2, "input": "10 -5 7\n", "expected_output": "12\n"}]

PYTHON = {
    "ok": "import sys\nprint(sum(int(w) for w in sys.stdin.read().split()))\n",
    "wa": "import sys\nprint(sum(int(w) for w in sys.stdin.read().split()) + 1)\n",
    "tl": "import time\nwhile True:\n    time.sleep(3600)\n",
    "ml": "keep = []\nwhile True:\n    keep.append(bytearray(b'x' * (1 << 20)))\n",
    "bf": "import sys\nprint(sum(int(w for w in sys.stdin.read().split())\n",
}
GO_HEAD = 'package main\n\nimport (\n\t"bufio"\n\t"fmt"\n\t"os"\n)\n\nfunc main() {\n\tin := bufio.NewReader(os.Stdin)\n\tsum := %s\n' \
          "\tfor {\n\t\tvar v int\n\t\tif _, err := fmt.Fscan(in, &v); err != nil {\n\t\t\tbreak\n\t\t}\n\t\tsum += v\n\t}\n\tfmt.Println(sum)\n}\n"
GO = {
    "ok": GO_HEAD % "0",
    "wa": GO_HEAD % "1",
    "tl": 'package main\n\nimport "time"\n\nfunc main() {\n\tfor {\n\t\ttime.Sleep(time.Hour)\n\t}\n}\n',
    "ml": "package main\n\nvar keep [][]byte\n\nfunc main() {\n\tfor {\n\t\tb := make([]byte, 1<<20)\n\t\tfor i := range b {\n\t\t\tb[i] = 1\n\t\t}\n"
          "\t\tkeep = append(keep, b)\n\t}\n}\n",
    "bf": "package main\n\nfunc main() {\n\tvar sum int = \"none\"\n}\n",
}
C_SUM = "#include <stdio.h>\n\nint main(void)\n{\n    long v, sum = %s;\n    while (scanf(\"%%ld\", &v) == 1)\n        sum += v;\n    printf(\"%%ld\\n\", sum);\n    return 0;\n}\n"
C = {
    "ok": C_SUM % "0",
    "wa": C_SUM % "1",
    "tl": "#include <unistd.h>\n\nint main(void)\n{\n    for (;;)\n        sleep(3600);\n}\n",
    "ml": "#include <stdlib.h>\n#include <string.h>\n\nint main(void)\n{\n    for (;;) {\n        char *p = malloc(1 << 20);\n        if (p == NULL)\n"
          "            abort();\n        memset(p, 1, 1 << 20);\n    }\n}\n",
    "bf": "int main(void)\n{\n    return missing;\n}\n",
}
CPP_SUM = "#include <iostream>\n\nint main()\n{\n    long v, sum = %s;\n    while (std::cin >> v)\n        sum += v;\n    std::cout << sum << '\\n';\n}\n"
CPP = {
    "ok": CPP_SUM % "0",
    "wa": CPP_SUM % "1",
    "tl": "#include <chrono>\n#include <thread>\n\nint main()\n{\n    for (;;)\n        std::this_thread::sleep_for(std::chrono::hours(1));\n}\n",
    "ml": "#include <string>\n#include <vector>\n\nint main()\n{\n    std::vector<std::string> keep;\n    for (;;)\n        keep.emplace_back(1 << 20, 'x');\n}\n",
    "bf": "#include <iostream>\n\nint main()\n{\n    std::cout << missing;\n}\n",
}
JAVA_SUM = "import java.util.Scanner;\n\npublic class Main {\n    public static void main(String[] args) {\n        Scanner in = new Scanner(System.in);\n" \
           "        long sum = %s;\n        while (in.hasNextLong())\n            sum += in.nextLong();\n        System.out.println(sum);\n    }\n}\n"
JAVA = {
    "ok": JAVA_SUM % "0",
    "wa": JAVA_SUM % "1",
    "tl": "public class Main {\n    public static void main(String[] args) throws Exception {\n        while (true)\n            Thread.sleep(3600000);\n    }\n}\n",
    "ml": "import java.util.ArrayList;\n\npublic class Main {\n    public static void main(String[] args) {\n        ArrayList<byte[]> keep = new ArrayList<>();\n"
          "        while (true)\n            keep.add(new byte[1 << 20]);\n    }\n}\n",
    "bf": "public class Main {\n    public static void main(String[] args) {\n        System.out.println(missing);\n    }\n}\n",
}
SOURCES = {"python": PYTHON, "go": GO, "c": C, "cpp": CPP, "java": JAVA}
LANGUAGES = tuple(SOURCES)


def source(language, outcome, unique=None):
    """unique: a text that makes it a source of its own, so that no cache of builds knows it."""
    comment = "" if unique is None else f"{'#' if language == 'python' else '//'} {unique}\n"
    return comment + SOURCES[language][outcome]


def script(language, outcome, id, unique=None):
    s = {"type": "script", "id": id, "language": language, "source": source(language, outcome, unique), "limits": LIMITS.get(outcome, USUAL)}
    if outcome != "bf":
        s["tests"] = TESTS
    return s


def message(language, outcome, id, unique=None):
    return json.dumps(script(language, outcome, id, unique)).encode()


def all_messages(prefix="", unique=None, languages=LANGUAGES):
    out = []
    for language in languages:
        for outcome in OUTCOMES:
            id = f"{prefix}{language}-{outcome}"
            out.append((id, STATUS[outcome], message(language, outcome, id, None if unique is None else f"{unique} {id}")))
    return out


def check(r, expected):
    """A decoded result against the wire format and the status that its program must get."""
    assert r.get("status") == expected, (expected, r)
    assert {"id", "exit_code", "duration_ms", "timestamp", "event_id"} <= set(r), r
    if expected == "BF":
        assert "tests" not in r and r["stderr"] and r["exit_code"] != 0, r
        return
    assert [t["number"] for t in r["tests"]] == [1, 2] and r["duration_ms"] == sum(t["duration_ms"] for t in r["tests"]), r
    assert [t["status"] for t in r["tests"]] == (["OK", "OK"] if expected == "OK" else [expected, "-"]), r
    assert r["tests"][0]["input"] == "1 2 3\n" and r["tests"][0]["expected_output"] == "6\n", r
    if expected in ("OK", "WA"):
        assert r["exit_code"] == 0 and r["stdout"] == ("12\n" if expected == "OK" else "7\n"), r
    assert not any(v in ("", None, []) for v in r.values()), r
