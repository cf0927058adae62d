# tests: see docs/architecture.md for what lives here

# runs service plugins against a fake host over the real store driver; unit tests of services link it
if HAVE_CMOCKA
check_LTLIBRARIES += tests/unit/libsvc_harness.la
tests_unit_libsvc_harness_la_SOURCES = tests/unit/fake_broker.c tests/unit/fake_broker.h tests/unit/memory_blobs.c tests/unit/memory_blobs.h tests/unit/svc_events.c tests/unit/svc_harness.c \
	tests/unit/svc_harness.h tests/unit/svc_host.c tests/unit/svc_impl.h tests/unit/svc_requests.c
tests_unit_libsvc_harness_la_CPPFLAGS = $(SDK_CPPFLAGS) $(JANSSON_CFLAGS)
tests_unit_libsvc_harness_la_LIBADD = $(SDK_LIBS) $(JANSSON_LIBS) -ldl -lpthread
SVC_TEST_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)/tests/unit
SVC_TEST_LIBS = tests/unit/libsvc_harness.la $(SDK_LIBS) $(CMOCKA_LIBS)
endif

# prints the plugins' SQL for the test that prepares it on PostgreSQL
check_PROGRAMS += tests/contract/dump_sql
tests_contract_dump_sql_SOURCES = tests/contract/dump_sql.c
tests_contract_dump_sql_CPPFLAGS = $(SDK_CPPFLAGS)
tests_contract_dump_sql_LDADD = $(SDK_LIBS)

# who may include, compile and link what; plants violations and expects to catch them
TESTS += tests/lint/deps.py
EXTRA_DIST += tests/lint/deps.py

# ---- fuzz targets of the codecs that have none in their own rooms, and the long form -----------------------
CODEC_FUZZ = tests/fuzz/submissions_codec_fuzz tests/fuzz/runner_codec_fuzz tests/fuzz/traces_codec_fuzz \
	tests/fuzz/boards_codec_fuzz tests/fuzz/proxies_fuzz tests/fuzz/script_codec_fuzz tests/fuzz/remote_codec_fuzz tests/fuzz/checker_fuzz tests/fuzz/filter_fuzz
check_PROGRAMS += $(CODEC_FUZZ)
if !FUZZ
TESTS += $(CODEC_FUZZ)
endif
EXTRA_DIST += tests/fuzz/run.sh tests/mutation/run.py tests/mutation/table.py
tests_fuzz_submissions_codec_fuzz_SOURCES = tests/fuzz/submissions_codec_fuzz.c services/submissions/admission.c services/submissions/codec.c services/submissions/domain.c $(FUZZ_DRIVER)
tests_fuzz_submissions_codec_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_submissions_codec_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_submissions_codec_fuzz_LDADD = $(SDK_LIBS)
tests_fuzz_runner_codec_fuzz_SOURCES = tests/fuzz/runner_codec_fuzz.c services/runner/codec.c services/runner/definitions.c services/runner/domain.c services/runner/languages.c services/runner/options.c $(FUZZ_DRIVER)
tests_fuzz_runner_codec_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_runner_codec_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_runner_codec_fuzz_LDADD = $(SDK_LIBS) -lm
tests_fuzz_filter_fuzz_SOURCES = tests/fuzz/filter_fuzz.c services/runner/filters.c $(FUZZ_DRIVER)
tests_fuzz_filter_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_filter_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_filter_fuzz_LDADD = $(SDK_LIBS)
tests_fuzz_checker_fuzz_SOURCES = tests/fuzz/checker_fuzz.c services/runner/checker.c $(FUZZ_DRIVER)
tests_fuzz_checker_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_checker_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_checker_fuzz_LDADD = $(SDK_LIBS) -lm
tests_fuzz_remote_codec_fuzz_SOURCES = tests/fuzz/remote_codec_fuzz.c services/runner/remote_codec.c $(FUZZ_DRIVER)
tests_fuzz_remote_codec_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_remote_codec_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_remote_codec_fuzz_LDADD = $(SDK_LIBS)
tests_fuzz_traces_codec_fuzz_SOURCES = tests/fuzz/traces_codec_fuzz.c services/traces/codec.c services/traces/domain.c $(FUZZ_DRIVER)
tests_fuzz_traces_codec_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_traces_codec_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_traces_codec_fuzz_LDADD = $(SDK_LIBS)
tests_fuzz_boards_codec_fuzz_SOURCES = tests/fuzz/boards_codec_fuzz.c services/leaderboard/codec.c services/leaderboard/domain.c services/leaderboard/stats.c services/scoring/codec.c services/scoring/domain.c $(FUZZ_DRIVER)
tests_fuzz_boards_codec_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_boards_codec_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_boards_codec_fuzz_LDADD = $(SDK_LIBS) -lm
tests_fuzz_script_codec_fuzz_SOURCES = tests/fuzz/script_codec_fuzz.c $(FUZZ_DRIVER)
tests_fuzz_script_codec_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_script_codec_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_script_codec_fuzz_LDADD = $(SDK_LIBS)
tests_fuzz_proxies_fuzz_SOURCES = tests/fuzz/proxies_fuzz.c $(FUZZ_DRIVER)
tests_fuzz_proxies_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_proxies_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_proxies_fuzz_LDADD = $(FUZZ_FRONT_LIBS)

# programs that mean harm, and what must come of them (runtests hostile)
EXTRA_DIST += tests/hostile/run.py tests/hostile/table.py tests/hostile/archives.py tests/hostile/checks.py tests/hostile/drivers.py tests/hostile/residue.py \
	tests/hostile/programs tests/hostile/languages
