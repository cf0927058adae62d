# plugins/warden: the static supervisor that makes and watches boxes. Includes nothing of ours but the wire's header.
pkglibexec_PROGRAMS += assay-warden
warden_sources = \
	plugins/warden/artefact.c plugins/warden/box.c plugins/warden/files.c plugins/warden/find.c plugins/warden/init.c \
	plugins/warden/join.c plugins/warden/leaf.c plugins/warden/nursery.c plugins/warden/reduced.c plugins/warden/zygote.h \
	plugins/warden/root.c plugins/warden/seccomp.c plugins/warden/sha256.c plugins/warden/sys.h plugins/warden/util.c \
	plugins/warden/warden.h plugins/warden/watch.c plugins/warden/wire.c
assay_warden_SOURCES = plugins/warden/main.c $(warden_sources)
assay_warden_CPPFLAGS = $(SDK_CPPFLAGS)
# -all-static: libtool's word for -static; it must run in roots that have no libc of ours
warden_static = $(HARDEN_LDFLAGS) -all-static
if TSAN
# One thread and many forks: ThreadSanitizer has nothing to look at here, and its shadow would break the limits.
assay_warden_CFLAGS = $(WARN_CFLAGS) $(HARDEN_CFLAGS)
assay_warden_LDFLAGS = $(warden_static)
else
assay_warden_CFLAGS = $(AM_CFLAGS)
if SANITIZED
assay_warden_LDFLAGS = $(AM_LDFLAGS)
else
assay_warden_LDFLAGS = $(warden_static)
endif
endif

# Loaded into interpreters by the dynamic linker, and carried inside the warden. Linked against nothing, and never
# sanitized: it must fit whatever library the interpreter brings.
EXTRA_DIST += plugins/warden/zygote.c
CLEANFILES += plugins/warden/zygote.so
plugins/warden/zygote.so: plugins/warden/zygote.c plugins/warden/zygote.h
	$(AM_V_CC)$(MKDIR_P) plugins/warden && $(CC) $(WARN_CFLAGS) -O2 -fPIC -fvisibility=hidden -U_FORTIFY_SOURCE -fno-stack-protector \
		-shared -nostdlib -Wl,-z,relro,-z,now -I$(srcdir)/plugins/warden -o $@ $(srcdir)/plugins/warden/zygote.c -lgcc
plugins/warden/assay_warden-nursery.$(OBJEXT): plugins/warden/zygote.so

# What boxes are tested with: static, so that they run in any root, and never sanitized.
check_PROGRAMS += tests/boxes/hostile tests/boxes/measured tests/boxes/noop
tests_boxes_hostile_SOURCES = tests/boxes/hostile.c
tests_boxes_hostile_CFLAGS = -O1 -Wall -Wextra
tests_boxes_hostile_LDFLAGS = -all-static
tests_boxes_measured_SOURCES = tests/boxes/measured.c
tests_boxes_measured_CFLAGS = -O1 -Wall -Wextra
tests_boxes_measured_LDFLAGS = -all-static
tests_boxes_noop_SOURCES = tests/boxes/noop.c
tests_boxes_noop_CFLAGS = -O1 -Wall -Wextra
tests_boxes_noop_LDFLAGS = -all-static

check_PROGRAMS += bench/box_bench bench/measure_bench
bench_measure_bench_SOURCES = bench/measure_bench.c tests/unit/warden_fixture.c tests/unit/warden_fixture.h
bench_measure_bench_CPPFLAGS = $(SDK_CPPFLAGS) -I$(top_srcdir)
bench_measure_bench_LDADD = $(SDK_LIBS)
bench_box_bench_SOURCES = bench/box_bench.c tests/unit/warden_fixture.c tests/unit/warden_fixture.h
bench_box_bench_CPPFLAGS = $(SDK_CPPFLAGS) -I$(top_srcdir)
bench_box_bench_LDADD = $(SDK_LIBS)

if HAVE_CMOCKA
box_tests = tests/unit/warden_test tests/unit/box_test tests/unit/box_noleaf_test tests/unit/box_userns_test \
	tests/unit/measure_test \
	tests/unit/box_common_reduced_test tests/unit/box_common_reduced_user_test tests/unit/box_reduced_test tests/unit/box_reduced_user_test
check_PROGRAMS += $(box_tests)
TESTS += $(box_tests)
box_rig = tests/unit/box_rig.c tests/unit/box_rig.h tests/unit/warden_fixture.c tests/unit/warden_fixture.h
box_test_sources = tests/unit/box_test.c tests/unit/box_artefacts.c tests/unit/box_artefacts.h tests/unit/ordinary.h $(box_rig)
zygote_tests = tests/unit/zygote_test tests/unit/zygote_userns_test
check_PROGRAMS += $(zygote_tests)
TESTS += $(zygote_tests)
zygote_test_sources = tests/unit/zygote_test.c tests/unit/ordinary.h tests/unit/warden_fixture.c tests/unit/warden_fixture.h
tests_unit_zygote_test_SOURCES = $(zygote_test_sources)
tests_unit_zygote_test_CPPFLAGS = $(TEST_CPPFLAGS)
tests_unit_zygote_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS)
tests_unit_zygote_userns_test_SOURCES = $(zygote_test_sources)
tests_unit_zygote_userns_test_CPPFLAGS = $(TEST_CPPFLAGS) -DZYGOTE_MODE='"userns"' -DZYGOTE_ORDINARY=true
tests_unit_zygote_userns_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS)
tests_unit_box_test_SOURCES = $(box_test_sources)
tests_unit_box_test_CPPFLAGS = $(TEST_CPPFLAGS)
tests_unit_box_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS)
tests_unit_box_noleaf_test_SOURCES = $(box_test_sources)
tests_unit_box_noleaf_test_CPPFLAGS = $(TEST_CPPFLAGS) -DBOX_MODE='"native"' -DBOX_LEAF=0 -DBOX_ORDINARY=false
tests_unit_box_noleaf_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS)
tests_unit_box_userns_test_SOURCES = $(box_test_sources)
tests_unit_box_userns_test_CPPFLAGS = $(TEST_CPPFLAGS) -DBOX_MODE='"userns"' -DBOX_LEAF=1 -DBOX_ORDINARY=true
tests_unit_box_userns_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS)
tests_unit_measure_test_SOURCES = tests/unit/measure_test.c $(box_rig)
tests_unit_measure_test_CPPFLAGS = $(TEST_CPPFLAGS)
tests_unit_measure_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS)
tests_unit_box_common_reduced_test_SOURCES = $(box_test_sources)
tests_unit_box_common_reduced_test_CPPFLAGS = $(TEST_CPPFLAGS) -DBOX_REDUCED=1 -DBOX_MODE='"reduced"' -DBOX_LEAF=0 \
	-DBOX_ORDINARY=false
tests_unit_box_common_reduced_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS)
tests_unit_box_common_reduced_user_test_SOURCES = $(box_test_sources)
tests_unit_box_common_reduced_user_test_CPPFLAGS = $(TEST_CPPFLAGS) -DBOX_REDUCED=1 -DBOX_MODE='"reduced"' -DBOX_LEAF=0 \
	-DBOX_ORDINARY=true
tests_unit_box_common_reduced_user_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS)
box_reduced_test_sources = tests/unit/box_reduced_test.c $(box_rig)
tests_unit_box_reduced_test_SOURCES = $(box_reduced_test_sources)
tests_unit_box_reduced_test_CPPFLAGS = $(TEST_CPPFLAGS)
tests_unit_box_reduced_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS)
tests_unit_box_reduced_user_test_SOURCES = $(box_reduced_test_sources)
tests_unit_box_reduced_user_test_CPPFLAGS = $(TEST_CPPFLAGS) -DBOX_ORDINARY=true
tests_unit_box_reduced_user_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS)
tests_unit_warden_test_SOURCES = tests/unit/warden_test.c tests/unit/ordinary.h tests/unit/warden_fixture.c tests/unit/warden_fixture.h \
	plugins/warden/find.c plugins/warden/sha256.c plugins/warden/util.c plugins/warden/wire.c plugins/warden/warden.h
tests_unit_warden_test_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)
tests_unit_warden_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS)
endif

# Both ends of the stream; FUZZ_* are the gateway's room's.
check_PROGRAMS += tests/fuzz/warden_fuzz
if !FUZZ
TESTS += tests/fuzz/warden_fuzz
endif
tests_fuzz_warden_fuzz_SOURCES = tests/fuzz/warden_fuzz.c tests/fuzz/fuzz.h plugins/warden/artefact.c plugins/warden/files.c plugins/warden/sha256.c \
	plugins/warden/util.c plugins/warden/wire.c plugins/warden/sys.h plugins/warden/warden.h $(FUZZ_DRIVER)
tests_fuzz_warden_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_warden_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_warden_fuzz_LDADD = $(SDK_LIBS)
