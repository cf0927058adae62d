/* The seccomp filter: what it answers, call by call, by a small interpreter of its own that knows no more than the filter uses. */
#include "local.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <termios.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define MISSING (SECCOMP_RET_ERRNO | ENOSYS)
#define REFUSED (SECCOMP_RET_ERRNO | EPERM)

static struct sock_filter program[4096];
static size_t length;

static uint32_t run(const struct seccomp_data *d)
{
    uint32_t acc = 0;
    for (size_t i = 0; i < length; i++) {
        const struct sock_filter *op = &program[i];
        switch (op->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            assert_true(op->k % 4 == 0 && op->k + 4 <= sizeof *d);
            memcpy(&acc, (const char *)d + op->k, sizeof acc);
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            acc &= op->k;
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
            i += acc == op->k ? op->jt : op->jf;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            i += acc >= op->k ? op->jt : op->jf;
            break;
        case BPF_RET | BPF_K:
            return op->k;
        default:
            fail_msg("instruction %zu is %04x", i, op->code);
        }
    }
    fail_msg("the filter has no end");
    return 0;
}

static uint32_t answer3(long nr, uint64_t a, uint64_t b, uint64_t c)
{
    struct seccomp_data d = {.nr = (int)nr, .arch = seccomp_arch_native(), .args = {a, b, c}};
    return run(&d);
}

static uint32_t answer(long nr)
{
    return answer3(nr, 0, 0, 0);
}

static void compile(bool counted)
{
    struct assay_err err;
    struct assay_str s;
    struct assay_arena *arena = assay_arena_new(0);
    assert_non_null(arena);
    assert_int_equal(seccomp_compile(arena, counted, &s, &err), ASSAY_OK);
    assert_int_equal(s.n % sizeof program[0], 0);
    length = s.n / sizeof program[0];
    assert_true(length > 50 && length <= sizeof program / sizeof program[0]);
    memcpy(program, s.p, s.n);
    assay_arena_free(arena);
}

static int setup(void **state)
{
    (void)state;
    compile(true);
    return 0;
}

static void memory_that_nobody_could_count_is_not_there(void **state)
{
    (void)state;
    compile(false);
    assert_int_equal(answer(SYS_memfd_create), MISSING);
    assert_int_equal(answer(SYS_shmget), MISSING);
    assert_int_equal(answer(SYS_mmap), SECCOMP_RET_ALLOW);
    assert_int_equal(answer(SYS_shmat), SECCOMP_RET_ALLOW);
    compile(true);
    assert_int_equal(answer(SYS_memfd_create), SECCOMP_RET_ALLOW);
}

/* Every call has an answer, and this is the whole list of those that are allowed without a condition, or not at all. */
static void every_number_has_its_answer(void **state)
{
    (void)state;
    static const long allowed[] = {SYS_read, SYS_write, SYS_openat, SYS_close, SYS_mmap, SYS_execve, SYS_exit_group, SYS_futex,
                                   SYS_getrandom, SYS_clock_gettime, SYS_statx, SYS_rseq, SYS_memfd_create, SYS_wait4, SYS_kill,
                                   SYS_socketpair, SYS_connect, SYS_getcpu, SYS_shmget, SYS_copy_file_range, SYS_close_range,
                                   SYS_faccessat2, SYS_membarrier, SYS_setresuid, SYS_flock, SYS_sysinfo};
    static const long missing[] = {SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_unshare, SYS_setns, SYS_ptrace, SYS_bpf,
                                   SYS_perf_event_open, SYS_userfaultfd, SYS_add_key, SYS_request_key, SYS_keyctl, SYS_clone3,
                                   SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, SYS_io_setup, SYS_openat2,
                                   SYS_open_tree, SYS_move_mount, SYS_fsopen, SYS_fsmount, SYS_mount_setattr, SYS_process_vm_readv,
                                   SYS_process_vm_writev, SYS_kcmp, SYS_pidfd_getfd, SYS_process_madvise, SYS_name_to_handle_at,
                                   SYS_open_by_handle_at, SYS_clock_settime, SYS_clock_adjtime, SYS_settimeofday, SYS_adjtimex,
                                   SYS_sethostname, SYS_setdomainname, SYS_acct, SYS_quotactl, SYS_syslog, SYS_seccomp, SYS_setgroups,
                                   SYS_capset, SYS_mknodat, SYS_syncfs, SYS_sync, SYS_readahead, SYS_inotify_init1,
                                   SYS_inotify_add_watch, SYS_fanotify_init, SYS_vmsplice, SYS_migrate_pages, SYS_move_pages, SYS_mbind,
                                   SYS_set_mempolicy, SYS_mq_open, SYS_lookup_dcookie, 444 /* landlock */, 447 /* memfd_secret */,
                                   500, 1023, 1024, 100000};
    static const long deadly[] = {SYS_reboot, SYS_kexec_load, SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_swapon,
                                  SYS_swapoff};
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        if (answer(allowed[i]) != SECCOMP_RET_ALLOW)
            fail_msg("call %ld is not allowed", allowed[i]);
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++)
        if (answer(missing[i]) != MISSING)
            fail_msg("call %ld is answered %08x", missing[i], answer(missing[i]));
    for (size_t i = 0; i < sizeof deadly / sizeof deadly[0]; i++)
        assert_int_equal(answer(deadly[i]), SECCOMP_RET_KILL_PROCESS);
    assert_int_equal(answer(SYS_sched_setaffinity), REFUSED);
    size_t n = 0;
    for (int nr = 0; nr < 2048; nr++) {
        uint32_t a = answer(nr);
        assert_true(a == SECCOMP_RET_ALLOW || a == MISSING || a == REFUSED || a == SECCOMP_RET_KILL_PROCESS);
        n += a == SECCOMP_RET_ALLOW;
    }
    assert_in_range(n, 150, 260); /* a list, not the kernel */
}

static void other_tables_of_calls_end_the_program(void **state)
{
    (void)state;
    struct seccomp_data d = {.nr = SYS_read, .arch = SCMP_ARCH_X86};
    assert_int_equal(run(&d), SECCOMP_RET_KILL_PROCESS);
    d.arch = SCMP_ARCH_ARM;
    assert_int_equal(run(&d), SECCOMP_RET_KILL_PROCESS);
    d.arch = 0;
    assert_int_equal(run(&d), SECCOMP_RET_KILL_PROCESS);
#ifdef __x86_64__
    assert_int_equal(answer(0x40000000L | SYS_read), SECCOMP_RET_KILL_PROCESS);
    assert_int_equal(answer(0x40000000L), SECCOMP_RET_KILL_PROCESS);
#endif
    assert_int_not_equal(answer(-1), SECCOMP_RET_ALLOW);
}

static void arguments_decide(void **state)
{
    (void)state;
    const uint64_t high = UINT64_C(7) << 32; /* the kernel does not look there, when it takes an int */
    assert_int_equal(answer3(SYS_clone, SIGCHLD, 0, 0), SECCOMP_RET_ALLOW);
    assert_int_equal(answer3(SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND, 0, 0), SECCOMP_RET_ALLOW);
    static const uint64_t spaces[] = {CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP};
    for (size_t i = 0; i < sizeof spaces / sizeof spaces[0]; i++)
        assert_int_equal(answer3(SYS_clone, spaces[i] | SIGCHLD, 0, 0), MISSING);
    for (uint64_t family = 0; family < 64; family++)
        assert_int_equal(answer3(SYS_socket, family, SOCK_STREAM, 0), family == AF_UNIX ? SECCOMP_RET_ALLOW : MISSING);
    assert_int_equal(answer3(SYS_socket, high | AF_INET, SOCK_STREAM, 0), MISSING);
    assert_int_equal(answer3(SYS_ioctl, 0, TCGETS, 0), SECCOMP_RET_ALLOW);
    assert_int_equal(answer3(SYS_ioctl, 0, high | FIONREAD, 0), SECCOMP_RET_ALLOW);
    assert_int_equal(answer3(SYS_ioctl, 0, TIOCSTI, 0), MISSING);
    assert_int_equal(answer3(SYS_ioctl, 0, high | TIOCSTI, 0), MISSING);
    assert_int_equal(answer3(SYS_ioctl, 0, TIOCLINUX, 0), MISSING);
    assert_int_equal(answer3(SYS_prctl, PR_SET_NAME, 0, 0), SECCOMP_RET_ALLOW);
    assert_int_equal(answer3(SYS_prctl, PR_SET_MM, 0, 0), MISSING);
    assert_int_equal(answer3(SYS_prctl, PR_SET_SECCOMP, 0, 0), MISSING);
    assert_int_equal(answer3(SYS_prctl, PR_SET_PTRACER, 0, 0), MISSING);
    assert_int_equal(answer3(SYS_personality, 0xffffffff, 0, 0), SECCOMP_RET_ALLOW);
    assert_int_equal(answer3(SYS_personality, 0x0400000 /* READ_IMPLIES_EXEC */, 0, 0), MISSING);
    for (uint64_t what = 0; what < 20; what++) {
        bool settable = what < RLIM_NLIMITS && what != RLIMIT_CORE && what != RLIMIT_LOCKS && what != RLIMIT_MSGQUEUE &&
                        what != RLIMIT_RTPRIO && what != RLIMIT_RTTIME;
        assert_int_equal(answer3(SYS_setrlimit, what, 1, 0), settable ? SECCOMP_RET_ALLOW : MISSING);
        assert_int_equal(answer3(SYS_prlimit64, 0, what, 1), settable ? SECCOMP_RET_ALLOW : MISSING);
        assert_int_equal(answer3(SYS_prlimit64, 0, high | what, high), settable ? SECCOMP_RET_ALLOW : MISSING);
        assert_int_equal(answer3(SYS_prlimit64, 0, what, 0), SECCOMP_RET_ALLOW); /* asking */
        assert_int_equal(answer3(SYS_prlimit64, 1, what, 0), SECCOMP_RET_ALLOW);
        assert_int_equal(answer3(SYS_prlimit64, 1, what, 1), MISSING); /* another's */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_has_its_answer),
        cmocka_unit_test(other_tables_of_calls_end_the_program),
        cmocka_unit_test(arguments_decide),
        cmocka_unit_test(memory_that_nobody_could_count_is_not_there),
    };
    return cmocka_run_group_tests_name("seccomp", tests, setup, NULL);
}
