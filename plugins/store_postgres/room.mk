# plugins/store_postgres: the store on PostgreSQL, optional. Includes the sdk and libpq, nothing else.
EXTRA_DIST += plugins/store_postgres/local.h plugins/store_postgres/conn.c plugins/store_postgres/driver.c \
	plugins/store_postgres/events.c plugins/store_postgres/migrate.c plugins/store_postgres/plugin.c \
	plugins/store_postgres/pool.c plugins/store_postgres/writer.c
if HAVE_LIBPQ
noinst_LTLIBRARIES += plugins/store_postgres/libstore_postgres.la
plugins_store_postgres_libstore_postgres_la_SOURCES = \
	plugins/store_postgres/local.h plugins/store_postgres/conn.c plugins/store_postgres/driver.c \
	plugins/store_postgres/events.c plugins/store_postgres/migrate.c plugins/store_postgres/plugin.c \
	plugins/store_postgres/pool.c plugins/store_postgres/writer.c
plugins_store_postgres_libstore_postgres_la_CPPFLAGS = $(SDK_CPPFLAGS) $(LIBPQ_CFLAGS)
plugins_store_postgres_libstore_postgres_la_CFLAGS = $(AM_CFLAGS)
plugins_store_postgres_libstore_postgres_la_LIBADD = $(SDK_LIBS) $(LIBPQ_LIBS)

plugins_LTLIBRARIES += plugins/store_postgres/assay_store_postgres.la
plugins_store_postgres_assay_store_postgres_la_SOURCES =
plugins_store_postgres_assay_store_postgres_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_store_postgres_assay_store_postgres_la_LIBADD = plugins/store_postgres/libstore_postgres.la -lpthread
endif

# the promises of every store, and its own, on a real server that store_postgres.py starts
EXTRA_DIST += tests/unit/store_postgres.py tests/parts/postgres.py tests/unit/store_postgres_fixture.h tests/unit/store_postgres_test.c
if HAVE_CMOCKA
TESTS += tests/unit/store_postgres.py
if HAVE_LIBPQ
check_PROGRAMS += tests/unit/store_common_postgres_test tests/unit/store_postgres_test
tests_unit_store_common_postgres_test_SOURCES = tests/unit/store_sqlite_test.c tests/unit/store_host.h
tests_unit_store_common_postgres_test_CPPFLAGS = $(TEST_CPPFLAGS) $(LIBPQ_CFLAGS) -DSTORE_POSTGRES
tests_unit_store_common_postgres_test_LDADD = plugins/store_postgres/libstore_postgres.la $(SDK_LIBS) $(LIBPQ_LIBS) \
	$(CMOCKA_LIBS) -lpthread
tests_unit_store_postgres_test_SOURCES = tests/unit/store_postgres_test.c tests/unit/store_host.h
tests_unit_store_postgres_test_CPPFLAGS = $(TEST_CPPFLAGS) $(LIBPQ_CFLAGS)
tests_unit_store_postgres_test_LDADD = plugins/store_postgres/libstore_postgres.la $(SDK_LIBS) $(LIBPQ_LIBS) $(CMOCKA_LIBS) \
	-lpthread
endif
endif
