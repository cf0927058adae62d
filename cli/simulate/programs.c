/*
 * The programs: each sums the integers on standard input, or fails to in its own way.
 *
 * They are the older simulator's: inputs, limits and outcomes are its, crash and flood are new.  What sleeps needs no
 * processor and what crashes prints nothing, so a verdict does not depend on how busy the machine is.
 */
#include "simulate.h"

#define MIB ((json_int_t)1 << 20)

const char *const sim_languages[SIM_LANGUAGES] = {"python", "go", "c", "cpp", "java"};

const struct sim_outcome sim_outcomes[SIM_OUTCOMES] = {
    {"ok", "OK", "OK", "sum", {2000, 10000, 256 * MIB}, true},
    {"wa", "WA", "WA", "sum", {2000, 10000, 256 * MIB}, true},
    {"tl", "TL", "TL", "time", {1000, 1000, 256 * MIB}, true},
    {"ml", "ML", "ML", "memory", {5000, 20000, 16 * MIB}, true},
    {"bf", "BF", "BF", "sum", {2000, 10000, 256 * MIB}, false},
    {"re", "RE", "WA", "sum", {2000, 10000, 256 * MIB}, true},
    {"ol", "OL", "WA", "sum", {2000, 10000, 256 * MIB}, true},
};

const struct sim_test sim_tests[SIM_TESTS] = {{"1 2 3\n", "6\n"}, {"10 -5 7\n", "12\n"}};

#define C_SUM(print)                                                                                                   \
    "#include <stdio.h>\n\nint main(void)\n{\n    long sum = 0, n;\n    while (scanf(\"%ld\", &n) == 1)\n"             \
    "        sum += n;\n    printf(\"%ld\\n\", " print ");\n    return 0;\n}\n"
#define CPP_SUM(print)                                                                                                 \
    "#include <iostream>\n\nint main()\n{\n    long sum = 0, n;\n    while (std::cin >> n)\n        sum += n;\n"       \
    "    std::cout << " print " << '\\n';\n}\n"
#define GO_SUM(print)                                                                                                  \
    "package main\n\nimport \"fmt\"\n\nfunc main() {\n\tsum, n := 0, 0\n"                                              \
    "\tfor {\n\t\tif _, err := fmt.Scan(&n); err != nil {\n\t\t\tbreak\n\t\t}\n\t\tsum += n\n\t}\n\tfmt.Println(" print ")\n}\n"
#define JAVA(imports, body) imports "public class Main {\n    public static void main(String[] args) throws Exception {\n" body "    }\n}\n"
#define JAVA_SUM(print)                                                                                                \
    JAVA("import java.util.Scanner;\n\n", "        Scanner in = new Scanner(System.in);\n        long sum = 0;\n"        \
         "        while (in.hasNextLong())\n            sum += in.nextLong();\n        System.out.println(" print ");\n")

static const char *const programs[SIM_LANGUAGES][SIM_OUTCOMES] = {
    {
        "import sys\n\nprint(sum(int(word) for word in sys.stdin.read().split()))\n",
        "import sys\n\nprint(sum(int(word) for word in sys.stdin.read().split()) + 1)\n",
        "import time\n\nwhile True:\n    time.sleep(60)\n",
        "hoard = []\nwhile True:\n    hoard.append(bytearray(1 << 20))\n",
        "def total(:\n    return 0\n",
        "raise SystemExit(3)\n",
        "while True:\n    print('x' * 4096)\n",
    },
    {
        GO_SUM("sum"),
        GO_SUM("sum + 1"),
        "package main\n\nimport \"time\"\n\nfunc main() {\n\tfor {\n\t\ttime.Sleep(time.Minute)\n\t}\n}\n",
        "package main\n\nvar hoard [][]byte\n\nfunc main() {\n\tfor {\n\t\tblock := make([]byte, 1<<20)\n"
        "\t\tfor i := range block {\n\t\t\tblock[i] = 1\n\t\t}\n\t\thoard = append(hoard, block)\n\t}\n}\n",
        "package main\n\nfunc main() {\n\treturn nothing(\n}\n",
        "package main\n\nimport \"os\"\n\nfunc main() {\n\tos.Exit(3)\n}\n",
        "package main\n\nimport (\n\t\"os\"\n\t\"strings\"\n)\n\nfunc main() {\n\tline := strings.Repeat(\"x\", 4096) + \"\\n\"\n"
        "\tfor {\n\t\tos.Stdout.WriteString(line)\n\t}\n}\n",
    },
    {
        C_SUM("sum"),
        C_SUM("sum + 1"),
        "#include <unistd.h>\n\nint main(void)\n{\n    for (;;)\n        sleep(60);\n}\n",
        "#include <stdlib.h>\n#include <string.h>\n\nint main(void)\n{\n    for (;;) {\n        char *p = malloc(1 << 20);\n"
        "        if (p)\n            memset(p, 1, 1 << 20);\n    }\n}\n",
        "int main(void)\n{\n    return nothing(;\n}\n",
        "int main(void)\n{\n    return 3;\n}\n",
        "#include <stdio.h>\n\nint main(void)\n{\n    for (;;)\n        puts(\"and another line, and another line\");\n}\n",
    },
    {
        CPP_SUM("sum"),
        CPP_SUM("sum + 1"),
        "#include <unistd.h>\n\nint main()\n{\n    for (;;)\n        sleep(60);\n}\n",
        "#include <vector>\n\nint main()\n{\n    std::vector<std::vector<char>> hoard;\n    for (;;)\n"
        "        hoard.emplace_back(1 << 20, 'x');\n}\n",
        "int main()\n{\n    return nothing(;\n}\n",
        "int main()\n{\n    return 3;\n}\n",
        "#include <cstdio>\n\nint main()\n{\n    for (;;)\n        std::puts(\"and another line, and another line\");\n}\n",
    },
    {
        JAVA_SUM("sum"),
        JAVA_SUM("sum + 1"),
        JAVA("", "        for (;;)\n            Thread.sleep(60000);\n"),
        JAVA("import java.util.ArrayList;\nimport java.util.List;\n\n",
             "        List<byte[]> hoard = new ArrayList<>();\n        for (;;)\n            hoard.add(new byte[1 << 20]);\n"),
        JAVA("", "        return nothing(;\n"),
        JAVA("", "        System.exit(3);\n"),
        JAVA("", "        for (;;)\n            System.out.println(\"and another line, and another line\");\n"),
    },
};

char *sim_program(size_t language, size_t outcome, const char *tag)
{
    const char *text = programs[language][outcome];

    return tag == NULL ? cli_strdup(text) : cli_fmt("%s%s %s\n", text, language == 0 ? "#" : "//", tag);
}

json_t *sim_tests_json(bool numbered)
{
    json_t *all = json_array();

    for (size_t i = 0; i < SIM_TESTS; i++) {
        json_t *t = json_pack("{s:s, s:s}", "input", sim_tests[i].input, "expected_output", sim_tests[i].output);

        if (numbered && json_object_set_new(t, "number", json_integer((json_int_t)i + 1)) != 0)
            cli_jsonp(&t);
        if (json_array_append_new(all, t) != 0)
            cli_jsonp(&all);
    }
    return all;
}
