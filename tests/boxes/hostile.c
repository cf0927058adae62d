/*
 * One program, many misdeeds: `hostile NAME ARGUMENT...`.  The box tests run it and look at what
 * comes of it.  Each prints what it found, so that a test can tell "was refused" from "did nothing".
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <mqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static long argument(char **argv, int i)
{
    return argv[i] ? strtol(argv[i], NULL, 0) : 0;
}

static void say(const char *what, long rc)
{
    printf("%s: %s\n", what, rc < 0 ? strerror(errno) : "done");
    fflush(stdout);
}

static void burn(double seconds)
{
    struct timespec t;
    do
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    while ((double)t.tv_sec + (double)t.tv_nsec / 1e9 < seconds);
}

static void hog(size_t bytes)
{
    size_t step = (size_t)1 << 20;
    for (size_t done = 0; done < bytes; done += step) {
        char *p = malloc(step);
        if (!p) {
            say("malloc", -1);
            exit(3);
        }
        memset(p, 1, step);
        __asm__ volatile("" : : "r"(p) : "memory"); /* else clang sees that nobody reads it, and takes nothing */
    }
}

static volatile int endless = 1;

static int recurse(const volatile char *below)
{
    volatile char frame[4096];
    frame[0] = *below;
    frame[4095] = 1;
    return (endless ? recurse(frame) : 0) + frame[4095];
}

static void flood(int fd, long bytes)
{
    static char block[65536];
    memset(block, 'x', sizeof block);
    for (long left = bytes; bytes == 0 || left > 0;) {
        size_t n = bytes == 0 || left > (long)sizeof block ? sizeof block : (size_t)left;
        ssize_t k = write(fd, block, n);
        if (k < 0)
            exit(4);
        left -= k;
    }
}

static void *idle(void *arg)
{
    pause();
    return arg;
}

static int files(char **argv)
{
    const char *what = argv[1];
    if (strcmp(what, "look") == 0) {
        for (int i = 2; argv[i]; i++) {
            struct stat st;
            printf("%s ", argv[i]);
            say("", stat(argv[i], &st));
        }
    } else if (strcmp(what, "list") == 0) {
        DIR *d = opendir(argv[2]);
        const struct dirent *e;
        while (d && (e = readdir(d)))
            puts(e->d_name);
    } else if (strcmp(what, "write") == 0) {
        int fd = open(argv[2], O_WRONLY | O_CREAT, 0644);
        say(argv[2], fd);
        if (fd >= 0 && argv[3])
            return write(fd, argv[3], strlen(argv[3])) < 0;
    } else if (strcmp(what, "symlink") == 0) {
        say("symlink", symlink(argv[2], argv[3]));
    } else if (strcmp(what, "fifo") == 0) {
        say("fifo", mkfifo(argv[2], 0666));
    } else if (strcmp(what, "device") == 0) {
        say("device", mknod(argv[2], S_IFCHR | 0666, 0x103));
    } else if (strcmp(what, "socket") == 0) {
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        snprintf(a.sun_path, sizeof a.sun_path, "%s", argv[2]);
        say("socket", bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof a));
    } else if (strcmp(what, "hardlink") == 0) {
        close(open(argv[2], O_WRONLY | O_CREAT, 0644));
        say("hardlink", link(argv[2], argv[3]));
    } else if (strcmp(what, "sparse") == 0) {
        int fd = open(argv[2], O_WRONLY | O_CREAT, 0755);
        say("sparse", ftruncate(fd, argument(argv, 3)));
    } else if (strcmp(what, "fill") == 0) { /* argv[2]: directory; how many bytes fit? */
        char path[256];
        long total = 0;
        snprintf(path, sizeof path, "%s/fill", argv[2]);
        int fd = open(path, O_WRONLY | O_CREAT, 0644);
        static char block[65536];
        for (ssize_t n; (n = write(fd, block, sizeof block)) > 0;)
            total += n;
        printf("%ld %s\n", total, strerror(errno));
    } else if (strcmp(what, "inodes") == 0) {
        long n = 0;
        char name[32];
        for (;; n++) {
            snprintf(name, sizeof name, "f%ld", n);
            int fd = open(name, O_WRONLY | O_CREAT, 0644);
            if (fd < 0)
                break;
            close(fd);
        }
        printf("%ld %s\n", n, strerror(errno));
    } else {
        return -1;
    }
    return 0;
}

static int processes(char **argv)
{
    const char *what = argv[1];
    if (strcmp(what, "forkbomb") == 0) {
        for (;;)
            fork();
    } else if (strcmp(what, "setsidbomb") == 0) {
        for (;;)
            if (fork() == 0)
                setsid();
    } else if (strcmp(what, "threads") == 0) {
        pthread_t t;
        long n = 0;
        while (pthread_create(&t, NULL, idle, NULL) == 0)
            n++;
        printf("%ld threads\n", n);
    } else if (strcmp(what, "orphans") == 0) {
        for (long i = argument(argv, 2); i > 0; i--)
            if (fork() == 0) {
                setsid();
                signal(SIGHUP, SIG_IGN);
                if (fork() == 0)
                    for (;;)
                        pause();
                pause();
            }
        puts("42");
    } else if (strcmp(what, "grandchildren") == 0) { /* the parent sleeps, those below work */
        if (fork() == 0) {
            if (fork() == 0)
                burn(1e9);
            pause();
        }
        sleep(1000);
    } else if (strcmp(what, "hidden-cpu") == 0) { /* wait4 never hears of it */
        signal(SIGCHLD, SIG_IGN);
        if (fork() == 0) {
            burn((double)argument(argv, 2) / 1000);
            _exit(0);
        }
        wait(NULL);
    } else if (strcmp(what, "childsleeps") == 0) {
        if (fork() == 0)
            sleep(1000);
        wait(NULL);
    } else if (strcmp(what, "killall") == 0) {
        say("kill -1", kill(-1, SIGKILL));
        say("kill 1", kill(1, SIGKILL));
        say("kill parent", kill(getppid(), SIGKILL));
        puts("alive");
    } else if (strcmp(what, "stopparent") == 0) {
        say("stop 1", kill(1, SIGSTOP));
        say("stop parent", kill(getppid(), SIGSTOP));
        sleep(1000);
    } else if (strcmp(what, "selfstop") == 0) {
        for (;;)
            raise(SIGSTOP);
    } else if (strcmp(what, "stubborn") == 0) {
        for (int s = 1; s < 65; s++)
            signal(s, SIG_IGN);
        for (;;)
            ;
    } else if (strcmp(what, "hogs") == 0) { /* each child below the limit, not the sum */
        for (long i = argument(argv, 2); i > 0; i--)
            if (fork() == 0) {
                hog((size_t)argument(argv, 3));
                pause();
            }
        pause();
    } else {
        return -1;
    }
    return 0;
}

static int escapes(char **argv)
{
    const char *what = argv[1];
    if (strcmp(what, "fds") == 0) {
        for (int fd = 0; fd < 1024; fd++)
            if (fcntl(fd, F_GETFD) >= 0)
                printf("%d ", fd);
        puts("");
    } else if (strcmp(what, "env") == 0) {
        for (char **e = environ; *e; e++)
            puts(*e);
    } else if (strcmp(what, "network") == 0) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)argument(argv, 2)),
                                .sin_addr = {htonl(INADDR_LOOPBACK)}};
        say("loopback", connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof a));
        a.sin_addr.s_addr = htonl(0xa9fea9fe); /* 169.254.169.254 */
        say("metadata", connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof a));
        struct sockaddr_un u = {.sun_family = AF_UNIX};
        memcpy(u.sun_path + 1, "assay-test-canary", 17);
        say("abstract", connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&u, (socklen_t)(sizeof(sa_family_t) + 18)));
        struct if_nameindex *list = if_nameindex();
        for (struct if_nameindex *i = list; i && i->if_index; i++)
            printf("interface %s\n", i->if_name);
    } else if (strcmp(what, "userns") == 0) {
        say("userns", unshare(CLONE_NEWUSER));
        say("netns", unshare(CLONE_NEWNET));
        say("mountns", unshare(CLONE_NEWNS));
    } else if (strcmp(what, "mount") == 0) {
        say("mount", mount("none", "/tmp", "tmpfs", 0, NULL));
        say("remount", mount(NULL, "/usr", NULL, MS_REMOUNT | MS_BIND, NULL));
        say("umount", umount("/proc"));
        say("chroot", chroot("/tmp"));
    } else if (strcmp(what, "trace") == 0) {
        say("ptrace init", ptrace(PTRACE_ATTACH, 1, NULL, NULL));
        struct rlimit r = {1, 1};
        say("prlimit init", prlimit(1, RLIMIT_CPU, &r, NULL));
    } else if (strcmp(what, "keyring") == 0) {
        say("add_key", syscall(SYS_add_key, "user", "assay", "x", 1, KEY_SPEC_USER_KEYRING));
    } else if (strcmp(what, "ipc") == 0) {
        say("shmget", shmget(0x4242, 4096, IPC_CREAT | 0666));
        mqd_t q = mq_open("/assay", O_CREAT | O_RDWR, 0666, NULL);
        say("mq_open", q == (mqd_t)-1 ? -1 : 0);
    } else if (strcmp(what, "uring") == 0) {
        static char params[256];
        say("io_uring", syscall(SYS_io_uring_setup, 8, params));
    } else if (strcmp(what, "self") == 0) {
        char line[256];
        FILE *f = fopen("/proc/self/status", "re");
        while (f && fgets(line, sizeof line, f))
            if (strncmp(line, "Cap", 3) == 0 || strncmp(line, "NoNew", 5) == 0 || strncmp(line, "Seccomp:", 8) == 0 ||
                strncmp(line, "Sig", 3) == 0 || strncmp(line, "Umask", 5) == 0 || strncmp(line, "Uid", 3) == 0 ||
                strncmp(line, "Groups", 6) == 0)
                fputs(line, stdout);
        int fd = open("/proc/self/oom_score_adj", O_RDONLY);
        ssize_t n = read(fd, line, sizeof line - 1);
        printf("oom_score_adj %.*s", n > 0 ? (int)n : 0, line);
        printf("cwd %s\n", getcwd(line, sizeof line));
        printf("session %d of %d\n", getsid(0), getpid());
    } else {
        return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (files(argv) >= 0 || processes(argv) >= 0 || escapes(argv) >= 0)
        return 0;
    if (strcmp(what, "exit") == 0)
        return (int)argument(argv, 2);
    if (strcmp(what, "signal") == 0)
        return raise((int)argument(argv, 2));
    if (strcmp(what, "spin") == 0)
        burn(1e9);
    if (strcmp(what, "burn") == 0)
        burn((double)argument(argv, 2) / 1000);
    if (strcmp(what, "sleep") == 0)
        sleep(1000);
    if (strcmp(what, "hog") == 0)
        hog(argv[2] ? (size_t)argument(argv, 2) : SIZE_MAX);
    if (strcmp(what, "stack") == 0)
        return recurse("x");
    if (strcmp(what, "flood") == 0)
        flood((int)argument(argv, 2), argument(argv, 3));
    if (strcmp(what, "echo") == 0)
        for (int i = 2; i < argc; i++)
            puts(argv[i]);
    if (strcmp(what, "stderr") == 0)
        fputs(argv[2], stderr);
    if (strcmp(what, "cat") == 0) {
        static char block[65536];
        int fd = argv[2] ? open(argv[2], O_RDONLY) : 0;
        for (ssize_t n; (n = read(fd, block, sizeof block)) > 0;)
            if (write(1, block, (size_t)n) != n)
                return 5;
        return fd < 0;
    }
    if (strcmp(what, "close") == 0) { /* closes its output and works on */
        close(1);
        close(2);
        burn(0.05);
        return 7;
    }
    if (strcmp(what, "drip") == 0)
        for (;;) {
            puts("x");
            fflush(stdout);
            usleep(50000);
        }
    return 0;
}
