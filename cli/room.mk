# cli: the assay client. It speaks the HTTP API and includes nothing of ours (but the list of poisoned functions).
bin_PROGRAMS += assay
assay_SOURCES = cli/main.c cli/api.c cli/cmd_auth.c cli/cmd_catalogue.c cli/cmd_results.c cli/cmd_source.c cli/cmd_submit.c \
	cli/config.c cli/term.c cli/watch.c cli/cli.h
assay_CPPFLAGS = -include $(top_srcdir)/plugins/sdk/assay/poison.h $(CURL_CFLAGS) $(JANSSON_CFLAGS)
assay_CFLAGS = $(AM_CFLAGS) -fPIE
assay_LDFLAGS = $(AM_LDFLAGS) -pie
assay_LDADD = $(CURL_LIBS) $(JANSSON_LIBS) -lm
TESTS += tests/unit/cli_test.py
EXTRA_DIST += tests/unit/cli_test.py
