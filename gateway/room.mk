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
	gateway/http.c gateway/http.h gateway/http_conn.c gateway/http_exchange.c gateway/http_head.c gateway/http_memory.c \
	gateway/http_impl.h gateway/http_reply.c gateway/http_spool.c gateway/http_stream.c \
	gateway/keys.c gateway/keys.h gateway/limits.c gateway/limits.h gateway/limits_shared.c gateway/limits_shared.h gateway/proxies.c gateway/proxies.h gateway/gate.c gateway/gate.h \
	gateway/pages.c gateway/pages.h gateway/tls.h
if HAVE_OPENSSL
gateway_libassay_front_la_SOURCES += gateway/tls.c gateway/http_tls.c
else
gateway_libassay_front_la_SOURCES += gateway/tls_none.c
endif
gateway_libassay_front_la_CPPFLAGS = $(SDK_CPPFLAGS) -I$(top_srcdir) -isystem $(LLHTTP_INC) -DLLHTTP_STRICT_MODE=1 \
	$(LIBEVENT_CFLAGS) $(LIBJWT_CFLAGS) $(SODIUM_CFLAGS) $(OPENSSL_CFLAGS)
gateway_libassay_front_la_LIBADD = gateway/libassay_llhttp.la $(LIBEVENT_LIBS) $(LIBJWT_LIBS) $(SODIUM_LIBS) $(OPENSSL_LIBS)

# linked by users: gateway/libassay_front.la gateway/libassay_core.la queue/libassay_queue.la $(SDK_LIBS) -lpthread -lm
FRONT_TEST_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)
FRONT_TEST_LIBS = gateway/libassay_front.la gateway/libassay_core.la queue/libassay_queue.la $(SDK_LIBS) $(CMOCKA_LIBS) -lpthread -lm
if HAVE_CMOCKA
FRONT_TESTS = tests/unit/router_test tests/unit/limits_test tests/unit/gate_test tests/unit/reserve_test tests/unit/http_test tests/unit/http_live_test tests/unit/pages_test
check_PROGRAMS += $(FRONT_TESTS)
TESTS += $(FRONT_TESTS)
tests_unit_pages_test_SOURCES = tests/unit/pages_test.c
tests_unit_pages_test_CPPFLAGS = $(FRONT_TEST_CPPFLAGS)
tests_unit_pages_test_LDADD = $(FRONT_TEST_LIBS)
tests_unit_router_test_SOURCES = tests/unit/router_test.c
tests_unit_router_test_CPPFLAGS = $(FRONT_TEST_CPPFLAGS)
tests_unit_router_test_LDADD = $(FRONT_TEST_LIBS)
tests_unit_limits_test_SOURCES = tests/unit/limits_test.c
tests_unit_limits_test_CPPFLAGS = $(FRONT_TEST_CPPFLAGS)
tests_unit_limits_test_LDADD = $(FRONT_TEST_LIBS)
tests_unit_gate_test_SOURCES = tests/unit/gate_test.c
tests_unit_gate_test_CPPFLAGS = $(FRONT_TEST_CPPFLAGS) $(SODIUM_CFLAGS)
tests_unit_gate_test_LDADD = $(FRONT_TEST_LIBS) $(SODIUM_LIBS)
tests_unit_reserve_test_SOURCES = tests/unit/reserve_test.c
tests_unit_reserve_test_CPPFLAGS = $(FRONT_TEST_CPPFLAGS)
tests_unit_reserve_test_LDADD = $(FRONT_TEST_LIBS)
tests_unit_http_test_SOURCES = tests/unit/http_test.c tests/unit/http_rig.c tests/unit/http_rig.h
tests_unit_http_test_CPPFLAGS = $(FRONT_TEST_CPPFLAGS)
tests_unit_http_test_LDADD = $(FRONT_TEST_LIBS)
if HAVE_OPENSSL
check_PROGRAMS += tests/unit/tls_test
TESTS += tests/unit/tls_test
tests_unit_tls_test_SOURCES = tests/unit/tls_test.c tests/unit/http_rig.c tests/unit/http_rig.h
tests_unit_tls_test_CPPFLAGS = $(FRONT_TEST_CPPFLAGS) $(OPENSSL_CFLAGS)
tests_unit_tls_test_LDADD = $(FRONT_TEST_LIBS) $(OPENSSL_LIBS)
else
EXTRA_DIST += tests/unit/tls_test.c
endif
tests_unit_http_live_test_SOURCES = tests/unit/http_live_test.c tests/unit/http_rig.c tests/unit/http_rig.h
tests_unit_http_live_test_CPPFLAGS = $(FRONT_TEST_CPPFLAGS)
tests_unit_http_live_test_LDADD = $(FRONT_TEST_LIBS)
endif

# ---- fuzz targets: replayed with seeded mutations by make check, libFuzzer's with --enable-fuzz ---------
# A target of another room needs the four lines below (SOURCES, CPPFLAGS, LDADD, LDFLAGS) and a corpus.
FUZZ_TARGETS = tests/fuzz/http_fuzz tests/fuzz/metrics_text_fuzz tests/fuzz/router_fuzz tests/fuzz/token_fuzz
check_PROGRAMS += $(FUZZ_TARGETS)
EXTRA_DIST += tests/fuzz/corpus tests/parts/otlp.py tests/parts/otlp/decode.cjs tests/parts/otlp/package.json tests/parts/otlp/package-lock.json \
	tests/parts/grafana.py tests/parts/grafana/package.json tests/parts/grafana/package-lock.json
if FUZZ
FUZZ_DRIVER =
FUZZ_LINK = $(AM_LDFLAGS) -fsanitize=fuzzer
else
FUZZ_DRIVER = tests/fuzz/replay.c
FUZZ_LINK = $(AM_LDFLAGS)
TESTS += $(FUZZ_TARGETS)
endif
FUZZ_CPPFLAGS = $(SDK_CPPFLAGS) -I$(top_srcdir) -I$(top_srcdir)/tests/fuzz
FUZZ_FRONT_LIBS = gateway/libassay_front.la gateway/libassay_core.la queue/libassay_queue.la $(SDK_LIBS) -lpthread -lm
tests_fuzz_http_fuzz_SOURCES = tests/fuzz/http_fuzz.c tests/fuzz/fuzz.h $(FUZZ_DRIVER)
tests_fuzz_http_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_http_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_http_fuzz_LDADD = $(FUZZ_FRONT_LIBS)
tests_fuzz_metrics_text_fuzz_SOURCES = tests/fuzz/metrics_text_fuzz.c tests/fuzz/fuzz.h $(FUZZ_DRIVER)
tests_fuzz_metrics_text_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_metrics_text_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_metrics_text_fuzz_LDADD = $(FUZZ_FRONT_LIBS)
tests_fuzz_router_fuzz_SOURCES = tests/fuzz/router_fuzz.c tests/fuzz/fuzz.h $(FUZZ_DRIVER)
tests_fuzz_router_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_router_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_router_fuzz_LDADD = $(FUZZ_FRONT_LIBS)
tests_fuzz_token_fuzz_SOURCES = tests/fuzz/token_fuzz.c tests/fuzz/fuzz.h $(FUZZ_DRIVER)
tests_fuzz_token_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS) $(SODIUM_CFLAGS)
tests_fuzz_token_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_token_fuzz_LDADD = $(FUZZ_FRONT_LIBS) $(SODIUM_LIBS)

# the front alone, for wrk: made on demand
EXTRA_PROGRAMS += bench/front_server
bench_front_server_SOURCES = bench/front_server.c
bench_front_server_CPPFLAGS = $(SDK_CPPFLAGS) -I$(top_srcdir)
bench_front_server_LDADD = $(FUZZ_FRONT_LIBS)
CLEANFILES += bench/front_server$(EXEEXT)

# ---- the core: worker pool, log, metrics, event dispatcher --------------------------------------------
noinst_LTLIBRARIES += gateway/libassay_core.la
gateway_libassay_core_la_SOURCES = \
	gateway/cursors.c gateway/cursors.h gateway/dispatch.c gateway/dispatch.h gateway/log.c gateway/log.h gateway/metrics.c gateway/metrics.h \
	gateway/pool.c gateway/pool.h gateway/reserve.c gateway/reserve.h gateway/text.c gateway/text.h gateway/timed.c gateway/timed.h \
	gateway/otlp.c gateway/otlp.h gateway/otlp_json.c gateway/otlp_parts.c gateway/otlp_proto.c gateway/metrics_text.c
gateway_libassay_core_la_CPPFLAGS = $(SDK_CPPFLAGS) -I$(top_srcdir) $(CURL_CFLAGS) $(ZLIB_CFLAGS)
gateway_libassay_core_la_LIBADD = $(CURL_LIBS) $(ZLIB_LIBS)

# linked by users: gateway/libassay_core.la queue/libassay_queue.la $(SDK_LIBS) -lpthread -lm
CORE_TEST_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)
CORE_TEST_LIBS = gateway/libassay_core.la queue/libassay_queue.la $(SDK_LIBS) $(CMOCKA_LIBS) -lpthread -lm
if HAVE_CMOCKA
CORE_TESTS = tests/unit/pool_test tests/unit/log_test tests/unit/metrics_test tests/unit/dispatch_test tests/unit/timed_test tests/unit/otlp_test
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
tests_unit_otlp_test_SOURCES = tests/unit/otlp_test.c
tests_unit_otlp_test_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_otlp_test_LDADD = $(CORE_TEST_LIBS)
tests_unit_timed_test_SOURCES = tests/unit/timed_test.c
tests_unit_timed_test_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_timed_test_LDADD = $(CORE_TEST_LIBS)
tests_unit_dispatch_test_SOURCES = tests/unit/dispatch_test.c
tests_unit_dispatch_test_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_dispatch_test_LDADD = $(CORE_TEST_LIBS)
endif

# ---- assayd: configuration, plugin host, supervisor, server ------------------------------------------
HOST_PATHS = -DASSAY_BINDIR='"$(bindir)"' -DASSAY_PLUGINSDIR='"$(pluginsdir)"' -DASSAY_LIBEXECDIR='"$(pkglibexecdir)"' \
	-DASSAY_SHAREDIR='"$(pkgdatadir)"' -DASSAY_SYSCONFDIR='"$(sysconfdir)/assay"'
noinst_LTLIBRARIES += gateway/libassay_config.la
gateway_libassay_config_la_SOURCES = gateway/config.c gateway/config.h gateway/plugins.c gateway/plugins.h
gateway_libassay_config_la_CPPFLAGS = $(SDK_CPPFLAGS) $(INIH_CFLAGS)
gateway_libassay_config_la_LIBADD = $(SDK_LIBS) $(INIH_LIBS) -ldl

bin_PROGRAMS += assayd
assayd_SOURCES = \
	gateway/main.c gateway/supervisor.c gateway/supervisor.h gateway/server.c gateway/server.h \
	gateway/server_impl.h gateway/server_report.c gateway/sessions.c gateway/sessions.h gateway/server_task.c \
	gateway/setup.c gateway/setup.h gateway/boxes.c gateway/boxes.h gateway/core_routes.c gateway/core_routes.h \
	gateway/doctor.c gateway/doctor.h gateway/backup.c gateway/backup.h
assayd_CPPFLAGS = $(SDK_CPPFLAGS) -I$(top_srcdir) $(HOST_PATHS)
assayd_CFLAGS = $(AM_CFLAGS) -fPIE
assayd_LDFLAGS = $(AM_LDFLAGS) -pie
assayd_LDADD = gateway/libassay_config.la gateway/libassay_front.la gateway/libassay_core.la queue/libassay_queue.la \
	$(SDK_LIBS) -lpthread

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/config_test tests/unit/plugins_test tests/unit/boxes_test
TESTS += tests/unit/config_test tests/unit/plugins_test tests/unit/boxes_test
tests_unit_boxes_test_SOURCES = tests/unit/boxes_test.c gateway/boxes.c
tests_unit_boxes_test_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)
tests_unit_boxes_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS) -lpthread
tests_unit_config_test_SOURCES = tests/unit/config_test.c
tests_unit_config_test_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)
tests_unit_config_test_LDADD = gateway/libassay_config.la $(SDK_LIBS) $(CMOCKA_LIBS)
tests_unit_plugins_test_SOURCES = tests/unit/plugins_test.c
tests_unit_plugins_test_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)
tests_unit_plugins_test_LDADD = gateway/libassay_config.la $(SDK_LIBS) $(CMOCKA_LIBS)

# one source, one fault each; -rpath makes libtool build what it would not install
FAULTY_LDFLAGS = $(PLUGIN_LDFLAGS) -rpath /nowhere
check_LTLIBRARIES += tests/plugins/faulty_none.la tests/plugins/faulty_abi.la tests/plugins/faulty_magic.la \
	tests/plugins/faulty_short.la tests/plugins/faulty_symbol.la tests/plugins/faulty_init.la \
	tests/plugins/faulty_need.la tests/plugins/faulty_clash.la tests/plugins/faulty_nothing.la
tests_plugins_faulty_none_la_SOURCES = tests/plugins/faulty.c
tests_plugins_faulty_none_la_CPPFLAGS = $(SDK_CPPFLAGS) -DFAULT=NONE
tests_plugins_faulty_none_la_LDFLAGS = $(FAULTY_LDFLAGS)
tests_plugins_faulty_abi_la_SOURCES = tests/plugins/faulty.c
tests_plugins_faulty_abi_la_CPPFLAGS = $(SDK_CPPFLAGS) -DFAULT=WRONG_ABI
tests_plugins_faulty_abi_la_LDFLAGS = $(FAULTY_LDFLAGS)
tests_plugins_faulty_magic_la_SOURCES = tests/plugins/faulty.c
tests_plugins_faulty_magic_la_CPPFLAGS = $(SDK_CPPFLAGS) -DFAULT=WRONG_MAGIC
tests_plugins_faulty_magic_la_LDFLAGS = $(FAULTY_LDFLAGS)
tests_plugins_faulty_short_la_SOURCES = tests/plugins/faulty.c
tests_plugins_faulty_short_la_CPPFLAGS = $(SDK_CPPFLAGS) -DFAULT=SHORT_STRUCT
tests_plugins_faulty_short_la_LDFLAGS = $(FAULTY_LDFLAGS)
tests_plugins_faulty_symbol_la_SOURCES = tests/plugins/faulty.c
tests_plugins_faulty_symbol_la_CPPFLAGS = $(SDK_CPPFLAGS) -DFAULT=MISSING_SYMBOL
tests_plugins_faulty_symbol_la_LDFLAGS = $(FAULTY_LDFLAGS)
tests_plugins_faulty_init_la_SOURCES = tests/plugins/faulty.c
tests_plugins_faulty_init_la_CPPFLAGS = $(SDK_CPPFLAGS) -DFAULT=FAILING_INIT
tests_plugins_faulty_init_la_LDFLAGS = $(FAULTY_LDFLAGS)
tests_plugins_faulty_need_la_SOURCES = tests/plugins/faulty.c
tests_plugins_faulty_need_la_CPPFLAGS = $(SDK_CPPFLAGS) -DFAULT=MISSING_NEED
tests_plugins_faulty_need_la_LDFLAGS = $(FAULTY_LDFLAGS)
tests_plugins_faulty_clash_la_SOURCES = tests/plugins/faulty.c
tests_plugins_faulty_clash_la_CPPFLAGS = $(SDK_CPPFLAGS) -DFAULT=CLASH
tests_plugins_faulty_clash_la_LDFLAGS = $(FAULTY_LDFLAGS)
tests_plugins_faulty_nothing_la_SOURCES = tests/plugins/faulty.c
tests_plugins_faulty_nothing_la_CPPFLAGS = $(SDK_CPPFLAGS) -DFAULT=NO_DESCRIPTOR
tests_plugins_faulty_nothing_la_LDFLAGS = -module -avoid-version -shared $(AM_LDFLAGS) -rpath /nowhere
endif
