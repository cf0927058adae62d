/* Runs what it wrote and what the system has: never with more rights than it had. */
#include "hostile.h"

#include <sys/fsuid.h>
#include <sys/prctl.h>

static int copy(const char *from, const char *to)
{
    static char block[65536];
    int a = open(from, O_RDONLY), b = open(to, O_WRONLY | O_CREAT | O_EXCL, 06755);
    ssize_t n;
    while ((n = read(a, block, sizeof block)) > 0)
        if (write(b, block, (size_t)n) != n)
            return -1;
    close(a);
    close(b);
    return chmod(to, 06755);
}

static int status_of(char *const argv[])
{
    int status = -1;
    pid_t p = fork();
    if (p == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
        execv(argv[0], argv);
        _exit(126);
    }
    waitpid(p, &status, 0);
    return status;
}

int main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1) /* what became of us when we were executed again */
        return getuid() == 0 || geteuid() == 0 || getgid() == 0 || getegid() == 0 || geteuid() != getuid();
    refused("no_new_privs unset", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? -1 : 0);
    refused("root", getuid() == 0 ? 0 : -1);
    int again = copy("/proc/self/exe", "/tmp/again");
    refused("a copy of itself, which nothing forbids", again == 0 ? -1 : 0);
    refused("more rights by a set-uid copy of itself", status_of((char *[]){"/tmp/again", "x", NULL}) == 0 ? -1 : 0);
    refused("su", status_of((char *[]){"/bin/su", "-c", "true", NULL}) == 0 ? 0 : -1);
    refused("sudo", status_of((char *[]){"/usr/bin/sudo", "-n", "true", NULL}) == 0 ? 0 : -1);
    refused("mount", status_of((char *[]){"/bin/mount", "--bind", "/usr", "/tmp", NULL}) == 0 ? 0 : -1);
    refused("newuidmap", status_of((char *[]){"/usr/bin/newuidmap", "1", "0", "0", "1", NULL}) == 0 ? 0 : -1);
    refused("unshare", status_of((char *[]){"/usr/bin/unshare", "-U", "true", NULL}) == 0 ? 0 : -1);
    refused("setuid", setuid(0));
    refused("setresuid", setresuid(0, 0, 0));
    refused("setgid", setgid(0));
    refused("setgroups", syscall(SYS_setgroups, 0, NULL));
    (void)setfsuid(0);
    refused("setfsuid", setfsuid((uid_t)-1) == 0 ? 0 : -1);
    return held(12);
}
