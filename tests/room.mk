# tests: see docs/architecture.md for what lives here

# runs service plugins against a fake host over the real store driver; unit tests of services link it
if HAVE_CMOCKA
check_LTLIBRARIES += tests/unit/libsvc_harness.la
tests_unit_libsvc_harness_la_SOURCES = tests/unit/svc_harness.c tests/unit/svc_harness.h
tests_unit_libsvc_harness_la_CPPFLAGS = $(SDK_CPPFLAGS) $(JANSSON_CFLAGS)
tests_unit_libsvc_harness_la_LIBADD = $(SDK_LIBS) $(JANSSON_LIBS) -ldl -lpthread
SVC_TEST_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)/tests/unit
SVC_TEST_LIBS = tests/unit/libsvc_harness.la $(SDK_LIBS) $(CMOCKA_LIBS)
endif

# prints the plugins' SQL for the test that prepares it on PostgreSQL
check_PROGRAMS += tests/contract/dump_sql
tests_contract_dump_sql_SOURCES = tests/contract/dump_sql.c
tests_contract_dump_sql_CPPFLAGS = $(SDK_CPPFLAGS)
tests_contract_dump_sql_LDADD = $(SDK_LIBS)

# who may include, compile and link what; plants violations and expects to catch them
TESTS += tests/lint/deps.py
EXTRA_DIST += tests/lint/deps.py
