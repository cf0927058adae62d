# gateway: the server program. Each part takes the flags of the library it wraps and no other's.

# ---- the HTTP front, the router, the auth gate -------------------------------------------------------
# llhttp: generated C of the system's, so without our warnings; strict, or the front refuses to start.
noinst_LTLIBRARIES += gateway/libassay_llhttp.la
gateway_libassay_llhttp_la_SOURCES = gateway/llhttp_api.c gateway/llhttp_machine.c
gateway_libassay_llhttp_la_CPPFLAGS = -I$(LLHTTP_INC) -I$(LLHTTP_SRC) -DLLHTTP_STRICT_MODE=1
gateway_libassay_llhttp_la_CFLAGS = -std=gnu17 -w $(HARDEN_CFLAGS) $(SAN_CFLAGS)

noinst_LTLIBRARIES += gateway/libassay_front.la
gateway_libassay_front_la_SOURCES = \
	gateway/problem.c gateway/problem.h gateway/router.c gateway/router.h \
	gateway/http.c gateway/http.h gateway/http_conn.c gateway/http_exchange.c gateway/http_head.c \
	gateway/http_impl.h gateway/http_reply.c gateway/gate.c gateway/gate.h
gateway_libassay_front_la_CPPFLAGS = $(SDK_CPPFLAGS) -I$(top_srcdir) -isystem $(LLHTTP_INC) -DLLHTTP_STRICT_MODE=1 \
	$(LIBEVENT_CFLAGS) $(LIBJWT_CFLAGS) $(SODIUM_CFLAGS)
gateway_libassay_front_la_LIBADD = gateway/libassay_llhttp.la queue/libassay_queue.la $(SDK_LIBS) \
	$(LIBEVENT_LIBS) $(LIBJWT_LIBS) $(SODIUM_LIBS)

# ---- the core: worker pool, log, metrics, event dispatcher --------------------------------------------
noinst_LTLIBRARIES += gateway/libassay_core.la
gateway_libassay_core_la_SOURCES = \
	gateway/dispatch.h gateway/log.c gateway/log.h gateway/metrics.c gateway/metrics.h \
	gateway/pool.c gateway/pool.h gateway/text.c gateway/text.h
gateway_libassay_core_la_CPPFLAGS = $(SDK_CPPFLAGS) -I$(top_srcdir)

# linked by users: gateway/libassay_core.la queue/libassay_queue.la $(SDK_LIBS) -lpthread -lm
CORE_TEST_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)
CORE_TEST_LIBS = gateway/libassay_core.la queue/libassay_queue.la $(SDK_LIBS) $(CMOCKA_LIBS) -lpthread -lm
if HAVE_CMOCKA
CORE_TESTS = tests/unit/pool_test tests/unit/log_test tests/unit/metrics_test
check_PROGRAMS += $(CORE_TESTS)
TESTS += $(CORE_TESTS)
tests_unit_pool_test_SOURCES = tests/unit/pool_test.c
tests_unit_pool_test_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_pool_test_LDADD = $(CORE_TEST_LIBS)
tests_unit_log_test_SOURCES = tests/unit/log_test.c
tests_unit_log_test_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_log_test_LDADD = $(CORE_TEST_LIBS)
tests_unit_metrics_test_SOURCES = tests/unit/metrics_test.c
tests_unit_metrics_test_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_metrics_test_LDADD = $(CORE_TEST_LIBS)
endif
