/*
 * The newer system calls, called by number: they are younger than the C libraries we want to build
 * with, and <sys/mount.h> and <linux/mount.h> cannot both be included on some of those.
 * Linux 5.12 is the oldest kernel that has them all.
 */
#ifndef WARDEN_SYS_H
#define WARDEN_SYS_H

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif

static inline int sys_fsopen(const char *type)
{
    return (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
}
static inline int sys_fsconfig(int fd, unsigned cmd, const char *key, const char *value)
{
    return (int)syscall(SYS_fsconfig, fd, cmd, key, value, 0);
}
static inline int sys_fsmount(int fd, unsigned attr)
{
    return (int)syscall(SYS_fsmount, fd, FSMOUNT_CLOEXEC, attr);
}
static inline int sys_open_tree(int dir, const char *path, unsigned flags)
{
    return (int)syscall(SYS_open_tree, dir, path, flags | OPEN_TREE_CLOEXEC);
}
/* Attaches the mount behind `tree` onto what `target` (an O_PATH descriptor) refers to. */
static inline int sys_move_mount_fd(int tree, int target)
{
    return (int)syscall(SYS_move_mount, tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}
static inline int sys_move_mount(int tree, const char *target)
{
    return (int)syscall(SYS_move_mount, tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
}
static inline int sys_mount_setattr(int dir, const char *path, unsigned flags, struct mount_attr *a)
{
    return (int)syscall(SYS_mount_setattr, dir, path, flags, a, sizeof *a);
}
static inline int sys_umount2(const char *path, int flags)
{
    return (int)syscall(SYS_umount2, path, flags);
}
static inline int sys_pivot_root(const char *new_root, const char *put_old)
{
    return (int)syscall(SYS_pivot_root, new_root, put_old);
}
static inline int sys_openat2(int dir, const char *path, struct open_how *how)
{
    return (int)syscall(SYS_openat2, dir, path, how, sizeof *how);
}
static inline pid_t sys_clone3(struct clone_args *a)
{
    return (pid_t)syscall(SYS_clone3, a, sizeof *a);
}
static inline int sys_close_range(unsigned first, unsigned last)
{
    return (int)syscall(SYS_close_range, first, last, 0);
}
static inline int sys_pidfd_open(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}
static inline int sys_setns(int fd, int kind)
{
    return (int)syscall(SYS_setns, fd, kind);
}
static inline int sys_pidfd_kill(int pidfd, int signal)
{
    return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}
/* The library's waitid leaves out the resource usage. idtype 3 is P_PIDFD. */
static inline int sys_waitid_fd(int pidfd, siginfo_t *info, int options, struct rusage *ru)
{
    return (int)syscall(SYS_waitid, 3, pidfd, info, options, ru);
}
static inline long sys_futex(_Atomic uint32_t *word, int op, uint32_t value)
{
    return syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

#endif
