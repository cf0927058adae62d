"""Data sets of functions in C++, Go and Java, in the form of HumanEval-X: imported, judged, and not to be cheated. The tasks are our own."""

import sys

import harness
from harness import Skip
from test_datasets import assay, judged, lines, started

CPP = {"task_id": "CPP/0", "declaration": "#include<vector>\nusing namespace std;\nmap<string,int> tally(vector<string> words){\n",
       "prompt": "/*\nHow often each { comes.\n*/\n#include<stdio.h>\n#include<vector>\n#include<map>\n#include<string>\nusing namespace std;\n"
                 "string plus_one(string s){\n    return s+\"1\";\n}\n\nmap<string,int> tally(vector<string> words){\n",
       "canonical_solution": "    map<string,int> out;\n    for (auto w : words) out[w]++;\n    return out;\n}\n\n",
       "test": "#undef NDEBUG\n#include<assert.h>\nbool same(map<string,int> a, map<string,int> b){\n    return a==b;\n}\nint main(){\n"
               "    assert (same(tally({\"a\", \"b\", \"a\"}), {{\"a\",2},{\"b\",1}}));\n    assert (tally({plus_one(\"a \\n'%\")})[\"a \\n'%1\"] == 1);\n"
               "    assert (tally({}).empty());\n}\n"}
CPP_FLOAT = {"task_id": "CPP/1", "declaration": "x", "prompt": "#include<vector>\n#include<math.h>\nusing namespace std;\ndouble mean(const vector<float> &v, int n){\n",
             "canonical_solution": "    double s = 0;\n    for (float x : v) s += x;\n    return s / n;\n}\n",
             "test": "#undef NDEBUG\n#include<assert.h>\nint main(){\n    vector<float> v={1.5, 2.25};\n    assert (fabs(mean(v, 2)-1.875)<1e-9);\n    assert (isnan(mean({}, 0)));\n}\n"}
CPP_HEAD = "#include <bits/stdc++.h>\n#include <unistd.h>\n#include <fcntl.h>\n#include <signal.h>\nusing namespace std;\n"
CPP_TALLY = "map<string,int> tally(vector<string> words) "
CPP_LIE = CPP_TALLY + "{ return {{\"a\", 7}}; }\n"
CPP_CHEATS = {
    "early exit": CPP_TALLY + "{ exit(0); }\n",
    "exit before main": "struct Now { Now() { _exit(0); } } now;\n" + CPP_LIE,
    "exit with the checker's code": CPP_TALLY + "{ _exit(42); }\n",
    "no assertions": "#define NDEBUG\n#undef assert\n#define assert(x)\n" + CPP_LIE,
    "another meaning of comparing": "namespace std { inline bool operator==(const map<string,int> &, const map<string,int> &) { return true; } }\n" + CPP_LIE,
    "another main": CPP_LIE + "int main() { puts(\"passed\"); return 42; }\n",
    "an abort handler": "struct Now { Now() { signal(SIGABRT, [](int) { _exit(0); }); atexit([] { _exit(42); }); } } now;\n" + CPP_LIE,
    "forged results": CPP_TALLY + "{ for (int fd = 1; fd < 16; fd++) if (write(fd, \"= [2 'a 2 'b 1\\n\", 15)) {} return {}; }\n",
    "forged and gone": CPP_TALLY + "{ for (int fd = 1; fd < 16; fd++) if (write(fd, \"= [2 'a 2 'b 1\\n= [0\\n= [0\\n\", 25)) {} _exit(0); }\n",
    "reads the test": "bool found() { for (auto p : {\"/proc/self/exe\", \"/box/main.cpp\", \"/proc/self/cmdline\", \"/box/app/main\"}) { ifstream f(p); string s((istreambuf_iterator<char>(f)), {}); "
                      "if (s.find(string(\"assert (same\") + \"(tally\") != string::npos) return true; } return false; }\n" + CPP_TALLY
                      + "{ map<string,int> m; if (found()) for (auto w : words) m[w]++; return m; }\n",
    "a type that is another's": "struct Any { template<class T> operator T() const { return T(); } };\nAny tally(vector<string>) { return {}; }\n",
    "a fork": CPP_TALLY + "{ if (fork() == 0) _exit(0); return {{\"a\", 7}}; }\n",
    "nothing": "\n",
}


def of_language(server, language, *tasks):
    started(server)
    def settled():
        found = [i for i in server.login().get("/languages").json["items"] if i["name"] == language]
        return found if found[0]["state"] != "testing" else None
    if not harness.wait_for(f"the trial of {language}", settled, 120)[0]["offered"]:
        raise Skip(f"no {language} where boxes run")
    assay(server, "import", "humaneval-x", "-b", language, lines(server, f"{language}.jsonl", tasks))


def cheated(server, language, task, cheats, right):
    """None of the ways passes, and all of it is the program's fault; what a right program prints is none."""
    got = judged(server, language, [{"task_id": task, "solution": s} for s in [*cheats.values(), right]])
    verdicts = {n: i["verdict"] for n, i in zip([*cheats, "right"], got["items"])}
    assert verdicts.pop("right") == "OK" and set(verdicts.values()) <= {"WA", "RE", "BF"}, verdicts


def test_humaneval_x_in_cpp(server):
    of_language(server, "cpp", CPP, CPP_FLOAT)
    rows = [("CPP/0", CPP["canonical_solution"]), ("CPP/0", "    return {};\n}\n"), ("CPP/1", CPP_FLOAT["canonical_solution"]), ("CPP/1", "    return 1;\n}\n")]
    got = judged(server, "cpp", [{"task_id": t, "completion": c} for t, c in rows])
    assert [i["verdict"] for i in got["items"]] == ["OK", "WA", "OK", "WA"], got
    cheated(server, "cpp", "CPP/0", {n: CPP_HEAD + c for n, c in CPP_CHEATS.items()},
            CPP_HEAD + "#define int long\n#define all(x) x.begin(), x.end()\nmap<string,signed> tally(vector<string> w) { cout << \"noise\" << endl; map<string,signed> m; for (auto &x : w) m[x]++; return m; }\n")
    r = assay(server, "import", "humaneval-x", "-b", "cpp2", lines(server, "x.jsonl", [dict(CPP, canonical_solution="    return {};\n}\n")]), status=(1,))
    assert "same(tally" in r.stderr, r.stderr
    r = assay(server, "import", "humaneval-x", "-b", "cpp2", lines(server, "x.jsonl", [dict(CPP, prompt="int x;\n")]), status=(9,))
    assert "x.jsonl:1" in r.stderr and "head of a function" in r.stderr, r.stderr


GO = {"task_id": "Go/0", "declaration": "\nfunc Tally(words []string) map[string]int {\n", "import": "import (\n    \"sort\"\n)\n",
      "prompt": "import (\n    \"sort\"\n)\n\nfunc PlusOne(s string) string {\n    return s + \"1\"\n}\n\n// How often each { comes.\nfunc Tally(words []string) map[string]int {\n",
      "canonical_solution": "    sort.Strings(words)\n    out := map[string]int{}\n    for _, w := range words {\n        out[w]++\n    }\n    return out\n}\n\n",
      "test_setup": "package main\n\nimport (\n    \"testing\"\n    \"math\"\n    \"github.com/stretchr/testify/assert\"\n)\n",
      "test": "func TestTally(t *testing.T) {\n    assert := assert.New(t)\n    assert.Equal(map[string]int{\"a\": 2, \"b\": 1}, Tally([]string{\"a\", \"b\", \"a\"}))\n"
              "    assert.Equal(1, Tally([]string{PlusOne(\"a \\n'%\")})[\"a \\n'%1\"])\n    assert.Equal(map[string]int{}, Tally([]string{}))\n}\n"}
GO_MANY = {"task_id": "Go/1", "declaration": "x", "prompt": "import \"errors\"\n\nfunc Parts(v []float64, any interface{}, n int) (float64, []interface{}, error) {\n",
           "canonical_solution": "    if n < 0 {\n        return 0, nil, errors.New(\"below zero\")\n    }\n    if n > 0 {\n        return Parts(v, any, n - 1)\n    }\n"
                                 "    s := 0.0\n    for _, x := range v {\n        s += x\n    }\n    return s, []interface{}{any, 1, \"x\", 2.5, nil}, nil\n}\n",
           "test_setup": "package main\n\nimport (\n    \"testing\"\n    \"math\"\n    \"github.com/stretchr/testify/assert\"\n)\n",
           "test": "func TestParts(t *testing.T) {\n    assert := assert.New(t)\n    s, list, err := Parts([]float64{1.5, 0.1}, true, 2)\n    assert.Equal(true, math.Abs(s - 1.6) < 1e-12)\n"
                   "    assert.Equal([]interface{}{true, 1, \"x\", 2.5, nil}, list)\n    assert.Nil(err)\n    _, list, err = Parts(nil, []int{1}, -1)\n    assert.Nil(list)\n"
                   "    assert.NotNil(err)\n    assert.InDelta(0, s - 1.6, 1e-9)\n}\n"}
GO_TALLY = "func Tally(words []string) map[string]int "
GO_LIE = GO_TALLY + "{ return map[string]int{\"a\": 7} }\n"
GO_CHEATS = {
    "early exit": "import \"os\"\n" + GO_TALLY + "{ os.Exit(0); return nil }\n",
    "exit before main": "import \"os\"\nfunc init() { os.Exit(0) }\n" + GO_LIE,
    "exit with the checker's code": "import \"os\"\n" + GO_TALLY + "{ os.Exit(42); return nil }\n",
    "another main": GO_LIE + "func main() {}\n",
    "its own assertions": "type T struct{}\nfunc (T) Equal(a, b interface{}) bool { return true }\nvar assert T\n" + GO_LIE,
    "its own encoder": "func assayPut(interface{}) string { return \"{2 'a 2 'b 1\" }\n" + GO_LIE,
    "forged results": "import \"syscall\"\n" + GO_TALLY + "{ for fd := 1; fd < 16; fd++ { syscall.Write(fd, []byte(\"= {2 'a 2 'b 1\\n\")) }; return nil }\n",
    "forged and gone": "import \"syscall\"\n" + GO_TALLY + "{ syscall.Write(1, []byte(\"= {2 'a 2 'b 1\\n= {0\\n= {0\\n= {0\\n\")); syscall.Exit(0); return nil }\n",
    "a goroutine that exits": "import \"os\"\nfunc init() { go os.Exit(0) }\n" + GO_LIE,
    "another type": "func Tally(words []string) interface{} { return true }\n",
    "reads the test": "import (\"io/ioutil\"; \"bytes\")\n" + GO_TALLY + "{ m := map[string]int{}; b, _ := ioutil.ReadFile(\"/proc/self/exe\"); "
                      "if bytes.Contains(b, []byte(\"Test\" + \"Tally\")) { for _, w := range words { m[w]++ } }; return m }\n",
    "a panic": GO_TALLY + "{ panic(\"passed\") }\n",
    "nil": GO_TALLY + "{ return nil }\n",
}


def test_humaneval_x_in_go(server):
    of_language(server, "go", GO, GO_MANY)
    rows = [("Go/0", GO["canonical_solution"]), ("Go/0", "    sort.Strings(words)\n    return nil\n}\n"), ("Go/1", GO_MANY["canonical_solution"]),
            ("Go/1", "    return 1, nil, errors.New(\"\")\n}\n")]
    got = judged(server, "go", [{"task_id": t, "completion": c} for t, c in rows])
    assert [i["verdict"] for i in got["items"]] == ["OK", "WA", "OK", "WA"], got
    cheated(server, "go", "Go/0", {n: "package main\n" + c for n, c in GO_CHEATS.items()},
            "package main\nimport \"fmt\"\n" + GO_TALLY + "{ fmt.Println(\"noise\"); m := map[string]int{}; for _, w := range words { m[w]++ }; return m }\n")
    r = assay(server, "import", "humaneval-x", "-b", "go2", lines(server, "x.jsonl", [dict(GO, canonical_solution="    sort.Strings(words)\n    return nil\n}\n")]), status=(1,))
    assert "expected map[string]int" in r.stderr, r.stderr


JAVA = {"task_id": "Java/0", "declaration": "x",
        "prompt": "import java.util.*;\nimport java.lang.*;\n\nclass Solution {\n    public String plusOne(String s) {\n        return s + \"1\";\n    }\n\n    /**\n    How often each { comes.\n     */\n"
                  "    public Map<String, Integer> tally(List<String> words, Map<String, List<Integer>> more) {\n",
        "canonical_solution": "        Map<String, Integer> out = new HashMap<>();\n        for (String w : words) out.merge(w, 1, Integer::sum);\n        return out;\n    }\n}",
        "test": "public class Main {\n    public static void main(String[] args) {\n        Solution s = new Solution();\n        Map<String, List<Integer>> none = new HashMap<>();\n"
                "        List<Boolean> correct = Arrays.asList(\n                s.tally(Arrays.asList(\"a\", \"b\", \"a\"), none).equals(Map.of(\"a\", 2, \"b\", 1)),\n"
                "                s.tally(new ArrayList<>(List.of(s.plusOne(\"a \\n'%\\u00e4\"))), Map.of(\"x\", List.of(1, 2))).get(\"a \\n'%\\u00e41\") == 1,\n"
                "                s.tally(List.of(), none).isEmpty()\n        );\n        if (correct.contains(false)) {\n            throw new AssertionError();\n        }\n    }\n}\n"}
JAVA_KINDS = {"task_id": "Java/1", "declaration": "x", "prompt": "import java.util.*;\n\nclass Solution {\n    public double part(double[] v, long n, char c, Object any) {\n",
              "canonical_solution": "        if (n == 0) throw new IllegalArgumentException(\"none\");\n        return Arrays.stream(v).sum() / n + (c == 'x' ? 1 : 0) + (any instanceof Integer ? 10 : any instanceof String ? 20 : 30);\n    }\n}",
              "test": "public class Main {\n    public static void main(String[] args) {\n        Solution s = new Solution();\n        boolean thrown = false;\n"
                      "        try { s.part(new double[] {1}, 0, 'y', null); } catch (RuntimeException e) { thrown = true; }\n"
                      "        if (!thrown || Math.abs(s.part(new double[] {1.5, 0.1}, 2, 'x', 3) - 11.8) > 1e-9 || s.part(new double[0], 1, 'y', \"3\") != 20 || s.part(new double[0], 1, 'y', 3L) != 30)\n"
                      "            throw new AssertionError();\n    }\n}\n"}
JAVA_HEAD = "import java.util.*;\nimport java.io.*;\n"
JAVA_TALLY = "    public Map<String, Integer> tally(List<String> words, Map<String, List<Integer>> more) "
JAVA_LIE = "class Solution {\n" + JAVA_TALLY + "{ return new HashMap<>(Map.of(\"a\", 7)); }\n"
JAVA_CHEATS = {
    "early exit": "class Solution {\n" + JAVA_TALLY + "{ System.exit(0); return null; }\n}\n",
    "halt in a static block": JAVA_LIE + "    static { Runtime.getRuntime().halt(0); }\n}\n",
    "exit with the checker's code": JAVA_LIE + "    { Runtime.getRuntime().halt(42); }\n}\n",
    "a map that equals everything": "class Solution {\n" + JAVA_TALLY + "{ return new HashMap<String, Integer>() { public boolean equals(Object o) { return true; }\n"
                                    "        public Integer get(Object k) { return 1; } public boolean isEmpty() { return true; } }; }\n}\n",
    "another main": JAVA_LIE + "}\nclass Main { public static void main(String[] a) { } }\n",
    "its own encoder": JAVA_LIE + "}\nclass AssayValues { static String put(Object v) { return \"{2 'a i2 'b i1\"; } }\n",
    "a patched result by reflection": JAVA_LIE + "    static { try { for (Class<?> c : new Class<?>[] {Class.forName(\"AssayTest\"), Class.forName(\"Main\")}) c.getDeclaredField(\"at\").setAccessible(true); } "
                                      "catch (Exception e) { } }\n}\n",
    "forged results": "class Solution {\n" + JAVA_TALLY + "{ try { for (int i = 0; i < 4; i++) new FileOutputStream(FileDescriptor.out).write(\"= {2 'a i2 'b i1\\n\".getBytes()); } "
                      "catch (IOException e) { } return null; }\n}\n",
    "a hook": JAVA_LIE + "    static { Runtime.getRuntime().addShutdownHook(new Thread(() -> Runtime.getRuntime().halt(42))); }\n}\n",
    "a thread that exits": JAVA_LIE + "    static { new Thread(() -> Runtime.getRuntime().halt(0)).start(); }\n}\n",
    "reads the test": "class Solution {\n" + JAVA_TALLY + "{ Map<String, Integer> m = new HashMap<>(); try { Class.forName(\"AssayTest\"); for (String w : words) m.merge(w, 1, Integer::sum); } "
                      "catch (ClassNotFoundException e) { } return m; }\n}\n",
    "a value of its own class": "class Solution {\n    public Object tally(List<String> words, Map<String, List<Integer>> more) { return this; }\n    public boolean equals(Object o) { return true; }\n}\n",
    "null": "class Solution {\n" + JAVA_TALLY + "{ return null; }\n}\n",
}


def test_humaneval_x_in_java(server):
    of_language(server, "java", JAVA, JAVA_KINDS)
    rows = [("Java/0", JAVA["canonical_solution"]), ("Java/0", "        return new HashMap<>();\n    }\n}"), ("Java/1", JAVA_KINDS["canonical_solution"]),
            ("Java/1", "        return 20;\n    }\n}")]
    got = judged(server, "java", [{"task_id": t, "completion": c} for t, c in rows])
    assert [i["verdict"] for i in got["items"]] == ["OK", "WA", "OK", "WA"], got
    cheated(server, "java", "Java/0", {n: JAVA_HEAD + c for n, c in JAVA_CHEATS.items()},
            JAVA_HEAD + "public class Solution {\n" + JAVA_TALLY + "{ System.out.println(\"noise\"); Map<String, Integer> m = new TreeMap<>() {{ put(\"z\", 0); remove(\"z\"); }};\n"
            "        for (String w : words) m.merge(w, 1, Integer::sum); return m; }\n}\n")
    r = assay(server, "import", "humaneval-x", "-b", "java2", lines(server, "x.jsonl", [dict(JAVA, canonical_solution="        return null;\n    }\n}")]), status=(1,))
    assert "Java/0" in r.stderr and "NullPointerException" in r.stderr, r.stderr


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
