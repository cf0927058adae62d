# services/benchmarks: benchmarks, problems, tests
plugins_LTLIBRARIES += services/benchmarks/assay_benchmarks.la
services_benchmarks_assay_benchmarks_la_SOURCES = \
	services/benchmarks/plugin.c services/benchmarks/http.c services/benchmarks/domain.c services/benchmarks/tests.c \
	services/benchmarks/codec.c services/benchmarks/repo.c services/benchmarks/schema.c services/benchmarks/local.h
services_benchmarks_assay_benchmarks_la_CPPFLAGS = $(SDK_CPPFLAGS)
services_benchmarks_assay_benchmarks_la_CFLAGS = $(AM_CFLAGS)
services_benchmarks_assay_benchmarks_la_LDFLAGS = $(PLUGIN_LDFLAGS)
services_benchmarks_assay_benchmarks_la_LIBADD = $(SDK_LIBS)

