# cli: the assay client. It speaks the HTTP API and includes nothing of ours (but the list of poisoned functions); only
# cli/simulate/broker.c sees the SDK, to load the brokers' drivers.
bin_PROGRAMS += assay
assay_SOURCES = $(SETS_SOURCES) $(SIMULATE_SOURCES) cli/cli.h
assay_SOURCES += cli/main.c
assay_SOURCES += cli/api.c
assay_SOURCES += cli/base64.c
assay_SOURCES += cli/cmd_auth.c
assay_SOURCES += cli/cmd_bundle.c
assay_SOURCES += cli/cmd_catalogue.c
assay_SOURCES += cli/cmd_export.c
assay_SOURCES += cli/cmd_filter.c
assay_SOURCES += cli/cmd_import.c
assay_SOURCES += cli/cmd_pit.c
assay_SOURCES += cli/cmd_project.c
assay_SOURCES += cli/zip.c
assay_SOURCES += cli/cmd_rejudge.c
assay_SOURCES += cli/cmd_results.c
assay_SOURCES += cli/cmd_source.c
assay_SOURCES += cli/cmd_submit.c
assay_SOURCES += cli/cmd_webhooks.c
assay_SOURCES += cli/config.c
assay_SOURCES += cli/diff.c
assay_SOURCES += cli/events.c
assay_SOURCES += cli/help.c
assay_SOURCES += cli/mask.c cli/mask.h
assay_SOURCES += cli/term.c
assay_SOURCES += cli/watch.c
assay_CPPFLAGS = $(SDK_CPPFLAGS) -I$(top_srcdir) $(CURL_CFLAGS) $(JANSSON_CFLAGS) $(LIBARCHIVE_CFLAGS) $(ZLIB_CFLAGS) -DASSAY_BINDIR='"$(bindir)"' -DASSAY_PLUGINSDIR='"$(pluginsdir)"'
assay_CFLAGS = $(AM_CFLAGS) -fPIE
assay_LDFLAGS = $(AM_LDFLAGS) -pie
assay_LDADD = $(SDK_LIBS) $(CURL_LIBS) $(JANSSON_LIBS) $(LIBARCHIVE_LIBS) $(ZLIB_LIBS) -lm -ldl -lpthread
TESTS += tests/unit/cli_test.py
EXTRA_DIST += tests/unit/cli_test.py

# made by the client itself, so that they cannot differ from its help
man1_MANS = cli/assay.1
cli/assay.1: assay$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) cli && ./assay help --man >$@.new && mv -f $@.new $@
bashcompletiondir = $(datadir)/bash-completion/completions
bashcompletion_DATA = cli/completion/assay
zshcompletiondir = $(datadir)/zsh/site-functions
zshcompletion_DATA = cli/completion/_assay
cli/completion/assay: assay$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) cli/completion && ./assay completion bash >$@.new && mv -f $@.new $@
cli/completion/_assay: assay$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) cli/completion && ./assay completion zsh >$@.new && mv -f $@.new $@
CLEANFILES += cli/assay.1 cli/completion/assay cli/completion/_assay
