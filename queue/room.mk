# queue: rings, topics with consumer groups, mailboxes. Includes the SDK and libc.
# Users include "queue/x.h" with -I$(top_srcdir) and link queue/libassay_queue.la before $(SDK_LIBS).
noinst_LTLIBRARIES += queue/libassay_queue.la
queue_libassay_queue_la_SOURCES = \
	queue/bell.c queue/bell.h queue/mailbox.c queue/mailbox.h queue/ring.c queue/ring.h \
	queue/topics.c queue/topics.h
queue_libassay_queue_la_CPPFLAGS = $(SDK_CPPFLAGS)

QUEUE_TEST_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)
QUEUE_TEST_LIBS = queue/libassay_queue.la $(SDK_LIBS) $(CMOCKA_LIBS) -lpthread

# a measurement, not a test: make bench/ring_bench && bench/ring_bench
EXTRA_PROGRAMS += bench/ring_bench
CLEANFILES += bench/ring_bench
bench_ring_bench_SOURCES = bench/ring_bench.c
bench_ring_bench_CPPFLAGS = $(SDK_CPPFLAGS) -I$(top_srcdir)
bench_ring_bench_LDADD = queue/libassay_queue.la $(SDK_LIBS) -lpthread

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/mailbox_test tests/unit/ring_test tests/unit/topics_test
TESTS += tests/unit/mailbox_test tests/unit/ring_test tests/unit/topics_test
tests_unit_mailbox_test_SOURCES = tests/unit/mailbox_test.c
tests_unit_mailbox_test_CPPFLAGS = $(QUEUE_TEST_CPPFLAGS)
tests_unit_mailbox_test_LDADD = $(QUEUE_TEST_LIBS)
tests_unit_ring_test_SOURCES = tests/unit/ring_test.c
tests_unit_ring_test_CPPFLAGS = $(QUEUE_TEST_CPPFLAGS)
tests_unit_ring_test_LDADD = $(QUEUE_TEST_LIBS)
tests_unit_topics_test_SOURCES = tests/unit/topics_test.c
tests_unit_topics_test_CPPFLAGS = $(QUEUE_TEST_CPPFLAGS)
tests_unit_topics_test_LDADD = $(QUEUE_TEST_LIBS)
endif
