# services/webhooks: sends events to addresses that people gave; send.c alone includes libcurl
WEBHOOKS_PARTS = services/webhooks/codec.c services/webhooks/domain.c services/webhooks/local.h
plugins_LTLIBRARIES += services/webhooks/assay_webhooks.la
services_webhooks_assay_webhooks_la_SOURCES = $(WEBHOOKS_PARTS) services/webhooks/http.c services/webhooks/plugin.c services/webhooks/repo.c \
	services/webhooks/send.c
services_webhooks_assay_webhooks_la_CPPFLAGS = $(SDK_CPPFLAGS) $(CURL_CFLAGS)
services_webhooks_assay_webhooks_la_CFLAGS = $(AM_CFLAGS)
services_webhooks_assay_webhooks_la_LDFLAGS = $(PLUGIN_LDFLAGS)
services_webhooks_assay_webhooks_la_LIBADD = $(SDK_LIBS) $(CURL_LIBS) -lpthread

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/webhooks_test
TESTS += tests/unit/webhooks_test
tests_unit_webhooks_test_SOURCES = tests/unit/webhooks_test.c $(WEBHOOKS_PARTS)
tests_unit_webhooks_test_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)/services/webhooks
tests_unit_webhooks_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS)
endif
