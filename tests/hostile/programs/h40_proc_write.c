#include "hostile.h"

#include <dirent.h>

static void try_write(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_TRUNC);
    refused(path, fd < 0 ? -1 : write(fd, text, strlen(text)));
    if (fd >= 0)
        close(fd);
}

int main(void)
{
    static const char *const gone[] = {"/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe",
                                       "/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches", "/proc/kcore", "/proc/mem",
                                       "/proc/1/mem", "/proc/1/oom_score_adj", "/proc/1/uid_map", "/proc/1/attr/exec",
                                       "/sys/kernel/uevent_helper", "/sys/fs/cgroup/release_agent", "/proc/self/uid_map",
                                       "/proc/self/setgroups", "/proc/kallsyms", "/proc/kmsg", "/dev/kmsg", "/dev/mem",
                                       "/proc/bus/pci/00/00.0", "/proc/fs/ext4", "/proc/scsi/scsi"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        try_write(gone[i], "1");
    /* the programs that run: this one, the judge's, the interpreter that all share */
    try_write("/proc/self/exe", "x");
    try_write("/proc/1/exe", "x");
    try_write("/usr/bin/env", "x");
    try_write("/lib64/ld-linux-x86-64.so.2", "x");
    try_write("/box/app/main", "x");
    refused("unlink of the program", unlink("/box/app/main"));
    refused("a file beside the program", open("/box/app/new", O_WRONLY | O_CREAT, 0644));
    /* CVE-2025-31133 and its kin: what is behind a masked path */
    refused("dev/null by mknod", mknod("/tmp/null", S_IFCHR | 0666, 0x103));
    /* a lower score would send the OOM killer to others */
    try_write("/proc/self/oom_score_adj", "-1000");
    try_write("/proc/self/oom_score_adj", "0");
    return held(30);
}
