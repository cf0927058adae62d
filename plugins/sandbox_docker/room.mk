# plugins/sandbox_docker: the driver that keeps wardens in warm containers of a Docker engine
plugins_LTLIBRARIES += plugins/sandbox_docker/assay_sandbox_docker.la
sandbox_docker_sources = \
	plugins/sandbox_docker/attach.c plugins/sandbox_docker/box.c plugins/sandbox_docker/doctor.c \
	plugins/sandbox_docker/driver.c plugins/sandbox_docker/engine.c plugins/sandbox_docker/image.c \
	plugins/sandbox_docker/pool.c plugins/sandbox_docker/pull.c plugins/sandbox_docker/pulling.c \
	plugins/sandbox_docker/work.c plugins/sandbox_docker/local.h
plugins_sandbox_docker_assay_sandbox_docker_la_SOURCES = plugins/sandbox_docker/plugin.c $(sandbox_docker_sources)
plugins_sandbox_docker_assay_sandbox_docker_la_CPPFLAGS = $(SDK_CPPFLAGS) $(CURL_CFLAGS)
plugins_sandbox_docker_assay_sandbox_docker_la_CFLAGS = $(AM_CFLAGS)
plugins_sandbox_docker_assay_sandbox_docker_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_sandbox_docker_assay_sandbox_docker_la_LIBADD = $(SDK_LIBS) $(CURL_LIBS) -lpthread

# what the engine is given with each container
dockerdir = $(pkgdatadir)
dist_docker_DATA = packaging/docker-seccomp.json packaging/docker-apparmor

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/docker_test
TESTS += tests/unit/docker_test
tests_unit_docker_test_SOURCES = tests/unit/docker_test.c plugins/sandbox_docker/plugin.c $(sandbox_docker_sources)
tests_unit_docker_test_CPPFLAGS = $(TEST_CPPFLAGS) $(CURL_CFLAGS) -I$(top_srcdir)
tests_unit_docker_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS) $(CURL_LIBS) -lpthread
endif

# built by bench/run
EXTRA_PROGRAMS += bench/docker_bench
CLEANFILES += bench/docker_bench$(EXEEXT)
bench_docker_bench_SOURCES = bench/docker_bench.c tests/unit/warden_fixture.c tests/unit/warden_fixture.h \
	plugins/sandbox_docker/plugin.c $(sandbox_docker_sources)
bench_docker_bench_CPPFLAGS = $(SDK_CPPFLAGS) $(CURL_CFLAGS) -I$(top_srcdir)
bench_docker_bench_LDADD = $(SDK_LIBS) $(CURL_LIBS) -lpthread
