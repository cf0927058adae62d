"""Programs that know what they used, and what results must say of them; for test_measure.py and tests/vm."""

import statistics

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

# The same by the system call that malloc makes, for where there is no compiler.
MAPPING = """import mmap, time
n = int(input())
m = mmap.mmap(-1, n, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for i in range(0, n, 4096): m[i] = 1
print(time.process_time_ns() // 1000)
"""

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


def growth_faults(run, language, program):
    """run(language, source, input) gives a test of a result. What of the reported growth is over 5 % away from the truth.

    Medians of some runs where half a megabyte is more than that: so much are a runtime's own ways, and the
    kernel's stocks of charges (64 pages for each processor).
    """
    def own(size):
        tests = [run(language, program, f"{size}\n") for _ in range(5 if size < 32 * MIB else 1)]
        odd = [t for t in tests if t["verdict"] != "WA" or t["memory_own_bytes"] is None]
        assert not odd, odd
        return statistics.median(t["memory_own_bytes"] for t in tests)

    base = own(1)
    grown = {size: own(size) - base for size in SIZES}
    return [(language, size, n) for size, n in grown.items() if abs(n - size) > size * 0.05]
