# plugins/broker_sqs: queues of Amazon SQS. Includes the sdk and plugins/aws.
noinst_LTLIBRARIES += plugins/broker_sqs/libbroker_sqs.la
plugins_broker_sqs_libbroker_sqs_la_SOURCES = \
	plugins/broker_sqs/codec.c plugins/broker_sqs/driver.c plugins/broker_sqs/keeper.c plugins/broker_sqs/local.h \
	plugins/broker_sqs/plugin.c plugins/broker_sqs/receive.c plugins/broker_sqs/sender.c
plugins_broker_sqs_libbroker_sqs_la_CPPFLAGS = $(SDK_CPPFLAGS) -I$(top_srcdir)
plugins_broker_sqs_libbroker_sqs_la_CFLAGS = $(AM_CFLAGS)
plugins_broker_sqs_libbroker_sqs_la_LIBADD = plugins/aws/libassay_aws.la $(SDK_LIBS)

plugins_LTLIBRARIES += plugins/broker_sqs/assay_broker_sqs.la
plugins_broker_sqs_assay_broker_sqs_la_SOURCES =
plugins_broker_sqs_assay_broker_sqs_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_broker_sqs_assay_broker_sqs_la_LIBADD = plugins/broker_sqs/libbroker_sqs.la -lpthread

# the driver on an SQS that tests/unit/aws_parts.py starts, and blobs' promises on a real S3
EXTRA_DIST += tests/unit/aws_parts.py tests/parts/sqs.py tests/parts/s3.py tests/parts/aws/package.json tests/parts/aws/package-lock.json \
	tests/parts/aws/server.mjs tests/unit/broker_sqs_test.c
if HAVE_CMOCKA
TESTS += tests/unit/aws_parts.py
check_PROGRAMS += tests/unit/broker_sqs_test
tests_unit_broker_sqs_test_SOURCES = tests/unit/broker_sqs_test.c tests/unit/store_host.h
tests_unit_broker_sqs_test_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)
tests_unit_broker_sqs_test_LDADD = plugins/broker_sqs/libbroker_sqs.la $(SDK_LIBS) $(CMOCKA_LIBS) -lpthread
endif

# FUZZ_* are the gateway's room's
check_PROGRAMS += tests/fuzz/sqs_codec_fuzz
if !FUZZ
TESTS += tests/fuzz/sqs_codec_fuzz
endif
tests_fuzz_sqs_codec_fuzz_SOURCES = tests/fuzz/sqs_codec_fuzz.c tests/fuzz/fuzz.h plugins/broker_sqs/codec.c $(FUZZ_DRIVER)
tests_fuzz_sqs_codec_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_sqs_codec_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_sqs_codec_fuzz_LDADD = $(SDK_LIBS)
