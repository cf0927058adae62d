/*
 * What the boxkeeper keeps of root.
 *
 * Started as root it makes namespaces and mounts for programs that strangers wrote, so it needs much:
 *   SYS_ADMIN     mounts, pivot_root, setns, unshare, and writing to cgroups that are not its own
 *   SYS_CHROOT    entering the root that was built
 *   SETUID SETGID becoming the uid of a slot        SETPCAP  emptying a box's bounding set
 *   KILL          ending processes of those uids    CHOWN FOWNER DAC_OVERRIDE  their scratch files
 *   MKNOD         the few devices of a box's /dev   NET_ADMIN  an empty network's loopback
 *   SYS_RESOURCE  limits above the inherited hard ones
 *   SYS_PTRACE    /proc/<pid> of processes with another uid
 * With SYS_ADMIN this is no wall against a boxkeeper that is taken over; that wall is that it parses
 * nothing but fixed packets.  But what neither it nor a warden ever does is gone from the bounding set, so no
 * mistake further down can do it either: modules, raw I/O, the clock, reboot, raw sockets, ports below 1024, BPF, syslog, audit.
 *
 * no_new_privs is set for the whole tree: nothing below runs a setuid program.
 * Started as an ordinary user, there is nothing to drop.
 */
#include "local.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
    int cap;
    const char *name;
} keep[] = {
    {CAP_CHOWN, "CHOWN"},         {CAP_DAC_OVERRIDE, "DAC_OVERRIDE"}, {CAP_FOWNER, "FOWNER"},
    {CAP_KILL, "KILL"},           {CAP_SETGID, "SETGID"},             {CAP_SETUID, "SETUID"},
    {CAP_SETPCAP, "SETPCAP"},     {CAP_NET_ADMIN, "NET_ADMIN"},       {CAP_SYS_CHROOT, "SYS_CHROOT"},
    {CAP_SYS_PTRACE, "SYS_PTRACE"}, {CAP_SYS_ADMIN, "SYS_ADMIN"},     {CAP_SYS_RESOURCE, "SYS_RESOURCE"},
    {CAP_MKNOD, "MKNOD"},
};
#define KEEP_COUNT (sizeof(keep) / sizeof(keep[0]))

int bk_privilege_trim(struct bk_privilege *out, struct assay_err *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct data[2];
    uint64_t wanted = 0, had;

    *out = (struct bk_privilege){.root = geteuid() == 0};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return assay_err_errno(err, ASSAY_E_INTERNAL, errno, "PR_SET_NO_NEW_PRIVS");
    if (!out->root)
        return 0;
    for (size_t i = 0; i < KEEP_COUNT; i++)
        wanted |= (uint64_t)1 << keep[i].cap;
    if (syscall(SYS_capget, &head, data) != 0)
        return assay_err_errno(err, ASSAY_E_INTERNAL, errno, "capget");
    had = ((uint64_t)data[1].permitted << 32) | data[0].permitted;
    for (size_t i = 0; i < KEEP_COUNT && out->lacks == NULL; i++)
        if (!(had & ((uint64_t)1 << keep[i].cap)))
            out->lacks = keep[i].name;
    /* the bounding set first: it takes SETPCAP, and bounds what an exec of a warden gets back */
    for (int cap = 0; cap < 64 && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (!(wanted & ((uint64_t)1 << cap)) && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 &&
            prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0)
            out->dropped++;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
        return assay_err_errno(err, ASSAY_E_INTERNAL, errno, "PR_CAP_AMBIENT_CLEAR_ALL");
    for (int i = 0; i < 2; i++) {
        uint32_t mask = (uint32_t)(wanted >> (32 * i));

        data[i].permitted &= mask;
        data[i].effective = data[i].permitted;
        data[i].inheritable = 0;
    }
    if (syscall(SYS_capset, &head, data) != 0)
        return assay_err_errno(err, ASSAY_E_INTERNAL, errno, "capset");
    return 0;
}
