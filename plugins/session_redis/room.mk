# plugins/session_redis: what gateways share about accounts, in Redis; optional. Includes the sdk and hiredis, nothing else.
SESSION_REDIS_FILES = plugins/session_redis/local.h plugins/session_redis/driver.c plugins/session_redis/plugin.c plugins/session_redis/url.c
EXTRA_DIST += $(SESSION_REDIS_FILES)
if HAVE_HIREDIS
noinst_LTLIBRARIES += plugins/session_redis/libsession_redis.la
plugins_session_redis_libsession_redis_la_SOURCES = $(SESSION_REDIS_FILES)
plugins_session_redis_libsession_redis_la_CPPFLAGS = $(SDK_CPPFLAGS) $(HIREDIS_CFLAGS)
plugins_session_redis_libsession_redis_la_CFLAGS = $(AM_CFLAGS)
plugins_session_redis_libsession_redis_la_LIBADD = $(SDK_LIBS) $(HIREDIS_LIBS)

plugins_LTLIBRARIES += plugins/session_redis/assay_session_redis.la
plugins_session_redis_assay_session_redis_la_SOURCES =
plugins_session_redis_assay_session_redis_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_session_redis_assay_session_redis_la_LIBADD = plugins/session_redis/libsession_redis.la -lpthread
endif

# on a real Redis that session_redis.py starts
EXTRA_DIST += tests/unit/session_redis.py tests/parts/redis.py tests/unit/session_redis_test.c tests/fuzz/session_redis_fuzz.c
if HAVE_CMOCKA
TESTS += tests/unit/session_redis.py
if HAVE_HIREDIS
check_PROGRAMS += tests/unit/session_redis_test
tests_unit_session_redis_test_SOURCES = tests/unit/session_redis_test.c tests/unit/store_host.h
tests_unit_session_redis_test_CPPFLAGS = $(TEST_CPPFLAGS) $(HIREDIS_CFLAGS) -I$(top_srcdir)
tests_unit_session_redis_test_LDADD = plugins/session_redis/libsession_redis.la $(SDK_LIBS) $(HIREDIS_LIBS) $(CMOCKA_LIBS) -lpthread
endif
endif

if HAVE_HIREDIS
check_PROGRAMS += tests/fuzz/session_redis_fuzz
if !FUZZ
TESTS += tests/fuzz/session_redis_fuzz
endif
tests_fuzz_session_redis_fuzz_SOURCES = tests/fuzz/session_redis_fuzz.c $(FUZZ_DRIVER)
tests_fuzz_session_redis_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS) $(HIREDIS_CFLAGS)
tests_fuzz_session_redis_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_session_redis_fuzz_LDADD = plugins/session_redis/libsession_redis.la $(SDK_LIBS)
endif
