/*
 * What this machine lets boxes be: for each layer whether it is there, what its absence costs, and
 * what mends it, in words for the person who runs the machine.
 */
#include "local.h"

#include <assay/json.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void check(struct assay_jw *w, const char *name, bool ok, const char *detail, const char *cost, const char *remedy)
{
    assay_jw_object(w);
    assay_jw_kz(w, "name", name);
    assay_jw_kbool(w, "ok", ok);
    assay_jw_kz(w, "detail", detail);
    assay_jw_kz(w, "cost", ok ? NULL : cost);
    assay_jw_kz(w, "remedy", ok ? NULL : remedy);
    assay_jw_end(w);
}

/* True when a range of /etc/subuid or /etc/subgid touches [first, first + n). */
static bool subid_overlap(const char *path, uint64_t first, uint64_t n, char *who, size_t room)
{
    FILE *f = fopen(path, "re");
    char line[256];
    bool hit = false;

    if (f == NULL)
        return false;
    while (!hit && fgets(line, sizeof(line), f) != NULL) {
        char name[65];
        unsigned long long start, count;

        if (sscanf(line, "%64[^:]:%llu:%llu", name, &start, &count) != 3)
            continue;
        hit = start < first + n && first < start + count;
        if (hit)
            snprintf(who, room, "%s has %llu to %llu in %s", name, start, start + count - 1, path);
    }
    fclose(f);
    return hit;
}

static void check_uids(const struct sn_driver *d, struct assay_jw *w)
{
    char who[200], detail[320];
    bool clash;

    if (!d->root) {
        check(w, "uids", true, d->reduced ? "every box has this user's uid" : "every box has this user's uid, inside a user namespace of its own",
              NULL, NULL);
        return;
    }
    clash = subid_overlap("/etc/subuid", d->uid_base, d->max_wardens, who, sizeof(who)) ||
            subid_overlap("/etc/subgid", d->uid_base, d->max_wardens, who, sizeof(who));
    snprintf(detail, sizeof(detail), "boxes run as uid %u to %zu%s%s", d->uid_base, d->uid_base + d->max_wardens - 1,
             clash ? "; " : "", clash ? who : "");
    check(w, "uids", !clash, detail, "a user's containers and boxes could count against one another's process limits",
          "set box_uid_base to a range that nobody has");
}

static void check_leaves(const struct sn_driver *d, struct assay_jw *w)
{
    char detail[1100];

    if (d->leaves.version == 0) {
        check(w, "cgroup", false, d->leaves.trouble,
              "memory is limited for each process and not for the tree, CPU time of children that a program hides is not "
              "counted, peak memory is that of the largest process, and processes are limited for each uid only; each "
              "result says so",
              d->leaves.remedy);
        return;
    }
    snprintf(detail, sizeof(detail), "version %d, %s%s, %zu leaves%s%s%s", d->leaves.version, d->leaves.group[ASSAY_LEAVES_MEMORY],
             d->leaves.moved ? " (our processes were moved to keeper)" : "", d->leaves.count,
             d->leaves.trouble[0] != '\0' ? "; " : "", d->leaves.trouble,
             d->leaves.version == 1 && d->leaves.trouble[0] == '\0' ? ", with cpuacct and pids" : "");
    check(w, "cgroup", d->leaves.trouble[0] == '\0', detail,
          "what the missing controller measures or limits falls back to rlimits and wait4", d->leaves.remedy);
}

int sn_doctor(void *self, struct assay_buf *out, struct assay_err *err)
{
    static const char *const state_names[] = {"free", "waiting", "in_use", "ending", "emptying"};
    const struct sn_driver *d = self;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    struct assay_err why = {0, ""};
    size_t count[SN_GONE + 1];
    char detail[400];

    if (w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the doctor's report");
    assay_jw_object(w);
    assay_jw_kz(w, "driver", "native");
    assay_jw_kbool(w, "usable", sn_usable(self, &why) == 0);
    assay_jw_kz(w, "why", why.msg[0] != '\0' ? why.msg : NULL);
    assay_jw_kz(w, "mode", d->mode);
    assay_jw_key(w, "checks");
    assay_jw_array(w);
    snprintf(detail, sizeof(detail), "%.200s", d->warden_path[0] != '\0' ? d->warden_path : "no path");
    check(w, "warden", access(d->warden_path, X_OK) == 0, detail, "no box can be opened",
          "install assay-warden beside assay-boxkeeper, or name it in warden_path");
    check(w, "wardens_start", d->failures == 0, d->failures == 0 ? (d->features_known ? "the last one said hello" : "none was started yet") : d->failure,
          "no box can be opened", "read the warden's line in the log");
    check(w, "privilege", d->root, d->root ? "root" : "an ordinary user",
          "all boxes share one uid, so the kernel keeps them apart by namespaces alone; cgroups need delegation",
          "start assayd as root: the server gives root up, only the boxkeeper keeps it");
    if (d->reduced) {
        check(w, "namespaces", false, "sandbox=reduced asks for none",
              "boxes share the container's process list, mounts and disk with the server and with one another: a program sees "
              "that others run, and names of files, and may fill the disk up to its file limit times its number of files; "
              "each result says so",
              d->probe.namespaces ? "this machine allows namespaces: sandbox=native holds more"
                                  : "give the container a Docker socket (sandbox=docker), or CAP_SYS_ADMIN and an unconfined "
                                    "seccomp profile (sandbox=native)");
        snprintf(detail, sizeof(detail), "Landlock version %d", d->probe.landlock);
        check(w, "landlock", d->probe.landlock >= 6, d->probe.landlock == 0 ? "this kernel has none" : detail,
              d->root ? "without version 6 (Linux 6.12) abstract sockets and signals are left to uids and seccomp alone; without "
                        "any, boxes read what is readable by everybody"
                      : "no box can be opened: a program could end the process that watches it",
              d->root ? "a newer kernel" : "start as root in the container, or use Linux 6.12 or later");
    } else {
        check(w, "namespaces", d->probe.namespaces, d->probe.namespaces_why, "no box can be opened",
              d->root ? "the container or service that runs assayd takes CAP_SYS_ADMIN or the unshare call away: give them back"
                      : "allow user namespaces to this user (sysctl kernel.unprivileged_userns_clone=1, "
                        "user.max_user_namespaces above 0, on Ubuntu an AppArmor profile for assayd), or start assayd as root");
    }
    check(w, "seccomp", d->probe.seccomp, d->probe.seccomp_why,
          "programs reach all system calls of the kernel", "use a kernel with CONFIG_SECCOMP_FILTER");
    check_leaves(d, w);
    check_uids(d, w);
    assay_jw_end(w);
    sn_count(d, count);
    assay_jw_key(w, "wardens");
    assay_jw_object(w);
    for (int s = SN_FREE; s <= SN_GONE; s++)
        assay_jw_kint(w, state_names[s], (int64_t)count[s]);
    assay_jw_end(w);
    assay_jw_key(w, "box_view");
    assay_jw_array(w);
    for (size_t i = 0; i < d->paths.n; i++)
        assay_jw_z(w, d->paths.arg[i]);
    assay_jw_end(w);
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}

/* What a reader of results must know is missing. */
static void lacks(const struct sn_driver *d, struct assay_jw *w)
{
    assay_jw_array(w);
    if (d->reduced) {
        assay_jw_z(w, "namespaces (reduced box: other processes, the names of other files and the container's mounts can be seen)");
        assay_jw_z(w, "a bound on all files of a box together");
        if (d->probe.landlock == 0)
            assay_jw_z(w, "Landlock");
    } else if (!d->probe.namespaces) {
        assay_jw_z(w, "namespaces");
    }
    if (!d->probe.seccomp)
        assay_jw_z(w, "seccomp");
    if (d->leaves.version == 0)
        assay_jw_z(w, "cgroup");
    else if (d->leaves.trouble[0] != '\0')
        assay_jw_z(w, "part of cgroup");
    if (!d->root)
        assay_jw_z(w, "own uids");
    assay_jw_end(w);
}

/* What a tool that built the root wrote beside it, as DIR.digest: one line, sha256:<64 hex digits>. */
static bool digest_of(const char *base, char out[80])
{
    char path[PATH_MAX + 16], real[PATH_MAX];
    size_t n;
    FILE *f;

    if (base[0] == '\0' || realpath(base, real) == NULL)
        return false;
    snprintf(path, sizeof(path), "%s.digest", real);
    f = fopen(path, "re");
    if (f == NULL)
        return false;
    n = fread(out, 1, 79, f);
    fclose(f);
    out[n] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return strlen(out) == 71 && strncmp(out, "sha256:", 7) == 0 && strspn(out + 7, "0123456789abcdef") == 64;
}

int sn_place(const struct sn_driver *d, const char *base, struct assay_buf *out, struct assay_err *err)
{
    char digest[80];
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();

    if (w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the warden's place");
    assay_jw_object(w);
    assay_jw_kz(w, "driver", "native");
    assay_jw_kz(w, "mode", d->mode);
    assay_jw_kz(w, "image", base[0] != '\0' ? base : NULL);
    assay_jw_kz(w, "digest", digest_of(base, digest) ? digest : NULL);
    assay_jw_kint(w, "cgroup", d->leaves.version);
    assay_jw_key(w, "notes");
    lacks(d, w);
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}

int sn_info(void *self, struct assay_buf *out, struct assay_err *err)
{
    const struct sn_driver *d = self;
    ASSAY_CLEANUP_JW struct assay_jw *w = assay_jw_new();
    struct assay_err why = {0, ""};

    if (w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the driver's description");
    assay_jw_object(w);
    assay_jw_kz(w, "driver", "native");
    assay_jw_kbool(w, "usable", sn_usable(self, &why) == 0);
    assay_jw_kz(w, "why", why.msg[0] != '\0' ? why.msg : NULL);
    assay_jw_kz(w, "mode", d->mode);
    assay_jw_kint(w, "cgroup_version", d->leaves.version);
    assay_jw_kint(w, "max_wardens", (int64_t)d->max_wardens);
    assay_jw_key(w, "lacks");
    lacks(d, w);
    assay_jw_end(w);
    return assay_jw_finish(w, out, err);
}
