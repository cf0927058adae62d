# services/submissions: takes submissions, owns their jobs and their one terminal state
plugins_LTLIBRARIES += services/submissions/assay_submissions.la
services_submissions_assay_submissions_la_SOURCES = \
	services/submissions/retention.c services/submissions/repo_retention.c services/submissions/schema/008_retention.h \
	services/submissions/project.h services/submissions/project_domain.c services/submissions/http_project.c services/submissions/repo_project.c services/submissions/schema/005_projects.h \
	services/submissions/admission.c services/submissions/codec.c services/submissions/domain.c services/submissions/http.c \
	services/submissions/http_read.c services/submissions/intake.c services/submissions/intake.h services/submissions/jobs.c services/submissions/outlet.c services/submissions/repo_intake.c services/submissions/rejudge.c services/submissions/rejudge.h services/submissions/repo_rejudge.c services/submissions/schema/006_rejudgings.h services/submissions/repo_queue.c \
	services/submissions/repo_turns.c services/submissions/repo_turns.h services/submissions/turns.c services/submissions/turns.h services/submissions/schema/009_lines.h \
	services/submissions/leases.c services/submissions/repo_leases.c services/submissions/schema/003_leases.h services/submissions/schema/004_messages.h \
	services/submissions/live.c services/submissions/local.h services/submissions/plugin.c services/submissions/repo.c \
	services/submissions/stream.c services/submissions/stream_tail.c services/submissions/stream_view.c services/submissions/schema/007_compiler_options.h services/submissions/schema/001_submissions.h services/submissions/schema/002_turns.h
services_submissions_assay_submissions_la_CPPFLAGS = $(SDK_CPPFLAGS)
services_submissions_assay_submissions_la_CFLAGS = $(AM_CFLAGS)
services_submissions_assay_submissions_la_LDFLAGS = $(PLUGIN_LDFLAGS)
services_submissions_assay_submissions_la_LIBADD = $(SDK_LIBS)

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/submissions_test
TESTS += tests/unit/submissions_test
tests_unit_submissions_test_SOURCES = tests/unit/submissions_test.c services/submissions/domain.c
tests_unit_submissions_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS) -I$(top_srcdir)/services/submissions
tests_unit_submissions_test_LDADD = $(SVC_TEST_LIBS)
check_PROGRAMS += tests/unit/submissions_queue_test
TESTS += tests/unit/submissions_queue_test
tests_unit_submissions_queue_test_SOURCES = tests/unit/submissions_queue_test.c services/submissions/admission.c
tests_unit_submissions_queue_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS) -I$(top_srcdir)/services/submissions
tests_unit_submissions_queue_test_LDADD = $(SVC_TEST_LIBS)
check_PROGRAMS += tests/unit/stream_tail_test
TESTS += tests/unit/stream_tail_test
tests_unit_stream_tail_test_SOURCES = tests/unit/stream_tail_test.c services/submissions/stream_tail.c
tests_unit_stream_tail_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS) -I$(top_srcdir)/services/submissions
tests_unit_stream_tail_test_LDADD = $(SVC_TEST_LIBS)
check_PROGRAMS += tests/unit/turns_test
TESTS += tests/unit/turns_test
tests_unit_turns_test_SOURCES = tests/unit/turns_test.c services/submissions/turns.c
tests_unit_turns_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS) -I$(top_srcdir)/services/submissions
tests_unit_turns_test_LDADD = $(SVC_TEST_LIBS)
check_PROGRAMS += tests/unit/intake_test
TESTS += tests/unit/intake_test
tests_unit_intake_test_SOURCES = tests/unit/intake_test.c
tests_unit_intake_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS)
tests_unit_intake_test_LDADD = $(SVC_TEST_LIBS)
check_PROGRAMS += tests/unit/leases_test
TESTS += tests/unit/leases_test
tests_unit_leases_test_SOURCES = tests/unit/leases_test.c
tests_unit_leases_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS)
tests_unit_leases_test_LDADD = $(SVC_TEST_LIBS)
endif

# sets that are judged again, with scores and the board behind them
if HAVE_CMOCKA
check_PROGRAMS += tests/unit/rejudge_test tests/unit/retention_test
tests_unit_retention_test_SOURCES = tests/unit/retention_test.c
tests_unit_retention_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS)
tests_unit_retention_test_LDADD = $(SVC_TEST_LIBS)
TESTS += tests/unit/retention_test
TESTS += tests/unit/rejudge_test
tests_unit_rejudge_test_SOURCES = tests/unit/rejudge_test.c
tests_unit_rejudge_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS)
tests_unit_rejudge_test_LDADD = $(SVC_TEST_LIBS)
endif
