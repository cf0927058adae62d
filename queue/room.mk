# queue: rings, topics with consumer groups, mailboxes. Includes the SDK and libc.
# Users include "queue/x.h" with -I$(top_srcdir) and link queue/libassay_queue.la before $(SDK_LIBS).
noinst_LTLIBRARIES += queue/libassay_queue.la
queue_libassay_queue_la_SOURCES = queue/mailbox.c queue/mailbox.h
queue_libassay_queue_la_CPPFLAGS = $(SDK_CPPFLAGS)

QUEUE_TEST_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)
QUEUE_TEST_LIBS = queue/libassay_queue.la $(SDK_LIBS) $(CMOCKA_LIBS) -lpthread

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/mailbox_test
TESTS += tests/unit/mailbox_test
tests_unit_mailbox_test_SOURCES = tests/unit/mailbox_test.c
tests_unit_mailbox_test_CPPFLAGS = $(QUEUE_TEST_CPPFLAGS)
tests_unit_mailbox_test_LDADD = $(QUEUE_TEST_LIBS)
endif
