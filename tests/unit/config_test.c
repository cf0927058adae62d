/* The option table: who wins, what is refused, and that a secret stays one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/config.h"

static const struct assay_option rows[] = {
    {.name = "http_port", .env = "HTTP_PORT,PORT", .type = ASSAY_OPT_INT, .default_text = "8080", .min = 0, .max = 65535,
     .help = "Port."},
    {.name = "data_dir", .type = ASSAY_OPT_STRING, .default_text = "/var/lib/x", .help = "Folder."},
    {.name = "config", .type = ASSAY_OPT_STRING, .default_text = "", .help = "File."},
    {.name = "secret", .env = "OLD_SECRET", .type = ASSAY_OPT_STRING, .default_text = "", .flags = ASSAY_OPT_SECRET,
     .help = "Secret."},
    {.name = "secret_number", .type = ASSAY_OPT_INT, .default_text = "0", .flags = ASSAY_OPT_SECRET, .help = "Secret."},
    {.name = "time_limit", .env = "RUNNER_TIME_LIMIT", .type = ASSAY_OPT_DURATION, .default_text = "5s", .min = 100,
     .max = 600000, .help = "Time."},
    {.name = "poll", .type = ASSAY_OPT_DURATION, .default_text = "20000", .bare_unit_ms = 1, .help = "Time."},
    {.name = "memory_limit", .type = ASSAY_OPT_BYTES, .default_text = "256m", .help = "Bytes."},
    {.name = "verbose", .type = ASSAY_OPT_BOOL, .default_text = "false", .help = "Switch."},
    {.name = "log_level", .type = ASSAY_OPT_CHOICE, .default_text = "info", .choices = "debug|info|warn", .help = "Level."},
    {.name = "amqp_url", .type = ASSAY_OPT_STRING, .default_text = "", .help = "URL."},
};
static const struct assay_table table = ASSAY_TABLE(rows);

static struct assay_config *fresh(void)
{
    struct assay_config *c = assay_config_new();
    struct assay_err err;
    assert_non_null(c);
    assert_int_equal(assay_config_add(c, "core", &table, &err), 0);
    return c;
}

static int resolve(struct assay_config *c, char *const *flags, char *const *env, const char *file)
{
    struct assay_err err;
    struct assay_config_input in = {.flags = flags, .env = env, .file = file};
    int rc = assay_config_resolve(c, &in, &err);
    if (rc != 0)
        assert_non_null(strstr(assay_config_problems(c), err.msg));
    return rc;
}

#define LIST(...) ((char *[]){__VA_ARGS__, NULL})
/* string literals as char *, which argv and environ want */
#define Z(text) ((char[]){text})

static const char *temp_file(const char *text)
{
    static char path[64];
    (void)snprintf(path, sizeof path, "/tmp/assay-config-test-%d.ini", (int)getpid());
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fputs(text, f) >= 0, 1);
    assert_int_equal(fclose(f), 0);
    return path;
}

#define assert_problem(c, text)                                                                                        \
    do {                                                                                                               \
        if (strstr(assay_config_problems(c), (text)) == NULL)                                                          \
            fail_msg("wanted \"%s\" in:\n%s", (text), assay_config_problems(c));                                        \
    } while (0)

static void defaults_hold_and_are_typed(void **state)
{
    (void)state;
    struct assay_config *c = fresh();
    assert_int_equal(resolve(c, NULL, NULL, ""), 0);
    assert_int_equal(assay_config_int(c, "http_port"), 8080);
    assert_string_equal(assay_config_str(c, "data_dir"), "/var/lib/x");
    assert_int_equal(assay_config_int(c, "time_limit"), 5000);
    assert_int_equal(assay_config_int(c, "poll"), 20000);
    assert_int_equal(assay_config_int(c, "memory_limit"), 256 << 20);
    assert_int_equal(assay_config_int(c, "verbose"), 0);
    assert_string_equal(assay_config_origin(c, "http_port"), "default");
    assert_string_equal(assay_config_problems(c), "");
    assay_config_free(c);
}

static void flags_win_over_environment_over_file_over_default(void **state)
{
    (void)state;
    struct assay_config *c = fresh();
    const char *file = temp_file("http_port = 1\ndata_dir = /f\nlog_level = warn\n");
    assert_int_equal(resolve(c, LIST(Z("--http-port=3")), LIST(Z("ASSAY_HTTP_PORT=2"), Z("ASSAY_DATA_DIR=/e")), file), 0);
    assert_int_equal(assay_config_int(c, "http_port"), 3);
    assert_string_equal(assay_config_origin(c, "http_port"), "--http-port");
    assert_int_equal(assay_config_source(c, "http_port"), ASSAY_CONFIG_FLAG);
    assert_string_equal(assay_config_str(c, "data_dir"), "/e");
    assert_string_equal(assay_config_origin(c, "data_dir"), "ASSAY_DATA_DIR");
    assert_string_equal(assay_config_str(c, "log_level"), "warn");
    char line[80];
    (void)snprintf(line, sizeof line, "%s:3", file);
    assert_string_equal(assay_config_origin(c, "log_level"), line);
    assay_config_free(c);
}

static void older_names_are_understood_and_ours_wins(void **state)
{
    (void)state;
    struct assay_config *c = fresh();
    assert_int_equal(resolve(c, NULL, LIST(Z("PORT=5"), Z("RUNNER_TIME_LIMIT=2m30s")), ""), 0);
    assert_int_equal(assay_config_int(c, "http_port"), 5);
    assert_int_equal(assay_config_int(c, "time_limit"), 150000);
    assert_int_equal(resolve(c, NULL, LIST(Z("PORT=5"), Z("HTTP_PORT=6")), ""), 0);
    assert_int_equal(assay_config_int(c, "http_port"), 6);
    assert_string_equal(assay_config_origin(c, "http_port"), "HTTP_PORT");
    assert_int_equal(resolve(c, NULL, LIST(Z("PORT=5"), Z("ASSAY_HTTP_PORT=7")), ""), 0);
    assert_int_equal(assay_config_int(c, "http_port"), 7);
    assay_config_free(c);
}

static void an_empty_variable_counts_as_unset(void **state)
{
    (void)state;
    struct assay_config *c = fresh();
    assert_int_equal(resolve(c, NULL, LIST(Z("ASSAY_HTTP_PORT="), Z("HTTP_PORT=")), ""), 0);
    assert_int_equal(assay_config_int(c, "http_port"), 8080);
    assay_config_free(c);
}

static void an_unknown_name_is_refused_with_the_nearest(void **state)
{
    (void)state;
    struct assay_config *c = fresh();
    assert_int_equal(resolve(c, LIST(Z("--htpt-port=1")), NULL, ""), ASSAY_E_CONFIG);
    assert_problem(c, "there is no option --htpt-port; the nearest is --http-port");
    assert_int_equal(resolve(c, NULL, LIST(Z("ASSAY_DATADIR=/x")), ""), ASSAY_E_CONFIG);
    assert_problem(c, "there is no option for the variable ASSAY_DATADIR; the nearest is ASSAY_DATA_DIR");
    assert_int_equal(resolve(c, NULL, LIST(Z("ASSAY_http_port=1")), ""), ASSAY_E_CONFIG);
    const char *file = temp_file("\n# a comment\nlog_levle = info\n");
    assert_int_equal(resolve(c, NULL, NULL, file), ASSAY_E_CONFIG);
    assert_problem(c, ":3: there is no option log_levle; the nearest is log_level");
    /* all of them at once */
    assert_int_equal(resolve(c, LIST(Z("--a=1"), Z("--b=2")), LIST(Z("ASSAY_C=3")), file), ASSAY_E_CONFIG);
    assert_problem(c, "--a");
    assert_problem(c, "--b");
    assert_problem(c, "ASSAY_C");
    assert_problem(c, "log_levle");
    /* the first pass, before plugins are known, passes over them */
    struct assay_config_input in = {.flags = LIST(Z("--later=1"), Z("--http-port=9")), .file = file, .lenient = true};
    struct assay_err err;
    assert_int_equal(assay_config_resolve(c, &in, &err), 0);
    assert_int_equal(assay_config_int(c, "http_port"), 9);
    assay_config_free(c);
}

static void the_clients_variables_are_not_ours(void **state)
{
    (void)state;
    struct assay_config *c = fresh();
    assert_int_equal(resolve(c, NULL, LIST(Z("ASSAY_URL=http://x"), Z("ASSAY_TOKEN=t"), Z("ASSAY_TEST_X=1"), Z("HOME=/")), ""),
                     0);
    assay_config_free(c);
}

static void values_are_held_to_type_and_bounds(void **state)
{
    (void)state;
    static const struct {
        const char *flag, *why;
    } bad[] = {
        {"--http-port=65536", "must lie between 0 and 65535"}, {"--http-port=-1", "must lie between"},
        {"--http-port=80x", "must be a whole number"},         {"--http-port=", "must be a whole number"},
        {"--http-port=99999999999999999999", "whole number"},  {"--time-limit=5 s", "must be a duration"},
        {"--time-limit=99ms", "must lie between 100 and"},     {"--memory-limit=12q", "must be a size"},
        {"--verbose=maybe", "must be true or false"},          {"--log-level=loud", "must be one of debug|info|warn"},
        {"--log-level=debug|info", "must be one of"},          {"--log-level=", "must be one of"},
        {"--data-dir=a\nb", "control character"},              {"--data-dir=\xff", "not UTF-8"},
    };
    struct assay_config *c = fresh();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char *flag = strdup(bad[i].flag);
        char *flags[] = {flag, NULL};
        assert_int_equal(resolve(c, flags, NULL, ""), ASSAY_E_CONFIG);
        assert_problem(c, bad[i].why);
        free(flag);
    }
    assay_config_free(c);
}

static void flags_come_in_each_usual_form(void **state)
{
    (void)state;
    struct assay_config *c = fresh();
    assert_int_equal(resolve(c, LIST(Z("--http-port"), Z("77"), Z("--verbose"), Z("--data_dir=/with=sign")), NULL, ""), 0);
    assert_int_equal(assay_config_int(c, "http_port"), 77);
    assert_int_equal(assay_config_int(c, "verbose"), 1);
    assert_string_equal(assay_config_str(c, "data_dir"), "/with=sign");
    assert_int_equal(resolve(c, LIST(Z("--no-verbose")), LIST(Z("ASSAY_VERBOSE=true")), ""), 0);
    assert_int_equal(assay_config_int(c, "verbose"), 0);
    assert_int_equal(resolve(c, LIST(Z("--no-http-port")), NULL, ""), ASSAY_E_CONFIG);
    assert_int_equal(resolve(c, LIST(Z("--http-port")), NULL, ""), ASSAY_E_CONFIG);
    assert_problem(c, "--http-port needs a value");
    assert_int_equal(resolve(c, LIST(Z("8080")), NULL, ""), ASSAY_E_CONFIG);
    assert_problem(c, "is not an option");
    assert_int_equal(resolve(c, LIST(Z("--http-port=1"), Z("--http-port=2")), NULL, ""), ASSAY_E_CONFIG);
    assert_problem(c, "is given twice");
    assay_config_free(c);
}

static void the_file_is_read_strictly(void **state)
{
    (void)state;
    struct assay_config *c = fresh();
    assert_int_equal(resolve(c, NULL, NULL, temp_file("[http]\nport = 99 ; why\n[data]\ndir=/s\n")), 0);
    assert_int_equal(assay_config_int(c, "http_port"), 99);
    assert_string_equal(assay_config_str(c, "data_dir"), "/s");
    assert_int_equal(resolve(c, NULL, NULL, temp_file("http_port = 1\nhttp_port = 2\n")), ASSAY_E_CONFIG);
    assert_problem(c, "is given twice");
    assert_int_equal(resolve(c, NULL, NULL, temp_file("http_port = 1\nnonsense\n")), ASSAY_E_CONFIG);
    assert_problem(c, ":2: not \"name = value\"");
    assert_int_equal(resolve(c, NULL, NULL, temp_file("config = /other\n")), ASSAY_E_CONFIG);
    assert_problem(c, "config cannot be set in the file");
    assert_int_equal(resolve(c, NULL, NULL, "/nonexistent/assay.ini"), ASSAY_E_CONFIG);
    assert_problem(c, "cannot read the configuration file");
    char text[3000];
    memset(text, 'x', sizeof text);
    memcpy(text, "data_dir = /", 12);
    text[sizeof text - 2] = '\n';
    text[sizeof text - 1] = '\0';
    assert_int_equal(resolve(c, NULL, NULL, temp_file(text)), ASSAY_E_CONFIG);
    assert_problem(c, "the line is longer than");
    /* the file that the option names, which the environment may do */
    char variable[100];
    (void)snprintf(variable, sizeof variable, "ASSAY_CONFIG=%s", temp_file("http_port = 12\n"));
    assert_int_equal(resolve(c, NULL, LIST(variable), NULL), 0);
    assert_int_equal(assay_config_int(c, "http_port"), 12);
    assay_config_free(c);
}

static void a_secret_is_masked_everywhere(void **state)
{
    (void)state;
    struct assay_config *c = fresh();
    struct assay_err err;
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    assert_int_equal(resolve(c, NULL, LIST(Z("OLD_SECRET=hunter2-hunter2"), Z("ASSAY_AMQP_URL=amqp://me:pa%40ss@host/v")), ""), 0);
    assert_string_equal(assay_config_str(c, "secret"), "hunter2-hunter2");
    for (int json = 0; json < 2; json++) {
        assay_buf_reset(&b);
        assert_int_equal(assay_config_dump(c, json != 0, &b, &err), 0);
        assert_null(strstr(b.p, "hunter2"));
        assert_null(strstr(b.p, "pa%40ss"));
        assert_non_null(strstr(b.p, "amqp://me:********@host/v"));
        assert_non_null(strstr(b.p, "OLD_SECRET"));
    }
    assay_buf_reset(&b);
    assay_config_lines(c, false, &b);
    assert_null(strstr(b.p, "secret"));
    assert_int_equal(resolve(c, LIST(Z("--secret-number=hunter2")), NULL, ""), ASSAY_E_CONFIG);
    assert_null(strstr(assay_config_problems(c), "hunter2"));
    assay_config_free(c);
}

static void the_dump_is_a_file_that_gives_the_same_values(void **state)
{
    (void)state;
    struct assay_config *c = fresh(), *again = fresh();
    struct assay_err err;
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_BUF struct assay_buf x = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_BUF struct assay_buf y = ASSAY_BUF_INIT;
    assert_int_equal(resolve(c, LIST(Z("--http-port=1234"), Z("--time-limit=1m"), Z("--verbose"), Z("--secret=s")), NULL, ""), 0);
    assert_int_equal(assay_config_dump(c, false, &b, &err), 0);
    assert_int_equal(resolve(again, NULL, NULL, temp_file(b.p)), 0);
    assay_config_lines(c, false, &x);
    assay_config_lines(again, false, &y);
    assert_string_equal(x.p, y.p);
    assay_config_free(c);
    assay_config_free(again);
}

static void a_child_takes_what_the_supervisor_resolved(void **state)
{
    (void)state;
    struct assay_config *c = fresh(), *child = fresh();
    struct assay_options *o = NULL;
    struct assay_err err;
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    assert_int_equal(resolve(c, LIST(Z("--time-limit=1m"), Z("--data-dir=/a=b"), Z("--secret=s"), Z("--verbose")), NULL, ""), 0);
    assay_config_lines(c, true, &b);
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(write(fd, b.p, b.n), (ssize_t)b.n);
    assert_int_equal(assay_options_read(fd, &o, &err), 0);
    assert_string_equal(assay_options_str(o, "data_dir"), "/a=b");
    assert_int_equal(assay_options_int(o, "time_limit", -1), 60000);
    assert_int_equal(assay_options_int(o, "absent", -1), -1);
    assert_null(assay_options_str(o, "absent"));
    assert_int_equal(assay_config_take(child, o, &err), 0);
    assert_string_equal(assay_config_str(child, "secret"), "s");
    assert_int_equal(assay_config_int(child, "time_limit"), 60000);
    assert_int_equal(assay_config_int(child, "verbose"), 1);
    assay_options_free(o);
    /* a memfd that is not what the supervisor writes */
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(pwrite(fd, "x=1\nnonsense\n", 13, 0), 13);
    assert_int_equal(assay_options_read(fd, &o, &err), ASSAY_E_CORRUPT);
    assert_int_equal(pwrite(fd, "x=1\nno=newline", 14, 0), 14);
    assert_int_equal(assay_options_read(fd, &o, &err), ASSAY_E_CORRUPT);
    close(fd);
    assay_config_free(c);
    assay_config_free(child);
}

static void a_faulty_table_is_refused(void **state)
{
    (void)state;
    static const struct {
        struct assay_option row;
        const char *why;
    } bad[] = {
        {{.name = "Upper", .type = ASSAY_OPT_STRING, .help = "h"}, "is not [a-z]"},
        {{.name = "http_port", .type = ASSAY_OPT_STRING, .help = "h"}, "declared by both core and other"},
        {{.name = "mine", .env = "HTTP_PORT", .type = ASSAY_OPT_STRING, .help = "h"}, "variable HTTP_PORT belongs to both"},
        {{.name = "mine", .type = ASSAY_OPT_STRING}, "has no help text"},
        {{.name = "mine", .type = ASSAY_OPT_INT, .help = "h"}, "the default of option mine"},
        {{.name = "mine", .type = ASSAY_OPT_INT, .default_text = "9", .max = 5, .help = "h"}, "the default of option mine"},
        {{.name = "mine", .type = ASSAY_OPT_CHOICE, .default_text = "a", .help = "h"}, "has no choices"},
        {{.name = "mine", .type = ASSAY_OPT_INT, .default_text = "0", .min = 2, .max = 1, .help = "h"}, "wrong way round"},
    };
    struct assay_err err;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct assay_config *c = fresh();
        struct assay_table t = {&bad[i].row, 1, (uint32_t)sizeof bad[i].row};
        assert_int_equal(assay_config_add(c, "other", &t, &err), ASSAY_E_CONFIG);
        if (strstr(err.msg, bad[i].why) == NULL)
            fail_msg("wanted \"%s\" in \"%s\"", bad[i].why, err.msg);
        assay_config_free(c);
    }
    /* a driver may list the core's row again, unchanged; rows of a later minor version are longer */
    struct {
        struct assay_option row;
        int more;
    } grown[2] = {{rows[0], 1}, {{.name = "grown", .type = ASSAY_OPT_INT, .default_text = "4", .help = "h"}, 2}};
    struct assay_table t = {grown, 2, (uint32_t)sizeof grown[0]};
    struct assay_config *c = fresh();
    assert_int_equal(assay_config_add(c, "driver", &t, &err), 0);
    assert_int_equal(resolve(c, LIST(Z("--grown=5")), NULL, ""), 0);
    assert_int_equal(assay_config_int(c, "grown"), 5);
    assay_config_free(c);
}

static void help_shows_each_row(void **state)
{
    (void)state;
    struct assay_config *c = fresh();
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    assay_config_help(c, &b);
    assert_non_null(strstr(b.p, "--http-port=NUMBER\n      Port. Default: 8080. Also read from: HTTP_PORT,PORT."));
    assert_non_null(strstr(b.p, "--log-level=debug|info|warn"));
    assay_config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_hold_and_are_typed),
        cmocka_unit_test(flags_win_over_environment_over_file_over_default),
        cmocka_unit_test(older_names_are_understood_and_ours_wins),
        cmocka_unit_test(an_empty_variable_counts_as_unset),
        cmocka_unit_test(an_unknown_name_is_refused_with_the_nearest),
        cmocka_unit_test(the_clients_variables_are_not_ours),
        cmocka_unit_test(values_are_held_to_type_and_bounds),
        cmocka_unit_test(flags_come_in_each_usual_form),
        cmocka_unit_test(the_file_is_read_strictly),
        cmocka_unit_test(a_secret_is_masked_everywhere),
        cmocka_unit_test(the_dump_is_a_file_that_gives_the_same_values),
        cmocka_unit_test(a_child_takes_what_the_supervisor_resolved),
        cmocka_unit_test(a_faulty_table_is_refused),
        cmocka_unit_test(help_shows_each_row),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
