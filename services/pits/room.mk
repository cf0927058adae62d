# services/pits: how projects are built and tested, and their instructors' tests
plugins_LTLIBRARIES += services/pits/assay_pits.la
services_pits_assay_pits_la_SOURCES = \
	services/pits/plugin.c services/pits/http.c services/pits/domain.c services/pits/codec.c services/pits/multipart.c \
	services/pits/repo.c services/pits/schema.c services/pits/local.h
services_pits_assay_pits_la_CPPFLAGS = $(SDK_CPPFLAGS)
services_pits_assay_pits_la_CFLAGS = $(AM_CFLAGS)
services_pits_assay_pits_la_LDFLAGS = $(PLUGIN_LDFLAGS)
services_pits_assay_pits_la_LIBADD = $(SDK_LIBS)

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/pits_test
TESTS += tests/unit/pits_test
# PITs, messages and uploads as texts, without the plugin around them
tests_unit_pits_test_SOURCES = tests/unit/pits_test.c services/pits/domain.c services/pits/codec.c services/pits/multipart.c
tests_unit_pits_test_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)/services/pits
tests_unit_pits_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS)
endif

check_PROGRAMS += tests/fuzz/pits_codec_fuzz
if !FUZZ
TESTS += tests/fuzz/pits_codec_fuzz
endif
tests_fuzz_pits_codec_fuzz_SOURCES = tests/fuzz/pits_codec_fuzz.c services/pits/codec.c services/pits/multipart.c $(FUZZ_DRIVER)
tests_fuzz_pits_codec_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_pits_codec_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_pits_codec_fuzz_LDADD = $(SDK_LIBS)
