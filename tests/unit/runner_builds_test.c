/* What the runner keeps between submissions: the build cache, and what a language makes once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "runner_world.h"

static void expect_build(struct svc *h, const char *source, const char *verdict, int cached)
{
    const char *id = submit(h, "sum", "c", source);
    expect_verdict(h, id, verdict);
    struct svc_reply r = see(h, SVC_ADMIN, "/results/", id);
    if (svc_bool(&r, "/build_cached") != cached)
        tell(source, assay_str(svc_log_text(h)));
    assert_int_equal(svc_bool(&r, "/build_cached"), cached);
    r = see(h, SVC_USER, "/results/", id);
    assert_false(svc_has(&r, "/build_cached")); /* it would tell that somebody had submitted the same */
}

/* The files of the build cache; when they are to be spoilt a byte near the end of each, which is the artefact's. */
static int cached_files(struct svc *h, bool spoil)
{
    char path[4200], folder[4096];
    int n = 0;
    snprintf(folder, sizeof folder, "%s/builds", svc_host(h)->option_str(svc_host(h)->ctx, "data_dir"));
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        struct stat st;
        snprintf(path, sizeof path, "%s/%.64s", folder, e->d_name);
        if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || strncmp(e->d_name, "tmp.", 4) == 0)
            continue;
        n++;
        if (!spoil)
            continue;
        assert_int_equal(chmod(path, 0600), 0);
        int fd = open(path, O_RDWR);
        char c = 0;
        assert_int_equal(pread(fd, &c, 1, st.st_size - 100), 1);
        c = (char)(c ^ 1);
        assert_int_equal(pwrite(fd, &c, 1, st.st_size - 100), 1);
        close(fd);
    }
    closedir(d);
    return n;
}

/* Keeping comes after the verdict. */
static void wait_for_files(struct svc *h, int n)
{
    for (int i = 0; i < 1000 && cached_files(h, false) < n; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    assert_int_equal(cached_files(h, false), n);
}

#define SELF_MODIFYING                                                                                                 \
    "#include <stdio.h>\n#include <unistd.h>\n#include <fcntl.h>\nint main(void){int fd=open(\"app/main\",O_WRONLY);"      \
    "if(fd>=0||unlink(\"app/main\")==0||rename(\"app\",\"x\")==0||open(\"app/new\",O_CREAT|O_WRONLY,0600)>=0){" \
    "puts(\"poisoned\");return 0;}long long s=0,v;while(scanf(\"%lld\",&v)==1)s+=v;printf(\"%lld\\n\",s);return 0;}"

static void test_the_same_source_is_built_once(void **state)
{
    (void)state;
    struct svc *h = world();
    expect_build(h, C_SUM, "OK", 0);
    wait_for_files(h, 1);
    expect_build(h, C_SUM, "OK", 1);
    expect_build(h, C_SUM "\n", "OK", 0); /* one byte more is another source */
    wait_for_files(h, 2);
    expect_build(h, "int main(void){", "BF", 0); /* a failure is never kept */
    expect_build(h, "int main(void){", "BF", 0);
    expect_build(h, SELF_MODIFYING, "OK", 0); /* what a program does to its files reaches nobody */
    wait_for_files(h, 3);
    expect_build(h, SELF_MODIFYING, "OK", 1);
    /* a hit and a build are alike also to a program that asks when it was built */
    expect_build(h, "#include <stdio.h>\nint main(void){puts(__DATE__ __TIME__);return 0;}", "WA", 0);
    wait_for_files(h, 4);

    h = svc_restart(h); /* new wardens: the bytes come from the disk */
    expect_build(h, C_SUM, "OK", 1);
    expect_build(h, C_SUM, "OK", 1);

    h = svc_restart(h);
    assert_int_equal(cached_files(h, true), 4);
    expect_build(h, C_SUM, "OK", 0);
    assert_non_null(strstr(svc_log_text(h), "build_cache_damaged"));
    wait_for_files(h, 4);
    expect_build(h, C_SUM, "OK", 1);

    svc_option(h, "build_memory_limit", "1g"); /* another limit, another build */
    h = svc_restart(h);
    expect_build(h, C_SUM, "OK", 0);
    wait_for_files(h, 5);
    svc_option(h, "build_cache", "0");
    h = svc_restart(h);
    expect_build(h, C_SUM, "OK", 0);
    expect_build(h, C_SUM, "OK", 0);
    assert_int_equal(cached_files(h, false), 5);
    end(h);
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* What a language's file says is made once is seen by its programs and changed by none; what is damaged is made again. */
static void test_warm_material_is_made_kept_and_checked(void **state)
{
    (void)state;
    static const char *const language =
        "{\"name\":\"c\",\"title\":\"C\",\"source\":\"main.c\",\"extensions\":[\".c\"],\"tools\":{\"cc\":\"gcc\"},"
        "\"version\":[\"{cc}\",\"--version\"],\"build\":{\"argv\":[\"{cc}\",\"-o\",\"main\",\"{sources}\"],\"artefacts\":[\"main\"]},"
        "\"warm\":{\"argv\":[\"{cc}\",\"-c\",\"-o\",\"d/stamp\",\"d/x.c\"],\"files\":{\"d/x.c\":\"int x;\\n\"},\"artefacts\":[\"d\"]},"
        "\"run\":{\"argv\":[\"{artefact}/main\",\"{warm}/d/stamp\"]},"
        "\"sample\":{\"source\":\"int main(void){return 0;}\",\"output\":\"\"}}";
    static const char *const source =
        "#include <stdio.h>\n#include <unistd.h>\n#include <fcntl.h>\nint main(int n, char **a) { (void)n; long long s = 0, v;"
        "if (access(a[1], R_OK) != 0 || open(a[1], O_WRONLY) >= 0 || unlink(a[1]) == 0) { puts(\"cold\"); return 0; }"
        "while (scanf(\"%lld\", &v) == 1) s += v; printf(\"%lld\\n\", s); return 0; }";
    char path[4400], share[4200];
    signal(SIGPIPE, SIG_IGN);
    struct svc *h = svc_new();
    const char *dir = svc_host(h)->option_str(svc_host(h)->ctx, "data_dir");
    snprintf(share, sizeof share, "%.200s/share", dir);
    snprintf(path, sizeof path, "%.200s/warm", dir);
    world_shared(path);
    assert_int_equal(mkdir(share, 0755), 0);
    snprintf(path, sizeof path, "%s/processors", share);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/languages", share);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/languages/c.json", share);
    write_text(path, language);
    svc_option(h, "share_dir", share);
    world_begin(h);
    expect_build(h, source, "WA", 0); /* it is offered before */
    wait_for_log(h, "language_warm");
    expect_build(h, source, "OK", 1); /* the build does not ask for it, so that it is the same build */

    h = svc_restart(h);
    expect_build(h, source, "OK", 1); /* the self-test has found it */
    wait_for_log(h, "language_warm");

    snprintf(path, sizeof path, "%.200s/warm", svc_host(h)->option_str(svc_host(h)->ctx, "data_dir"));
    DIR *d = opendir(path);
    char stamp[4400] = "";
    int trees = 0;
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        if (strlen(e->d_name) == 64) {
            trees++;
            snprintf(stamp, sizeof stamp, "%.300s/%.64s/d/stamp", path, e->d_name);
        }
    }
    closedir(d);
    assert_int_equal(trees, 1);
    assert_int_equal(chmod(stamp, 0644), 0);
    write_text(stamp, "damaged");
    h = svc_restart(h);
    expect_build(h, source, "WA", 1); /* rather without than with that */
    wait_for_log(h, "warm_damaged");
    wait_for_log(h, "language_warm");
    expect_build(h, source, "OK", 1);
    world_shared(NULL);
    h = svc_restart(h);
    expect_build(h, source, "WA", 0); /* wardens that share nothing: another place, and no warm material */
    end(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_source_is_built_once),
        cmocka_unit_test(test_warm_material_is_made_kept_and_checked),
    };
    if (!warden_works())
        return world_skip();
    return cmocka_run_group_tests_name("runner, builds", tests, NULL, NULL);
}
