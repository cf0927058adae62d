# bench: what bench/run builds; nothing of it is built by make or make check
EXTRA_PROGRAMS += bench/http_load bench/spawn_bench bench/stream_readers
CLEANFILES += bench/http_load$(EXEEXT) bench/spawn_bench$(EXEEXT) bench/stream_readers$(EXEEXT)
bench_http_load_SOURCES = bench/http_load.c
bench_http_load_CPPFLAGS = $(SDK_CPPFLAGS)
bench_spawn_bench_SOURCES = bench/spawn_bench.c
bench_spawn_bench_CPPFLAGS = $(SDK_CPPFLAGS)
bench_spawn_bench_LDADD = -lpthread
bench_stream_readers_SOURCES = bench/stream_readers.c
bench_stream_readers_CPPFLAGS = $(SDK_CPPFLAGS)
EXTRA_DIST += bench/run bench/README.md bench/kafka_mix.py bench/streams.py bench/languages/noop.json bench/languages/pause.json
