# services/agents: agents, their tokens, worker heartbeats
plugins_LTLIBRARIES += services/agents/assay_agents.la
services_agents_assay_agents_la_SOURCES = \
	services/agents/plugin.c services/agents/http.c services/agents/domain.c \
	services/agents/codec.c services/agents/repo.c services/agents/schema.c services/agents/local.h
services_agents_assay_agents_la_CPPFLAGS = $(SDK_CPPFLAGS)
services_agents_assay_agents_la_CFLAGS = $(AM_CFLAGS)
services_agents_assay_agents_la_LDFLAGS = $(PLUGIN_LDFLAGS)
services_agents_assay_agents_la_LIBADD = $(SDK_LIBS)

