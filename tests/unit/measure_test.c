/*
 * What a box reports of a program, against what the program knows of itself: CPU time, memory, limits,
 * processors.  Needs root and cgroup v1 hierarchies that we may make leaves in; on version 2 the same is
 * asked by tests/vm.  No test here looks at wall time: CPU accounts do not depend on who else is busy.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "box_rig.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BIG_FILE (160 * MIB)

static char big_path[64];

static struct assay_str environment[] = {ASSAY_STR("PATH=/usr/bin:/bin"), ASSAY_STR("PYTHONHASHSEED=0")};

static void ask(struct ask *a, const char *const *argv)
{
    size_t n = 0;
    ask_words(a, "");
    for (; argv[n] && n < 8; n++)
        a->argv[n] = assay_str(argv[n]);
    a->spec.n_argv = n;
    a->spec.env = environment;
    a->spec.n_env = 2;
    a->spec.limits = (struct assay_box_limits){.cpu_ms = 10000,
                                               .wall_ms = 60000,
                                               .memory_bytes = 1024 * MIB,
                                               .stdout_bytes = MIB,
                                               .stderr_bytes = 65536,
                                               .scratch_bytes = 256 * MIB};
}

#define ASK(a, ...) ask((a), (const char *const[]){__VA_ARGS__, NULL})

static void well(struct ask *a)
{
    run(a);
    if (oc.end != ASSAY_BOX_EXITED || oc.exit_code != 0)
        fail_msg("end %d, exit code %d, signal %d, \"%s\", %s", oc.end, oc.exit_code, oc.signal, oc.message,
                 errout.p != NULL ? errout.p : "");
    assert_true(oc.finished);
}

static int64_t own(struct ask *a)
{
    well(a);
    return oc.memory_own_bytes;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* The median of five: the kernel counts in batches of 64 pages for each processor, which shows beside a few megabytes. */
static int64_t own_median(struct ask *a)
{
    int64_t v[5];
    for (size_t i = 0; i < 5; i++)
        v[i] = own(a);
    qsort(v, 5, sizeof v[0], by_size);
    return v[2];
}

/* ---- CPU time ---- */

static void cpu_is_what_the_program_counted(void **state)
{
    (void)state;
    static const char *const ms[] = {"20", "200", "800"};
    for (size_t i = 0; i < 3; i++) {
        struct ask a;
        ASK(&a, "prog", "burn", ms[i]);
        well(&a);
        int64_t theirs = strtoll(out.p, NULL, 10) / 1000;
        assert_true(oc.precision & 1);
        /* what it cannot see of itself: the way into it and out again */
        assert_in_range(oc.cpu_us, theirs, theirs + theirs / 100 + 1000);
        assert_int_equal(oc.cpu_user_us + oc.cpu_system_us, oc.cpu_us);
    }
}

static void threads_and_hidden_children_are_counted(void **state)
{
    (void)state;
    struct ask a;
    ASK(&a, "prog", "threads", "4", "100");
    well(&a);
    assert_in_range(oc.cpu_us, 400000, 440000);
    ASK(&a, "prog", "hidden", "150");
    well(&a);
    assert_in_range(oc.cpu_us, 150000, 170000);
}

/* ---- the limit ---- */

static void over_the_limit_but_not_killed(void **state)
{
    (void)state;
    struct ask a;
    ASK(&a, "prog", "burn", "250");
    a.spec.limits.cpu_ms = 200;
    a.spec.limits.cpu_hard_ms = 2000;
    run(&a);
    assert_int_equal(oc.end, ASSAY_BOX_CPU);
    assert_true(oc.finished);
    assert_int_equal(oc.exit_code, 0);
    assert_in_range(oc.cpu_us, 250000, 300000);
    ASK(&a, "prog", "burn", "100000");
    a.spec.limits.cpu_ms = 200;
    a.spec.limits.cpu_hard_ms = 400;
    run(&a);
    assert_int_equal(oc.end, ASSAY_BOX_CPU);
    assert_false(oc.finished);
    assert_in_range(oc.cpu_us, 400000, 600000);
    a.spec.limits.cpu_hard_ms = 199;
    struct assay_err err;
    assert_int_equal(assay_box_client_run(fx.client, &a.spec, &err), ASSAY_E_INVALID);
}

/* ---- memory ---- */

static void assert_growth(const char *what, int64_t grown, int64_t asked)
{
    if (grown < asked - asked / 20 || grown > asked + asked / 20)
        fail_msg("%s: grew by %lld, reported as %lld", what, (long long)asked, (long long)grown);
}

static void growth_is_what_the_program_took(void **state)
{
    (void)state;
    static const char *const bytes[] = {"8388608", "67108864", "268435456"};
    static const char take[] = "import sys\nx = b'1' * int(sys.argv[1])\n";
    struct ask a;
    ASK(&a, "prog", "grow", "1");
    int64_t c = own_median(&a);
    ASK(&a, "/usr/bin/python3", "-IBS", "-c", take, "1");
    int64_t python = access("/usr/bin/python3", X_OK) == 0 ? own_median(&a) : -1;
    for (size_t i = 0; i < 3; i++) {
        int64_t asked = strtoll(bytes[i], NULL, 10);
        ASK(&a, "prog", "grow", bytes[i]);
        assert_growth("C", own_median(&a) - c, asked);
        assert_true(oc.memory_own_bytes <= oc.memory_peak_bytes);
        assert_true(oc.max_rss_bytes >= asked);
        if (python < 0)
            continue;
        ASK(&a, "/usr/bin/python3", "-IBS", "-c", take, bytes[i]);
        assert_growth("Python", own_median(&a) - python, asked);
    }
}

/* What lingers from earlier boxes may be given back while a program runs, and is then no part of its peak. */
static void nobody_owns_more_than_his_peak(void **state)
{
    (void)state;
    struct ask a;
    for (int i = 0; i < 20; i++) {
        ASK(&a, "prog", "grow", i % 4 == 0 ? "2097152" : "1");
        int64_t its = own(&a);
        if (its > oc.memory_peak_bytes)
            fail_msg("run %d: own %lld, peak %lld", i, (long long)its, (long long)oc.memory_peak_bytes);
    }
}

static void drop_cache(void)
{
    int fd = open(big_path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    (void)close(fd);
}

/* 160 MiB read under a limit of 64: the kernel takes the cache back, and it is nobody's memory. */
static void page_cache_is_no_memory(void **state)
{
    (void)state;
    struct ask a;
    drop_cache();
    ASK(&a, "prog", "read", "/big");
    a.spec.limits.memory_bytes = 64 * MIB;
    well(&a);
    assert_int_equal(oc.oom_kills, 0);
    assert_true(oc.memory_own_bytes < 6 * MIB);
    if (oc.memory_peak_bytes < 32 * MIB)
        print_message("# this file system's cache was not charged to the box: the leaf's peak is %lld\n",
                      (long long)oc.memory_peak_bytes);
    /* and what lingers of it in the leaf is not the next one's */
    ASK(&a, "prog", "grow", "8388608");
    well(&a);
    assert_in_range(oc.memory_own_bytes, 8 * MIB - MIB / 4, 10 * MIB); /* the kernel counts in stocks of 256 KB */
    /* memory that was held and given back before the cache came */
    drop_cache();
    ASK(&a, "prog", "hold-then-read", "50331648", "/big");
    a.spec.limits.memory_bytes = 256 * MIB;
    well(&a);
    assert_in_range(oc.memory_own_bytes, 47 * MIB, 54 * MIB);
}

/* A scratch is memory: a file in it is the program's, whether it is still there at the end or not. */
static void files_in_the_scratch_are_memory(void **state)
{
    (void)state;
    static const char *const words[] = {"file", "file-and-back"};
    for (size_t i = 0; i < 2; i++) {
        struct ask a;
        ASK(&a, "prog", words[i], "33554432");
        well(&a);
        assert_in_range(oc.memory_own_bytes, 32 * MIB - MIB / 4, 36 * MIB);
    }
    /* a small one is written between two looks, most often: what is there at the end counts too */
    for (int i = 0; i < 60; i++) {
        struct ask a;
        ASK(&a, "prog", "file", "1048576");
        well(&a);
        assert_in_range(oc.memory_own_bytes, MIB / 2, 3 * MIB);
    }
}

static void a_killed_program_has_its_memory_reported(void **state)
{
    (void)state;
    struct ask a;
    ASK(&a, "prog", "grow", "209715200");
    a.spec.limits.memory_bytes = 64 * MIB;
    run(&a);
    assert_int_equal(oc.end, ASSAY_BOX_MEMORY);
    assert_true(oc.oom_kills > 0);
    assert_in_range(oc.memory_own_bytes, 56 * MIB, 65 * MIB);
}

/* ---- processors ---- */

static size_t first_cpu(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    for (size_t i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &set))
            return i;
    fail_msg("no processor");
    return 0;
}

static void a_pinned_program_stays(void **state)
{
    (void)state;
    struct ask a;
    char want[64];
    size_t cpu = first_cpu();
    ASK(&a, "prog", "affinity");
    a.spec.cpus[cpu / 64] = UINT64_C(1) << (cpu % 64);
    well(&a);
    assert_true(oc.precision & 8);
    (void)snprintf(want, sizeof want, "cpus %zu; widening: Operation not permitted\n", cpu);
    assert_string_equal(out.p, want);
    ASK(&a, "prog", "affinity");
    well(&a);
    assert_false(oc.precision & 8);
    /* a processor that there is not: the box runs all the same, and says that it is not pinned */
    ASK(&a, "prog", "affinity");
    a.spec.cpus[15] = UINT64_C(1) << 63;
    well(&a);
    assert_false(oc.precision & 8);
}

/* ---- the group ---- */

static bool big_file_make(void)
{
    static char block[1 << 20];
    (void)snprintf(big_path, sizeof big_path, "/var/tmp/assay-measure-%d", (int)getpid());
    int fd = open(big_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    bool good = fd >= 0;
    for (int64_t n = 0; good && n < BIG_FILE; n += (int64_t)sizeof block)
        good = write(fd, block, sizeof block) == (ssize_t)sizeof block;
    good = good && fsync(fd) == 0;
    if (fd >= 0)
        (void)close(fd);
    return good;
}

static int open_group(void **state)
{
    (void)state;
    char bind[96];
    if (!big_file_make())
        return -1;
    (void)snprintf(bind, sizeof bind, "--bind=%s:/big", big_path);
    const char *const extra[] = {bind, NULL};
    return rig_open("native", extra, getenv("ASSAY_MEASURED") ? getenv("ASSAY_MEASURED") : "tests/boxes/measured", true, false);
}

static int close_group(void **state)
{
    int rc = rig_close(state);
    (void)unlink(big_path);
    return rc;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_is_what_the_program_counted),
        cmocka_unit_test(threads_and_hidden_children_are_counted),
        cmocka_unit_test(over_the_limit_but_not_killed),
        cmocka_unit_test(growth_is_what_the_program_took),
        cmocka_unit_test(nobody_owns_more_than_his_peak),
        cmocka_unit_test(page_cache_is_no_memory),
        cmocka_unit_test(files_in_the_scratch_are_memory),
        cmocka_unit_test(a_killed_program_has_its_memory_reported),
        cmocka_unit_test(a_pinned_program_stays),
    };
    if (geteuid() != 0) {
        printf("1..0 # SKIP needs root\n");
        return 0;
    }
    if (access("/sys/fs/cgroup/memory/memory.limit_in_bytes", F_OK) != 0) {
        printf("1..0 # SKIP needs cgroup version 1; tests/vm asks the same of version 2\n");
        return 0;
    }
    return cmocka_run_group_tests_name("measure", tests, open_group, close_group);
}
