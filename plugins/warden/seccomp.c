/*
 * The filter of a box whose request brings none: what no program under evaluation needs and what
 * would reach beyond a box's life (keyrings outlive processes) or deep into the kernel answers EPERM,
 * io_uring ENOSYS, so that runtimes fall back.  A foreign architecture's calls, and x32's, kill the process: their
 * numbers mean other things.  A request's own filter takes this one's place; it is expected to be
 * stricter.
 */
#include "warden.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "name this machine's AUDIT_ARCH here"
#endif

/* A jump of its own for each, taken to the return right behind it: easy to read, and short enough. */
#define DENY(nr, error) \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(nr), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))

static const struct sock_filter program[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#if defined(__x86_64__)
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000u, 0, 1), /* x32 */
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
#endif
    DENY(SYS_add_key, EPERM),
    DENY(SYS_request_key, EPERM),
    DENY(SYS_keyctl, EPERM),
    DENY(SYS_bpf, EPERM),
    DENY(SYS_perf_event_open, EPERM),
    DENY(SYS_userfaultfd, EPERM),
    DENY(SYS_io_uring_setup, ENOSYS),
    DENY(SYS_io_uring_enter, ENOSYS),
    DENY(SYS_io_uring_register, ENOSYS),
    DENY(SYS_mount, EPERM),
    DENY(SYS_umount2, EPERM),
    DENY(SYS_move_mount, EPERM),
    DENY(SYS_open_tree, EPERM),
    DENY(SYS_fsopen, EPERM),
    DENY(SYS_fsmount, EPERM),
    DENY(SYS_mount_setattr, EPERM),
    DENY(SYS_pivot_root, EPERM),
    DENY(SYS_chroot, EPERM),
    DENY(SYS_unshare, EPERM),
    DENY(SYS_setns, EPERM),
    DENY(SYS_ptrace, EPERM),
    DENY(SYS_process_vm_readv, EPERM),
    DENY(SYS_process_vm_writev, EPERM),
    DENY(SYS_kexec_load, EPERM),
    DENY(SYS_init_module, EPERM),
    DENY(SYS_finit_module, EPERM),
    DENY(SYS_delete_module, EPERM),
    DENY(SYS_reboot, EPERM),
    DENY(SYS_swapon, EPERM),
    DENY(SYS_swapoff, EPERM),
    DENY(SYS_sched_setaffinity, EPERM), /* a box stays on the processors it was given */
    DENY(SYS_acct, EPERM),
    DENY(SYS_quotactl, EPERM),
    DENY(SYS_syslog, EPERM),
    DENY(SYS_open_by_handle_at, EPERM),
    DENY(SYS_name_to_handle_at, EPERM),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

const struct sock_filter *seccomp_floor(uint16_t *count)
{
    *count = sizeof program / sizeof *program;
    return program;
}

/*
 * In the reduced mode there is no network namespace and no ipc namespace around the box: what would make a socket
 * to anywhere, or an object that outlives the box, is refused whatever the first filter says.
 */
#define NEW_NAMESPACES                                                                                                 \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

static const struct sock_filter reduced[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    DENY(SYS_socket, EACCES),
    DENY(SYS_shmget, EPERM),
    DENY(SYS_semget, EPERM),
    DENY(SYS_msgget, EPERM),
    DENY(SYS_mq_open, EPERM),
    /* no namespaces: here no chroot refuses them. clone3's flags lie in memory, so libc is sent to clone. */
    DENY(SYS_unshare, EPERM),
    DENY(SYS_setns, EPERM),
    DENY(SYS_clone3, ENOSYS),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, NEW_NAMESPACES, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

const struct sock_filter *seccomp_reduced(uint16_t *count)
{
    *count = sizeof reduced / sizeof *reduced;
    return reduced;
}
