# cli/simulate: the load generator and checker, a part of the client (cli/room.mk links it)
SIMULATE_SOURCES = cli/simulate/simulate.h cli/simulate/programs.c cli/simulate/plan.c cli/simulate/ledger.c cli/simulate/path_http.c \
	cli/simulate/broker.c cli/simulate/run.c cli/simulate/report.c cli/simulate/plot.c cli/simulate/cmd.c

check_LTLIBRARIES += tests/plugins/broker_loop.la
tests_plugins_broker_loop_la_SOURCES = tests/plugins/broker_loop.c
tests_plugins_broker_loop_la_CPPFLAGS = $(SDK_CPPFLAGS)
tests_plugins_broker_loop_la_LDFLAGS = $(PLUGIN_LDFLAGS) -rpath /nowhere
tests_plugins_broker_loop_la_LIBADD = $(SDK_LIBS) -lpthread
TESTS += tests/unit/simulate_test.py
EXTRA_DIST += tests/unit/simulate_test.py
