# services/agents: agents, their tokens, worker heartbeats
plugins_LTLIBRARIES += services/agents/assay_agents.la
services_agents_assay_agents_la_SOURCES = \
	services/agents/plugin.c services/agents/http.c services/agents/domain.c \
	services/agents/codec.c services/agents/repo.c services/agents/schema.c services/agents/local.h
services_agents_assay_agents_la_CPPFLAGS = $(SDK_CPPFLAGS)
services_agents_assay_agents_la_CFLAGS = $(AM_CFLAGS)
services_agents_assay_agents_la_LDFLAGS = $(PLUGIN_LDFLAGS)
services_agents_assay_agents_la_LIBADD = $(SDK_LIBS)

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/agents_domain_test tests/unit/agents_http_test
TESTS += tests/unit/agents_domain_test tests/unit/agents_http_test
# the rules and the codec alone, without the plugin around them
tests_unit_agents_domain_test_SOURCES = \
	tests/unit/agents_domain_test.c services/agents/domain.c services/agents/codec.c
tests_unit_agents_domain_test_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)/services/agents
tests_unit_agents_domain_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS)
tests_unit_agents_http_test_SOURCES = tests/unit/agents_http_test.c
tests_unit_agents_http_test_CPPFLAGS = $(SVC_TEST_CPPFLAGS)
tests_unit_agents_http_test_LDADD = $(SVC_TEST_LIBS)
endif

check_PROGRAMS += tests/fuzz/agents_codec_fuzz
if !FUZZ
TESTS += tests/fuzz/agents_codec_fuzz
endif
tests_fuzz_agents_codec_fuzz_SOURCES = tests/fuzz/agents_codec_fuzz.c services/agents/domain.c services/agents/codec.c $(FUZZ_DRIVER)
tests_fuzz_agents_codec_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_agents_codec_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_agents_codec_fuzz_LDADD = $(SDK_LIBS)
