# services/traces: what happened to each submission, and when
plugins_LTLIBRARIES += services/traces/assay_traces.la
services_traces_assay_traces_la_SOURCES = \
	services/traces/codec.c services/traces/domain.c services/traces/http.c services/traces/local.h \
	services/traces/plugin.c services/traces/repo.c services/traces/schema.c
services_traces_assay_traces_la_CPPFLAGS = $(SDK_CPPFLAGS)
services_traces_assay_traces_la_CFLAGS = $(AM_CFLAGS)
services_traces_assay_traces_la_LDFLAGS = $(PLUGIN_LDFLAGS)
services_traces_assay_traces_la_LIBADD = $(SDK_LIBS)

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/traces_test
TESTS += tests/unit/traces_test
tests_unit_traces_test_SOURCES = tests/unit/traces_test.c services/traces/codec.c services/traces/domain.c
tests_unit_traces_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS) -I$(top_srcdir)/services/traces
tests_unit_traces_test_LDADD = $(SVC_TEST_LIBS)
endif
