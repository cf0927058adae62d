#include "hostile.h"

#include <linux/reboot.h>

int main(void)
{
    struct timespec t = {0, 0};
    if (strcmp(word(), "reboot") == 0) {
        syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_RESTART, NULL);
        puts("alive");
        return 0;
    }
    REFUSED_IN_A_CHILD("reboot", syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_CAD_OFF, NULL));
    REFUSED_IN_A_CHILD("swapon", syscall(SYS_swapon, "/tmp/x", 0));
    REFUSED_IN_A_CHILD("swapoff", syscall(SYS_swapoff, "/tmp/x"));
    REFUSED_IN_A_CHILD("sethostname", sethostname("x", 1));
    REFUSED_IN_A_CHILD("setdomainname", setdomainname("x", 1));
    REFUSED_IN_A_CHILD("settimeofday", syscall(SYS_settimeofday, &t, NULL));
    REFUSED_IN_A_CHILD("init_module", syscall(SYS_init_module, "", 0, ""));
    REFUSED_IN_A_CHILD("finit_module", syscall(SYS_finit_module, 0, "", 0));
    REFUSED_IN_A_CHILD("delete_module", syscall(SYS_delete_module, "loop", 0));
    REFUSED_IN_A_CHILD("bpf", syscall(SYS_bpf, 5, "", 0));
    REFUSED_IN_A_CHILD("perf_event_open", syscall(SYS_perf_event_open, "", 0, -1, -1, 0));
    REFUSED_IN_A_CHILD("userfaultfd", syscall(SYS_userfaultfd, 0));
    REFUSED_IN_A_CHILD("acct", syscall(SYS_acct, "/tmp/x"));
    REFUSED_IN_A_CHILD("quotactl", syscall(SYS_quotactl, 0, NULL, 0, NULL));
    REFUSED_IN_A_CHILD("syslog", syscall(SYS_syslog, 2, NULL, 0));
    REFUSED_IN_A_CHILD("vhangup", syscall(SYS_vhangup));
    REFUSED_IN_A_CHILD("iopl", syscall(SYS_iopl, 3));
    REFUSED_IN_A_CHILD("ioperm", syscall(SYS_ioperm, 0, 1, 1));
    REFUSED_IN_A_CHILD("kexec_load", syscall(SYS_kexec_load, 0, 0, NULL, 0));
    REFUSED_IN_A_CHILD("lookup_dcookie", syscall(212, 0, NULL, 0));
    REFUSED_IN_A_CHILD("modify_ldt", syscall(SYS_modify_ldt, 1, NULL, 0));
    REFUSED_IN_A_CHILD("seccomp", syscall(SYS_seccomp, 0, 0, NULL));
    REFUSED_IN_A_CHILD("fanotify_init", syscall(SYS_fanotify_init, 0, 0));
    REFUSED_IN_A_CHILD("landlock", syscall(444, NULL, 0, 1));
    REFUSED_IN_A_CHILD("memfd_secret", syscall(447, 0));
    /* the same kernel by other doors: 32-bit numbers, x32, a number of no call */
    REFUSED_IN_A_CHILD("x32", syscall(0x40000000 | SYS_getpid));
    REFUSED_IN_A_CHILD("x32 open", syscall(0x40000000 | SYS_open, "/", O_RDONLY));
    REFUSED_IN_A_CHILD("no call", syscall(100000));
#ifdef __x86_64__
    {
        long rc = -1;
        pid_t child = fork();
        if (child == 0) {
            __asm__ volatile("int $0x80" : "=a"(rc) : "a"(20L) : "memory"); /* getpid of the 32-bit table */
            _exit(rc > 0 ? 77 : 0);
        }
        int status = 0;
        waitpid(child, &status, 0);
        refused("int 0x80", WIFEXITED(status) && WEXITSTATUS(status) == 77 ? 0 : -1);
    }
#endif
    return held(50);
}
