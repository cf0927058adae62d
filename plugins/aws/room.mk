# plugins/aws: credentials, signatures and calls, for the drivers of Amazon's services. Includes the sdk and libcurl.
noinst_LTLIBRARIES += plugins/aws/libassay_aws.la
plugins_aws_libassay_aws_la_SOURCES = \
	plugins/aws/aws.h plugins/aws/client.c plugins/aws/credentials.c plugins/aws/http.c plugins/aws/metadata.c \
	plugins/aws/profile.c plugins/aws/sign.c
plugins_aws_libassay_aws_la_CPPFLAGS = $(SDK_CPPFLAGS) $(CURL_CFLAGS)
plugins_aws_libassay_aws_la_CFLAGS = $(AM_CFLAGS)
plugins_aws_libassay_aws_la_LIBADD = $(CURL_LIBS)

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/aws_test
TESTS += tests/unit/aws_test
tests_unit_aws_test_SOURCES = tests/unit/aws_test.c tests/unit/fake_http.c tests/unit/fake_http.h tests/unit/store_host.h
tests_unit_aws_test_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)
tests_unit_aws_test_LDADD = plugins/aws/libassay_aws.la $(SDK_LIBS) $(CMOCKA_LIBS) $(CURL_LIBS) -lpthread
endif

# FUZZ_* are the gateway's room's
check_PROGRAMS += tests/fuzz/aws_fuzz
if !FUZZ
TESTS += tests/fuzz/aws_fuzz
endif
tests_fuzz_aws_fuzz_SOURCES = tests/fuzz/aws_fuzz.c tests/fuzz/fuzz.h $(FUZZ_DRIVER)
tests_fuzz_aws_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_aws_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_aws_fuzz_LDADD = plugins/aws/libassay_aws.la $(SDK_LIBS) $(CURL_LIBS)
