# services/scoring: the end of a submission becomes a score
plugins_LTLIBRARIES += services/scoring/assay_scoring.la
services_scoring_assay_scoring_la_SOURCES = \
	services/scoring/codec.c services/scoring/domain.c services/scoring/http.c services/scoring/local.h \
	services/scoring/plugin.c services/scoring/repo.c services/scoring/schema.c
services_scoring_assay_scoring_la_CPPFLAGS = $(SDK_CPPFLAGS)
services_scoring_assay_scoring_la_CFLAGS = $(AM_CFLAGS)
services_scoring_assay_scoring_la_LDFLAGS = $(PLUGIN_LDFLAGS)
services_scoring_assay_scoring_la_LIBADD = $(SDK_LIBS) -lm

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/scoring_test
TESTS += tests/unit/scoring_test
tests_unit_scoring_test_SOURCES = tests/unit/scoring_test.c services/scoring/domain.c
tests_unit_scoring_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS) -I$(top_srcdir)/services/scoring
tests_unit_scoring_test_LDADD = $(SVC_TEST_LIBS) -lm
endif
