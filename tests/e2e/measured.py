"""Programs that know what they used, and what results must say of them; for test_measure.py and tests/vm."""

MIB = 1 << 20
SIZES = (8 * MIB, 64 * MIB, 256 * MIB)

# Each takes as many bytes of anonymous memory as its input says, and prints its own CPU time in microseconds.
GROWING = {
    "c": """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
int main(void) {
    long n;
    if (scanf("%ld", &n) != 1) return 1;
    char *p = malloc(n);
    memset(p, 1, n);
    __asm__ volatile("" : : "r"(p) : "memory"); /* or the compiler sees that nobody reads it */
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    printf("%ld\\n", t.tv_sec * 1000000 + t.tv_nsec / 1000);
}
""",
    "python": "import time\nx = b'1' * int(input())\nprint(time.process_time_ns() // 1000)\n",
    # 1 MB at a time would be copied between generations, which is the collector's doing and not the program's
    "java": """
import java.lang.management.*;
public class Main {
    static byte[] x;
    public static void main(String[] a) throws Exception {
        x = new byte[Integer.parseInt(new java.util.Scanner(System.in).nextLine().trim())];
        long t = ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
        System.out.println(t / 1000);
    }
}
""",
}

# Burns as many milliseconds of CPU time as its input says, then says what it has used itself, in microseconds.
BURNING = "import time\nn = int(input()) * 1000000\nwhile time.process_time_ns() < n: pass\nprint(time.process_time_ns() // 1000)\n"
SPINNING = "while True: pass\n"
PROCESSORS = """import os
before = os.sched_getaffinity(0)
try:
    os.sched_setaffinity(0, range(1024))
    print("widened")
except PermissionError:
    print("refused")
print(len(before), len(os.sched_getaffinity(0)))
"""


def growth_faults(run, language):
    """run(language, source, input) gives a test of a result. What of the reported growth is over 5 % away from the truth."""
    faults = []
    base = run(language, GROWING[language], "1\n")
    for size in SIZES:
        t = run(language, GROWING[language], f"{size}\n")
        if None in (t["memory_own_bytes"], base["memory_own_bytes"]):
            faults.append((language, size, None, t, base))
            continue
        grown = t["memory_own_bytes"] - base["memory_own_bytes"]
        if t["verdict"] != "WA" or abs(grown - size) > size * 0.05:
            faults.append((language, size, grown, t))
    return faults
