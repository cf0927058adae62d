# services/leaderboard: the best score of each agent, by benchmark
plugins_LTLIBRARIES += services/leaderboard/assay_leaderboard.la
services_leaderboard_assay_leaderboard_la_SOURCES = \
	services/leaderboard/codec.c services/leaderboard/domain.c services/leaderboard/http.c services/leaderboard/http.h services/leaderboard/http_stats.c services/leaderboard/local.h \
	services/leaderboard/plugin.c services/leaderboard/repo.c services/leaderboard/repo_board.c services/leaderboard/replay.c services/leaderboard/schema.c services/leaderboard/stats.c \
	services/leaderboard/stats.h services/leaderboard/cells.h services/leaderboard/repo.h
services_leaderboard_assay_leaderboard_la_CPPFLAGS = $(SDK_CPPFLAGS)
services_leaderboard_assay_leaderboard_la_CFLAGS = $(AM_CFLAGS)
services_leaderboard_assay_leaderboard_la_LDFLAGS = $(PLUGIN_LDFLAGS)
services_leaderboard_assay_leaderboard_la_LIBADD = $(SDK_LIBS) -lm

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/leaderboard_test
TESTS += tests/unit/leaderboard_test
tests_unit_leaderboard_test_SOURCES = tests/unit/leaderboard_test.c services/leaderboard/domain.c
tests_unit_leaderboard_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS) -I$(top_srcdir)/services/leaderboard
tests_unit_leaderboard_test_LDADD = $(SVC_TEST_LIBS) -lm
endif

# the same statements with small buckets
if HAVE_CMOCKA
check_PROGRAMS += tests/unit/leaderboard_buckets_test
TESTS += tests/unit/leaderboard_buckets_test
tests_unit_leaderboard_buckets_test_SOURCES = \
	tests/unit/leaderboard_buckets_test.c tests/unit/store_host.h \
	services/leaderboard/codec.c services/leaderboard/domain.c services/leaderboard/repo.c services/leaderboard/repo_board.c services/leaderboard/replay.c services/leaderboard/schema.c services/leaderboard/stats.c
tests_unit_leaderboard_buckets_test_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)/tests/unit -I$(top_srcdir)/services/leaderboard \
	-DBUCKET_MAX='"8"' -DBUCKET_HALF='"4"'
tests_unit_leaderboard_buckets_test_LDADD = \
	plugins/store_sqlite/libstore_sqlite.la $(SDK_LIBS) $(SQLITE_LIBS) $(CMOCKA_LIBS) -lm -lpthread
endif

# all rules against a place computed from nothing
if HAVE_CMOCKA
check_PROGRAMS += tests/unit/leaderboard_rules_test
TESTS += tests/unit/leaderboard_rules_test
tests_unit_leaderboard_rules_test_SOURCES = tests/unit/leaderboard_rules_test.c services/leaderboard/domain.c \
	services/leaderboard/replay.c services/leaderboard/stats.c
tests_unit_leaderboard_rules_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS) -I$(top_srcdir)/services/leaderboard
tests_unit_leaderboard_rules_test_LDADD = $(SVC_TEST_LIBS) -lm
endif

# statistics against exact arithmetic
check_PROGRAMS += tests/unit/board_stats
tests_unit_board_stats_SOURCES = tests/unit/board_stats.c services/leaderboard/stats.c
tests_unit_board_stats_CPPFLAGS = -I$(top_srcdir)/services/leaderboard
tests_unit_board_stats_LDADD = -lm
TESTS += tests/unit/board_stats_test.py
EXTRA_DIST += tests/unit/board_stats_test.py

# a measurement, not a test: make bench/leaderboard_bench && bench/leaderboard_bench
EXTRA_PROGRAMS += bench/leaderboard_bench
CLEANFILES += bench/leaderboard_bench$(EXEEXT)
bench_leaderboard_bench_SOURCES = \
	bench/leaderboard_bench.c tests/unit/store_host.h \
	services/leaderboard/codec.c services/leaderboard/domain.c services/leaderboard/http.c \
	services/leaderboard/local.h services/leaderboard/repo.c services/leaderboard/repo_board.c services/leaderboard/replay.c services/leaderboard/schema.c services/leaderboard/stats.c
bench_leaderboard_bench_CPPFLAGS = $(SDK_CPPFLAGS) $(SQLITE_CFLAGS)
bench_leaderboard_bench_LDADD = plugins/store_sqlite/libstore_sqlite.la $(SDK_LIBS) $(SQLITE_LIBS) -lm -lpthread
EXTRA_DIST += bench/leaderboard_http.py
