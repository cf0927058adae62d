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
