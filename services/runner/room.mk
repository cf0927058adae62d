# services/runner: builds and runs programs in boxes, judges them, keeps the results
# libseccomp is included by seccomp.c only, expat by junit.c
plugins_LTLIBRARIES += services/runner/assay_runner.la
services_runner_assay_runner_la_SOURCES = services/runner/builds.c services/runner/cache.c services/runner/calibrate.c services/runner/check.c services/runner/checker.c \
	services/runner/codec.c services/runner/compare.c services/runner/counts.c services/runner/definitions.c services/runner/dispatch.c services/runner/domain.c services/runner/points.c services/runner/environment.c services/runner/filter.c services/runner/filter.h services/runner/filters.c services/runner/finish.c services/runner/http.c \
	services/runner/judge.c services/runner/junit.c services/runner/junit.h services/runner/languages.c services/runner/lease.c services/runner/local.h \
	services/runner/loop.c services/runner/loop.h services/runner/machine.c services/runner/place.c services/runner/plugin.c \
	services/runner/failures.c services/runner/prefork.c services/runner/project.c services/runner/project.h services/runner/project_codec.c \
	services/runner/prepare.c services/runner/recall.c services/runner/remote.c services/runner/remote.h \
	services/runner/interact.c services/runner/remote_codec.c services/runner/fetched.c services/runner/schema/010_fetched.h services/runner/remote_fetch.c services/runner/remote_http.c services/runner/remote_job.c \
	services/runner/report.c services/runner/report.h services/runner/summary.c services/runner/summary.h \
	services/runner/schema/006_runner_elsewhere.h services/runner/schema/007_checkers.h services/runner/schema/008_points.h services/runner/options.c services/runner/schema/009_compiler_options.h services/runner/repo.c services/runner/schema/001_runner.h \
	services/runner/schema/002_build_cached.h services/runner/schema/003_measured.h \
	services/runner/script.c services/runner/schema/004_environments.h services/runner/schema/005_warm_interpreters.h services/runner/seccomp.c services/runner/traced.c services/runner/warden.c services/runner/warm.c
services_runner_assay_runner_la_CPPFLAGS = $(SDK_CPPFLAGS) $(SECCOMP_CFLAGS) $(EXPAT_CFLAGS)
services_runner_assay_runner_la_CFLAGS = $(AM_CFLAGS)
services_runner_assay_runner_la_LDFLAGS = $(PLUGIN_LDFLAGS)
services_runner_assay_runner_la_LIBADD = $(SDK_LIBS) $(SECCOMP_LIBS) $(EXPAT_LIBS) -lm

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/runner_domain_test
TESTS += tests/unit/runner_domain_test
tests_unit_runner_domain_test_SOURCES = tests/unit/runner_domain_test.c services/runner/domain.c services/runner/points.c services/runner/machine.c
tests_unit_runner_domain_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS) -I$(top_srcdir)/services/runner
tests_unit_runner_domain_test_LDADD = $(SVC_TEST_LIBS) -lm
check_PROGRAMS += tests/unit/runner_test
TESTS += tests/unit/runner_test
tests_unit_runner_test_SOURCES = tests/unit/runner_test.c tests/unit/runner_world.c tests/unit/runner_world.h
tests_unit_runner_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS) -I$(top_srcdir)/services/runner
tests_unit_runner_test_LDADD = $(SVC_TEST_LIBS)
check_PROGRAMS += tests/unit/runner_builds_test
TESTS += tests/unit/runner_builds_test
tests_unit_runner_builds_test_SOURCES = tests/unit/runner_builds_test.c tests/unit/runner_world.c tests/unit/runner_world.h
tests_unit_runner_builds_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS) -I$(top_srcdir)/services/runner
tests_unit_runner_builds_test_LDADD = $(SVC_TEST_LIBS)
check_PROGRAMS += tests/unit/runner_languages_test
TESTS += tests/unit/runner_languages_test
tests_unit_runner_languages_test_SOURCES = tests/unit/runner_languages_test.c tests/unit/runner_world.c tests/unit/runner_world.h
tests_unit_runner_languages_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS) -I$(top_srcdir)/services/runner
tests_unit_runner_languages_test_LDADD = $(SVC_TEST_LIBS)
check_PROGRAMS += tests/unit/options_test
TESTS += tests/unit/options_test
tests_unit_options_test_SOURCES = tests/unit/options_test.c services/runner/options.c
tests_unit_options_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS) -I$(top_srcdir)/services/runner
tests_unit_options_test_LDADD = $(SVC_TEST_LIBS)
check_PROGRAMS += tests/unit/compare_test
TESTS += tests/unit/compare_test
tests_unit_compare_test_SOURCES = tests/unit/compare_test.c services/runner/compare.c
tests_unit_compare_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS) -I$(top_srcdir)/services/runner
tests_unit_compare_test_LDADD = $(SVC_TEST_LIBS) -lm
check_PROGRAMS += tests/unit/report_test
TESTS += tests/unit/report_test
tests_unit_report_test_SOURCES = tests/unit/report_test.c services/runner/junit.c services/runner/report.c services/runner/summary.c
tests_unit_report_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS) -I$(top_srcdir)/services/runner $(EXPAT_CFLAGS)
tests_unit_report_test_LDADD = $(SVC_TEST_LIBS) $(EXPAT_LIBS)
check_PROGRAMS += tests/unit/checker_test
TESTS += tests/unit/checker_test
tests_unit_checker_test_SOURCES = tests/unit/checker_test.c services/runner/checker.c
tests_unit_checker_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS) -I$(top_srcdir)/services/runner
tests_unit_checker_test_LDADD = $(SVC_TEST_LIBS) -lm
check_PROGRAMS += tests/unit/seccomp_test
TESTS += tests/unit/seccomp_test
tests_unit_seccomp_test_SOURCES = tests/unit/seccomp_test.c services/runner/seccomp.c
tests_unit_seccomp_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS) -I$(top_srcdir)/services/runner $(SECCOMP_CFLAGS)
tests_unit_seccomp_test_LDADD = $(SVC_TEST_LIBS) $(SECCOMP_LIBS)
check_PROGRAMS += tests/unit/builds_test
TESTS += tests/unit/builds_test
tests_unit_builds_test_SOURCES = tests/unit/builds_test.c services/runner/builds.c services/runner/failures.c
tests_unit_builds_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS) -I$(top_srcdir)/services/runner
tests_unit_builds_test_LDADD = $(SVC_TEST_LIBS)
check_PROGRAMS += tests/unit/filters_test
TESTS += tests/unit/filters_test
tests_unit_filters_test_SOURCES = tests/unit/filters_test.c services/runner/filters.c
tests_unit_filters_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS) -I$(top_srcdir)/services/runner
tests_unit_filters_test_LDADD = $(SVC_TEST_LIBS)
check_PROGRAMS += tests/unit/remote_test
TESTS += tests/unit/remote_test
tests_unit_remote_test_SOURCES = tests/unit/remote_test.c
tests_unit_remote_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS) -I$(top_srcdir)/services/runner
tests_unit_remote_test_LDADD = $(SVC_TEST_LIBS)
check_PROGRAMS += tests/unit/remote_dispatch_test
TESTS += tests/unit/remote_dispatch_test
tests_unit_remote_dispatch_test_SOURCES = tests/unit/remote_dispatch_test.c
tests_unit_remote_dispatch_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS) -I$(top_srcdir)/services/runner
tests_unit_remote_dispatch_test_LDADD = $(SVC_TEST_LIBS)
endif

# Reports of projects' tests; FUZZ_* are the gateway's room's.
check_PROGRAMS += tests/fuzz/junit_fuzz tests/fuzz/summary_fuzz
if !FUZZ
TESTS += tests/fuzz/junit_fuzz tests/fuzz/summary_fuzz
endif
tests_fuzz_junit_fuzz_SOURCES = tests/fuzz/junit_fuzz.c tests/fuzz/fuzz.h services/runner/junit.c services/runner/report.c $(FUZZ_DRIVER)
tests_fuzz_junit_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS) $(EXPAT_CFLAGS)
tests_fuzz_junit_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_junit_fuzz_LDADD = $(SDK_LIBS) $(EXPAT_LIBS)
tests_fuzz_summary_fuzz_SOURCES = tests/fuzz/summary_fuzz.c tests/fuzz/fuzz.h services/runner/report.c services/runner/summary.c $(FUZZ_DRIVER)
tests_fuzz_summary_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_summary_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_summary_fuzz_LDADD = $(SDK_LIBS)

# what comes out of a project's box
if HAVE_CMOCKA
check_PROGRAMS += tests/unit/project_test
TESTS += tests/unit/project_test
tests_unit_project_test_SOURCES = tests/unit/project_test.c services/runner/project_codec.c services/runner/junit.c services/runner/report.c \
	services/runner/summary.c services/runner/domain.c
tests_unit_project_test_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)/services/runner $(EXPAT_CFLAGS)
tests_unit_project_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS) $(EXPAT_LIBS) -lm
endif
check_PROGRAMS += tests/fuzz/project_answer_fuzz
if !FUZZ
TESTS += tests/fuzz/project_answer_fuzz
endif
tests_fuzz_project_answer_fuzz_SOURCES = tests/fuzz/project_answer_fuzz.c services/runner/project_codec.c services/runner/junit.c services/runner/report.c \
	services/runner/summary.c services/runner/domain.c $(FUZZ_DRIVER)
tests_fuzz_project_answer_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS) $(EXPAT_CFLAGS)
tests_fuzz_project_answer_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_project_answer_fuzz_LDADD = $(SDK_LIBS) $(EXPAT_LIBS) -lm
