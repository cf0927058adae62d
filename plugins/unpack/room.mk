# plugins/unpack: the program that unpacks submitted archives inside a box. Includes the sdk and libarchive; the sdk wants sodium.
pkglibexec_PROGRAMS += assay-unpack
assay_unpack_SOURCES = plugins/unpack/main.c plugins/unpack/names.c plugins/unpack/unpack.c plugins/unpack/unpack.h
assay_unpack_CPPFLAGS = $(SDK_CPPFLAGS) $(LIBARCHIVE_CFLAGS)
if STATIC_UNPACK
# static: it must run in images that have no libarchive (-all-static is libtool's word for -static); and so never sanitized
assay_unpack_CFLAGS = $(WARN_CFLAGS) $(HARDEN_CFLAGS)
assay_unpack_LDFLAGS = $(HARDEN_LDFLAGS) -all-static
assay_unpack_LDADD = plugins/sdk/libassay_sdk.a $(ARCHIVESTATIC_LIBS) $(SODIUM_LIBS)
else
assay_unpack_CFLAGS = $(AM_CFLAGS)
assay_unpack_LDADD = $(SDK_LIBS) $(LIBARCHIVE_LIBS)
endif

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/unpack_test
TESTS += tests/unit/unpack_test
tests_unit_unpack_test_SOURCES = tests/unit/unpack_test.c plugins/unpack/names.c plugins/unpack/unpack.c plugins/unpack/unpack.h
tests_unit_unpack_test_CPPFLAGS = $(TEST_CPPFLAGS) -I$(top_srcdir)/plugins/unpack $(LIBARCHIVE_CFLAGS)
tests_unit_unpack_test_LDADD = $(SDK_LIBS) $(CMOCKA_LIBS) $(LIBARCHIVE_LIBS)
endif

# FUZZ_* are the gateway's room's
check_PROGRAMS += tests/fuzz/unpack_fuzz
if !FUZZ
TESTS += tests/fuzz/unpack_fuzz
endif
tests_fuzz_unpack_fuzz_SOURCES = tests/fuzz/unpack_fuzz.c tests/fuzz/fuzz.h plugins/unpack/names.c plugins/unpack/unpack.c $(FUZZ_DRIVER)
tests_fuzz_unpack_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS) $(LIBARCHIVE_CFLAGS)
tests_fuzz_unpack_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_unpack_fuzz_LDADD = $(SDK_LIBS) $(LIBARCHIVE_LIBS)
