# boxkeeper: the small privileged process that loads the sandbox drivers. Includes the SDK only.
pkglibexec_PROGRAMS += assay-boxkeeper
assay_boxkeeper_SOURCES = boxkeeper/main.c boxkeeper/drivers.c boxkeeper/log.c boxkeeper/metrics.c \
	boxkeeper/options.c boxkeeper/peer.c boxkeeper/privilege.c boxkeeper/local.h
assay_boxkeeper_CPPFLAGS = $(SDK_CPPFLAGS)
assay_boxkeeper_CFLAGS = $(AM_CFLAGS) -fPIE
assay_boxkeeper_LDFLAGS = $(AM_LDFLAGS) -pie
assay_boxkeeper_LDADD = $(SDK_LIBS)

if HAVE_CMOCKA
# a warden that runs nothing: no library of ours, so that it starts as the warden does
check_PROGRAMS += tests/unit/keeper_warden_fake
tests_unit_keeper_warden_fake_SOURCES = tests/unit/keeper_warden_fake.c
tests_unit_keeper_warden_fake_CPPFLAGS = $(SDK_CPPFLAGS)

check_PROGRAMS += tests/unit/keeper_test
TESTS += tests/unit/keeper_test
tests_unit_keeper_test_SOURCES = tests/unit/keeper_test.c tests/unit/ordinary.h
tests_unit_keeper_test_CPPFLAGS = $(TEST_CPPFLAGS)
tests_unit_keeper_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS)
endif

TESTS += tests/vm/cgroup2_test.sh
EXTRA_DIST += tests/vm/cgroup2_test.sh
