# services/benchmarks: benchmarks, problems, tests
plugins_LTLIBRARIES += services/benchmarks/assay_benchmarks.la
services_benchmarks_assay_benchmarks_la_SOURCES = \
	services/benchmarks/plugin.c services/benchmarks/http.c services/benchmarks/domain.c services/benchmarks/tests.c \
	services/benchmarks/codec.c services/benchmarks/repo.c services/benchmarks/schema.c services/benchmarks/local.h \
	services/benchmarks/import.c services/benchmarks/package.c services/benchmarks/package_jury.c services/benchmarks/package_yaml.c \
	services/benchmarks/package_zip.c services/benchmarks/package.h
services_benchmarks_assay_benchmarks_la_CPPFLAGS = $(SDK_CPPFLAGS) $(LIBZIP_CFLAGS) $(YAML_CFLAGS)
services_benchmarks_assay_benchmarks_la_CFLAGS = $(AM_CFLAGS)
services_benchmarks_assay_benchmarks_la_LDFLAGS = $(PLUGIN_LDFLAGS)
services_benchmarks_assay_benchmarks_la_LIBADD = $(SDK_LIBS) $(LIBZIP_LIBS) $(YAML_LIBS) -lm

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/benchmarks_domain_test tests/unit/benchmarks_http_test
TESTS += tests/unit/benchmarks_domain_test tests/unit/benchmarks_http_test
# the rules and the codec alone, without the plugin around them
tests_unit_benchmarks_domain_test_SOURCES = \
	tests/unit/benchmarks_domain_test.c services/benchmarks/domain.c services/benchmarks/codec.c
tests_unit_benchmarks_domain_test_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)/services/benchmarks
tests_unit_benchmarks_domain_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS)
tests_unit_benchmarks_http_test_SOURCES = tests/unit/benchmarks_http_test.c
tests_unit_benchmarks_http_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS)
tests_unit_benchmarks_http_test_LDADD = $(SVC_TEST_LIBS)
endif

check_PROGRAMS += tests/fuzz/benchmarks_codec_fuzz
if !FUZZ
TESTS += tests/fuzz/benchmarks_codec_fuzz
endif
tests_fuzz_benchmarks_codec_fuzz_SOURCES = tests/fuzz/benchmarks_codec_fuzz.c services/benchmarks/domain.c services/benchmarks/codec.c $(FUZZ_DRIVER)
tests_fuzz_benchmarks_codec_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_benchmarks_codec_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_benchmarks_codec_fuzz_LDADD = $(SDK_LIBS)

check_PROGRAMS += tests/fuzz/package_fuzz
TESTS += tests/fuzz/package_fuzz
tests_fuzz_package_fuzz_SOURCES = tests/fuzz/package_fuzz.c services/benchmarks/package.c services/benchmarks/package_jury.c \
	services/benchmarks/package_yaml.c services/benchmarks/package_zip.c $(FUZZ_DRIVER)
tests_fuzz_package_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS) $(LIBZIP_CFLAGS) $(YAML_CFLAGS)
tests_fuzz_package_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_package_fuzz_LDADD = $(SDK_LIBS) $(LIBZIP_LIBS) $(YAML_LIBS) -lm
