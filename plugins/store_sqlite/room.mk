# plugins/store_sqlite: the embedded store. Includes the sdk and sqlite3, nothing else.
noinst_LTLIBRARIES += plugins/store_sqlite/libstore_sqlite.la
plugins_store_sqlite_libstore_sqlite_la_SOURCES = \
	plugins/store_sqlite/local.h plugins/store_sqlite/backup.c plugins/store_sqlite/bind.c plugins/store_sqlite/driver.c \
	plugins/store_sqlite/dsn.c plugins/store_sqlite/events.c plugins/store_sqlite/migrate.c \
	plugins/store_sqlite/reader.c plugins/store_sqlite/wal.c plugins/store_sqlite/writer.c plugins/store_sqlite/plugin.c
plugins_store_sqlite_libstore_sqlite_la_CPPFLAGS = $(SDK_CPPFLAGS) $(SQLITE_CFLAGS)
plugins_store_sqlite_libstore_sqlite_la_CFLAGS = $(AM_CFLAGS)
plugins_store_sqlite_libstore_sqlite_la_LIBADD = $(SDK_LIBS) $(SQLITE_LIBS)

plugins_LTLIBRARIES += plugins/store_sqlite/assay_store_sqlite.la
plugins_store_sqlite_assay_store_sqlite_la_SOURCES =
plugins_store_sqlite_assay_store_sqlite_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_store_sqlite_assay_store_sqlite_la_LIBADD = plugins/store_sqlite/libstore_sqlite.la -lpthread

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/store_sqlite_test
TESTS += tests/unit/store_sqlite_test
tests_unit_store_sqlite_test_SOURCES = tests/unit/store_sqlite_test.c tests/unit/store_host.h
tests_unit_store_sqlite_test_CPPFLAGS = $(TEST_CPPFLAGS) $(SQLITE_CFLAGS)
tests_unit_store_sqlite_test_LDADD = plugins/store_sqlite/libstore_sqlite.la $(SDK_LIBS) $(SQLITE_LIBS) $(CMOCKA_LIBS) -lpthread
endif

# not run by make check: make bench/store_bench && bench/store_bench
check_PROGRAMS += bench/store_bench
bench_store_bench_SOURCES = bench/store_bench.c tests/unit/store_host.h
bench_store_bench_CPPFLAGS = $(SDK_CPPFLAGS) $(SQLITE_CFLAGS)
bench_store_bench_LDADD = plugins/store_sqlite/libstore_sqlite.la $(SDK_LIBS) $(SQLITE_LIBS) -lpthread
