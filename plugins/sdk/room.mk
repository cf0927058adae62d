# plugins/sdk: the public headers and the helper library. Includes nothing of ours.
assayincludedir = $(includedir)/assay
assayinclude_HEADERS = \
	plugins/sdk/assay/audit.h plugins/sdk/assay/blob.h plugins/sdk/assay/copy.h plugins/sdk/assay/box.h plugins/sdk/assay/broker.h plugins/sdk/assay/boxkeeper_wire.h plugins/sdk/assay/err.h plugins/sdk/assay/session.h plugins/sdk/assay/trace.h plugins/sdk/assay/events.h \
	plugins/sdk/assay/hash.h plugins/sdk/assay/hosting.h plugins/sdk/assay/http.h plugins/sdk/assay/identity.h plugins/sdk/assay/jobs.h plugins/sdk/assay/json.h plugins/sdk/assay/leaves.h plugins/sdk/assay/pit.h \
	plugins/sdk/assay/mail.h plugins/sdk/assay/manifest.h plugins/sdk/assay/plugin.h plugins/sdk/assay/sandbox.h plugins/sdk/assay/script.h \
	plugins/sdk/assay/store.h plugins/sdk/assay/store_driver.h plugins/sdk/assay/str.h plugins/sdk/assay/value.h plugins/sdk/assay/warden_wire.h \
	plugins/sdk/assay/idempotency.h plugins/sdk/assay/password.h
noinst_HEADERS = plugins/sdk/assay/poison.h

# libassay_sdk.la: linked into every plugin of ours; libassay_sdk.a: installed for plugins out of tree,
# so position-independent; without the sanitizers' flags, as the plugin's own build decides on those
SDK_SOURCES = \
	plugins/sdk/arena.c plugins/sdk/audit.c plugins/sdk/blob.c plugins/sdk/boxclient.c plugins/sdk/boxkeeper_wire.c plugins/sdk/copy.c \
	plugins/sdk/err.c plugins/sdk/events.c plugins/sdk/hash.c plugins/sdk/hosting.c plugins/sdk/http.c \
	plugins/sdk/idempotency.c plugins/sdk/identity.c plugins/sdk/json_read.c plugins/sdk/json_write.c \
	plugins/sdk/manifest.c plugins/sdk/password.c plugins/sdk/pit.c plugins/sdk/script.c plugins/sdk/script_result.c plugins/sdk/store.c plugins/sdk/store_migrate.c plugins/sdk/store_queue.c plugins/sdk/store_sql.c plugins/sdk/str.c plugins/sdk/trace.c plugins/sdk/value.c \
	plugins/sdk/leaves.c plugins/sdk/leaves_local.h plugins/sdk/leaves_v1.c plugins/sdk/leaves_v2.c plugins/sdk/sandbox.c
noinst_LTLIBRARIES += plugins/sdk/libassay_sdk.la
plugins_sdk_libassay_sdk_la_SOURCES = $(SDK_SOURCES)
plugins_sdk_libassay_sdk_la_CPPFLAGS = $(SDK_CPPFLAGS) $(JANSSON_CFLAGS) $(SODIUM_CFLAGS)
plugins_sdk_libassay_sdk_la_LIBADD = $(JANSSON_LIBS) $(SODIUM_LIBS)

lib_LIBRARIES += plugins/sdk/libassay_sdk.a
plugins_sdk_libassay_sdk_a_SOURCES = $(SDK_SOURCES)
plugins_sdk_libassay_sdk_a_CPPFLAGS = $(plugins_sdk_libassay_sdk_la_CPPFLAGS)
plugins_sdk_libassay_sdk_a_CFLAGS = $(WARN_CFLAGS) $(HARDEN_CFLAGS) -fPIC

pkgconfigdir = $(libdir)/pkgconfig
pkgconfig_DATA = plugins/sdk/assay-plugin.pc

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/sdk_test
TESTS += tests/unit/sdk_test
check_PROGRAMS += tests/unit/sdk_request_test
TESTS += tests/unit/sdk_request_test
tests_unit_sdk_request_test_SOURCES = tests/unit/sdk_request_test.c
tests_unit_sdk_request_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS)
tests_unit_sdk_request_test_LDADD = $(SVC_TEST_LIBS) -lpthread
check_PROGRAMS += tests/unit/script_test
TESTS += tests/unit/script_test
tests_unit_script_test_SOURCES = tests/unit/script_test.c
tests_unit_script_test_CPPFLAGS = $(TEST_CPPFLAGS)
tests_unit_script_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS)
tests_unit_sdk_test_SOURCES = tests/unit/sdk_test.c
tests_unit_sdk_test_CPPFLAGS = $(TEST_CPPFLAGS)
tests_unit_sdk_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS)
endif
