# cli: the assay client. It speaks the HTTP API and includes nothing of ours (but the list of poisoned functions); only
# cli/simulate/broker.c sees the SDK, to load the brokers' drivers.
bin_PROGRAMS += assay
assay_SOURCES = cli/main.c cli/api.c cli/cmd_auth.c cli/cmd_catalogue.c cli/cmd_pit.c cli/cmd_results.c cli/cmd_source.c cli/cmd_submit.c cli/cmd_import.c cli/cmd_export.c \
	cli/config.c cli/term.c cli/watch.c cli/cli.h $(SETS_SOURCES) $(SIMULATE_SOURCES)
assay_CPPFLAGS = $(SDK_CPPFLAGS) -I$(top_srcdir) $(CURL_CFLAGS) $(JANSSON_CFLAGS) $(LIBARCHIVE_CFLAGS) $(ZLIB_CFLAGS) -DASSAY_BINDIR='"$(bindir)"' -DASSAY_PLUGINSDIR='"$(pluginsdir)"'
assay_CFLAGS = $(AM_CFLAGS) -fPIE
assay_LDFLAGS = $(AM_LDFLAGS) -pie
assay_LDADD = $(SDK_LIBS) $(CURL_LIBS) $(JANSSON_LIBS) $(LIBARCHIVE_LIBS) $(ZLIB_LIBS) -lm -ldl -lpthread
TESTS += tests/unit/cli_test.py
EXTRA_DIST += tests/unit/cli_test.py
