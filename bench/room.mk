# bench: what bench/run builds; nothing of it is built by make or make check
EXTRA_PROGRAMS += bench/http_load bench/spawn_bench
CLEANFILES += bench/http_load$(EXEEXT) bench/spawn_bench$(EXEEXT)
bench_http_load_SOURCES = bench/http_load.c
bench_http_load_CPPFLAGS = $(SDK_CPPFLAGS)
bench_spawn_bench_SOURCES = bench/spawn_bench.c
bench_spawn_bench_CPPFLAGS = $(SDK_CPPFLAGS)
bench_spawn_bench_LDADD = -lpthread
EXTRA_DIST += bench/run bench/README.md bench/languages/noop.json
