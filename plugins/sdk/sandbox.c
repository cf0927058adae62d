/*
 * What sandbox drivers share besides leaves.
 */
#include <assay/plugin.h>
#include <assay/sandbox.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "assay-warden"

void assay_sandbox_find_warden(const struct assay_host *host, char *out, size_t room)
{
    const char *option = host->option_str(host->ctx, "warden_path");
    const char *folder = host->option_str(host->ctx, "libexec_dir");
    char self[512];
    int n;

    if (option[0] != '\0')
        n = snprintf(out, room, "%s", option);
    else if (folder[0] != '\0')
        n = snprintf(out, room, "%s/" PROGRAM, folder);
    else {
        ssize_t k = readlink("/proc/self/exe", self, sizeof(self) - 1);
        char *slash;

        self[k > 0 ? k : 0] = '\0';
        slash = strrchr(self, '/');
        if (slash != NULL)
            *slash = '\0';
        n = slash != NULL ? snprintf(out, room, "%s/" PROGRAM, self) : -1;
    }
    if (n < 0 || (size_t)n >= room)
        out[0] = '\0';
}
