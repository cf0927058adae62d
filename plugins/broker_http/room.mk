# plugins/broker_http: the HTTP leases of a gateway as a broker. Includes the sdk and libcurl, nothing else.
noinst_LTLIBRARIES += plugins/broker_http/libbroker_http.la
plugins_broker_http_libbroker_http_la_SOURCES = plugins/broker_http/call.c plugins/broker_http/leases.c plugins/broker_http/local.h \
	plugins/broker_http/plugin.c plugins/broker_http/posts.c
plugins_broker_http_libbroker_http_la_CPPFLAGS = $(SDK_CPPFLAGS) $(CURL_CFLAGS)
plugins_broker_http_libbroker_http_la_CFLAGS = $(AM_CFLAGS)
plugins_broker_http_libbroker_http_la_LIBADD = $(SDK_LIBS) $(CURL_LIBS)

plugins_LTLIBRARIES += plugins/broker_http/assay_broker_http.la
plugins_broker_http_assay_broker_http_la_SOURCES =
plugins_broker_http_assay_broker_http_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_broker_http_assay_broker_http_la_LIBADD = plugins/broker_http/libbroker_http.la -lpthread

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/broker_http_test
TESTS += tests/unit/broker_http_test
tests_unit_broker_http_test_SOURCES = tests/unit/broker_http_test.c tests/unit/fake_http.c tests/unit/fake_http.h tests/unit/store_host.h
tests_unit_broker_http_test_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)/tests/unit
tests_unit_broker_http_test_LDADD = plugins/broker_http/libbroker_http.la $(SDK_LIBS) $(CMOCKA_LIBS) -lpthread
endif
