#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "box_rig.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct fixture fx;
struct assay_str program;
struct assay_buf out, errout;
struct assay_box_outcome oc;

void ask_words(struct ask *a, const char *words)
{
    size_t n = 0;
    memset(a, 0, sizeof *a);
    a->argv[n++] = ASSAY_STR("prog");
    while (*words) {
        size_t k = strcspn(words, " ");
        assert_true(n < 32);
        a->argv[n++] = (struct assay_str){words, k};
        words += k + (words[k] == ' ');
    }
    a->file = (struct assay_box_file){.path = ASSAY_STR("prog"), .bytes = program, .mode = 0755};
    a->spec = (struct assay_box_spec){.argv = a->argv,
                                      .n_argv = n,
                                      .files = &a->file,
                                      .n_files = 1,
                                      .limits = {.cpu_ms = 1000,
                                                 .wall_ms = 2000,
                                                 .memory_bytes = 64 * MIB,
                                                 .stdout_bytes = MIB,
                                                 .stderr_bytes = 65536}};
}

void run_spec(const struct assay_box_spec *spec)
{
    struct assay_err err;
    assay_buf_reset(&out);
    assay_buf_reset(&errout);
    if (assay_box_client_run_sync(fx.client, spec, &out, &errout, &oc, &err) < 0)
        fail_msg("run: %s", err.msg);
}

void run(struct ask *a)
{
    run_spec(&a->spec);
}

void run_words(const char *words)
{
    struct ask a;
    ask_words(&a, words);
    run(&a);
}

bool said(const char *text)
{
    return out.n > 0 && strstr(out.p, text) != NULL;
}

void assert_said(const char *text)
{
    if (!said(text))
        fail_msg("expected \"%s\" in: %s", text, out.p ? out.p : "");
}

void assert_end(enum assay_box_end end)
{
    if (oc.end != end)
        fail_msg("end %d instead of %d (exit %d, signal %d, \"%s\")", oc.end, end, oc.exit_code, oc.signal, oc.message);
}

void assert_honest_next(void)
{
    run_words("echo well");
    assert_end(ASSAY_BOX_EXITED);
    assert_int_equal(oc.exit_code, 0);
    assert_string_equal(out.p, "well\n");
}

int rig_open(const char *mode, const char *const *extra, const char *program_path, bool leaf, bool ordinary)
{
    assay_buf_init(&out, (size_t)64 << 20);
    assay_buf_init(&errout, (size_t)64 << 20);
    assay_buf_putc(&out, '\0'); /* from now on a text, the empty one too */
    assay_buf_putc(&errout, '\0');
    program = fixture_read(program_path);
    if (!program.p)
        return -1;
    if (fixture_start(&fx, mode, extra, leaf, ordinary))
        return 0;
    print_message("# the warden did not start in mode %s\n", mode);
    return -1;
}

int rig_close(void **state)
{
    (void)state;
    int status;
    pid_t pid = fx.pid;
    bool clean = fixture_stop(&fx, &status);
    free((char *)(uintptr_t)program.p);
    assay_buf_free(&out);
    assay_buf_free(&errout);
    if (!clean || status != 0 || (kill(pid, 0) == 0))
        print_message("# warden status %#x, leaf %s\n", (unsigned)status, clean ? "clean" : "not empty");
    return clean && status == 0 ? 0 : -1;
}
