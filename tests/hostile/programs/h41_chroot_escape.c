#include "hostile.h"

#include <sched.h>
#include <sys/mount.h>

int main(void)
{
    char handle[128] = {64, 0, 0, 0, 1};
    refused("chroot to the root of pid 1", chroot("/proc/1/root"));
    refused("chroot", chroot("/tmp"));
    refused("open of pid 1's root", open("/proc/1/root", O_RDONLY));
    refused("open of pid 1's cwd", open("/proc/1/cwd", O_RDONLY));
    refused("chdir to pid 1's cwd", chdir("/proc/1/cwd"));
    refused("pivot_root", syscall(SYS_pivot_root, ".", "."));
    refused("mount of a tmpfs", mount("none", "/tmp", "tmpfs", 0, NULL));
    refused("mount of proc", mount("none", "/tmp", "proc", 0, NULL));
    refused("bind", mount("/", "/tmp", NULL, MS_BIND | MS_REC, NULL));
    refused("remount", mount(NULL, "/usr", NULL, MS_REMOUNT | MS_BIND, NULL));
    refused("move", mount("/usr", "/tmp", NULL, MS_MOVE, NULL));
    refused("umount", umount2("/proc", MNT_DETACH));
    refused("umount of the root", umount2("/", MNT_DETACH));
    refused("open_tree", syscall(428, -100, "/", 1));
    refused("move_mount", syscall(429, -100, "/usr", -100, "/tmp", 0));
    refused("fsopen", syscall(430, "tmpfs", 0));
    refused("mount_setattr", syscall(442, -100, "/", 0, NULL, 0));
    refused("statmount", syscall(457, NULL, NULL, 0, 0));
    refused("listmount", syscall(458, NULL, NULL, 0, 0));
    refused("name_to_handle_at", syscall(SYS_name_to_handle_at, -100, "/", handle, handle + 100, 0));
    refused("open_by_handle_at", syscall(SYS_open_by_handle_at, 0, handle, O_RDONLY));
    refused("setns", syscall(SYS_setns, 0, 0));
    /* out by "..", from every directory there is a name for */
    for (const char *const *d = (const char *const[]){"/", "/box", "/tmp", "/dev/shm", "/proc/self/root", NULL}; *d; d++) {
        int fd = open(*d, O_RDONLY | O_DIRECTORY);
        for (int up = 0; fd >= 0 && up < 20; up++) {
            int next = openat(fd, "..", O_RDONLY | O_DIRECTORY);
            close(fd);
            fd = next;
        }
        refused("the warden's own root", fd < 0 ? -1 : faccessat(fd, "store", F_OK, 0));
        refused("the host's root", fd < 0 ? -1 : faccessat(fd, "etc/shadow", F_OK, 0));
        if (fd >= 0)
            close(fd);
    }
    held(30);
    return 1;
}
