# plugins/blob_s3: blobs in S3. Includes the sdk, plugins/aws and expat.
noinst_LTLIBRARIES += plugins/blob_s3/libblob_s3.la
plugins_blob_s3_libblob_s3_la_SOURCES = \
	plugins/blob_s3/local.h plugins/blob_s3/objects.c plugins/blob_s3/parts.c plugins/blob_s3/plugin.c plugins/blob_s3/xml.c
plugins_blob_s3_libblob_s3_la_CPPFLAGS = $(SDK_CPPFLAGS) -I$(top_srcdir) $(EXPAT_CFLAGS)
plugins_blob_s3_libblob_s3_la_CFLAGS = $(AM_CFLAGS)
plugins_blob_s3_libblob_s3_la_LIBADD = plugins/aws/libassay_aws.la $(SDK_LIBS) $(EXPAT_LIBS)

plugins_LTLIBRARIES += plugins/blob_s3/assay_blob_s3.la
plugins_blob_s3_assay_blob_s3_la_SOURCES =
plugins_blob_s3_assay_blob_s3_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_blob_s3_assay_blob_s3_la_LIBADD = plugins/blob_s3/libblob_s3.la -lpthread

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/blob_s3_test
TESTS += tests/unit/blob_s3_test
tests_unit_blob_s3_test_SOURCES = tests/unit/blob_s3_test.c tests/unit/fake_http.c tests/unit/fake_http.h tests/unit/store_host.h
tests_unit_blob_s3_test_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)
tests_unit_blob_s3_test_LDADD = plugins/blob_s3/libblob_s3.la $(SDK_LIBS) $(CMOCKA_LIBS) -lpthread

# the promises of every blob store, on a real S3 that tests/e2e/test_s3.py starts
check_PROGRAMS += tests/unit/blob_common_s3_test
tests_unit_blob_common_s3_test_SOURCES = tests/unit/blob_fs_test.c tests/unit/store_host.h
tests_unit_blob_common_s3_test_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir) -DBLOB_S3
tests_unit_blob_common_s3_test_LDADD = plugins/blob_s3/libblob_s3.la $(SDK_LIBS) $(CMOCKA_LIBS) -lpthread
endif

# FUZZ_* are the gateway's room's
check_PROGRAMS += tests/fuzz/s3_xml_fuzz
if !FUZZ
TESTS += tests/fuzz/s3_xml_fuzz
endif
tests_fuzz_s3_xml_fuzz_SOURCES = tests/fuzz/s3_xml_fuzz.c tests/fuzz/fuzz.h plugins/blob_s3/xml.c $(FUZZ_DRIVER)
tests_fuzz_s3_xml_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS) $(EXPAT_CFLAGS)
tests_fuzz_s3_xml_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_s3_xml_fuzz_LDADD = $(SDK_LIBS) $(EXPAT_LIBS)
EXTRA_DIST += tests/fuzz/s3_xml_fuzz.c tests/unit/blob_s3_test.c
