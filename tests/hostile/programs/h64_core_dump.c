/* Dies with a large image; asks for a core of it first, in every way there is. */
#include "hostile.h"

#include <sys/prctl.h>
#include <sys/resource.h>

int main(void)
{
    struct rlimit none = {0, 0}, all = {RLIM_INFINITY, RLIM_INFINITY}, now = {9, 9};
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    /* 0 would let a core_pattern that begins with '|' start its program; 1 stops that too (core(5)) */
    refused("a core limit of 0", setrlimit(RLIMIT_CORE, &none));
    refused("a core limit by prlimit", syscall(SYS_prlimit64, 0, RLIMIT_CORE, &none, NULL));
    refused("no core limit", setrlimit(RLIMIT_CORE, &all));
    getrlimit(RLIMIT_CORE, &now);
    refused("a core", now.rlim_cur <= 1 ? -1 : 0);
    char *p = mmap(NULL, (size_t)4 << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p != MAP_FAILED)
        for (size_t i = 0; i < (size_t)4 << 30; i += (size_t)64 << 20)
            p[i] = 1;
    held(4);
    fflush(stdout);
    abort();
}
