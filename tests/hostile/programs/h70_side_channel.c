/* The places where one run could read what another does: they are not there. */
#include "hostile.h"

#include <dirent.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/statvfs.h>

int main(void)
{
    static const char *const hidden[] = {"/proc/loadavg", "/proc/stat", "/proc/meminfo", "/proc/uptime", "/proc/diskstats", "/proc/vmstat",
                                         "/proc/interrupts", "/proc/schedstat", "/proc/pressure/cpu", "/proc/net/dev", "/proc/locks",
                                         "/proc/slabinfo", "/proc/zoneinfo", "/proc/cpuinfo", "/proc/timer_list", "/proc/keys", "/proc/key-users",
                                         "/proc/sys/fs/file-nr", "/proc/sys/kernel/random/boot_id", "/proc/sys/kernel/ns_last_pid",
                                         "/proc/sysvipc/shm", "/proc/buddyinfo", "/proc/version", "/proc/mounts/..", "/sys/class", "/sys/fs/cgroup",
                                         "/sys/devices/system/cpu", "/dev/mqueue", "/dev/pts/ptmx", "/dev/ptmx", "/dev/tty", "/dev/console",
                                         "/dev/kvm", "/dev/fuse", "/dev/net/tun", "/dev/loop0", "/dev/vda", "/dev/sda", "/dev/dri", "/run", "/var"};
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        refused(hidden[i], open(hidden[i], O_RDONLY));
    /* a lock, a watch or a write on what all share would carry a message */
    int shared = open("/usr/bin/env", O_RDONLY);
    refused("a write to what all see", open("/usr/bin/env", O_RDWR));
    refused("a lease on what all see", fcntl(shared, F_SETLEASE, F_RDLCK));
    refused("a watch on what all see", syscall(SYS_inotify_init1, 0));
    refused("the disk's attention", syscall(SYS_syncfs, shared));
    refused("its times", futimens(shared, NULL));
    refused("a write to a device that keeps it", open("/dev/random", O_RDWR) >= 0 && ioctl(open("/dev/random", O_RDWR), 0x5207, NULL) == 0 ? 0 : -1);
    /* one's own scratch says nothing of the others' */
    struct statvfs v;
    refused("a file system shared with others", statvfs("/tmp", &v) == 0 && v.f_blocks * v.f_frsize <= (64u << 20) ? -1 : 0);
    return held(40);
}
