# services/auth: accounts, sessions, roles
plugins_LTLIBRARIES += services/auth/assay_auth.la
services_auth_assay_auth_la_SOURCES = \
	services/auth/plugin.c services/auth/http.c services/auth/domain.c services/auth/throttle.c services/auth/failures.c services/auth/line.c \
	services/auth/audit.c services/auth/audit_keep.c services/auth/links.c services/auth/codec.c services/auth/repo.c services/auth/schema.c services/auth/local.h
services_auth_assay_auth_la_CPPFLAGS = $(SDK_CPPFLAGS)
services_auth_assay_auth_la_CFLAGS = $(AM_CFLAGS)
services_auth_assay_auth_la_LDFLAGS = $(PLUGIN_LDFLAGS)
services_auth_assay_auth_la_LIBADD = $(SDK_LIBS)

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/auth_domain_test tests/unit/auth_http_test
TESTS += tests/unit/auth_domain_test tests/unit/auth_http_test
# the rules and the codec alone, without the plugin around them
tests_unit_auth_domain_test_SOURCES = \
	tests/unit/auth_domain_test.c services/auth/domain.c services/auth/throttle.c services/auth/codec.c
tests_unit_auth_domain_test_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)/services/auth
tests_unit_auth_domain_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS)
tests_unit_auth_http_test_SOURCES = tests/unit/auth_http_test.c
tests_unit_auth_http_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS)
tests_unit_auth_http_test_LDADD = $(SVC_TEST_LIBS)
endif

check_PROGRAMS += tests/fuzz/auth_codec_fuzz
if !FUZZ
TESTS += tests/fuzz/auth_codec_fuzz
endif
tests_fuzz_auth_codec_fuzz_SOURCES = tests/fuzz/auth_codec_fuzz.c services/auth/domain.c services/auth/codec.c $(FUZZ_DRIVER)
tests_fuzz_auth_codec_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_auth_codec_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_auth_codec_fuzz_LDADD = $(SDK_LIBS)
