# plugins/imgfilter: the program that filters images inside a box. Includes libpng, libjpeg-turbo, pixman and libexif, and nothing of ours.
pkglibexec_PROGRAMS += assay-imgfilter
assay_imgfilter_SOURCES = plugins/imgfilter/main.c plugins/imgfilter/codec.c plugins/imgfilter/filters.c plugins/imgfilter/imgfilter.h
assay_imgfilter_CPPFLAGS = $(IMAGES_CFLAGS)
if STATIC_IMGFILTER
# static: it must run in images that have none of its libraries; and so never sanitized
assay_imgfilter_CFLAGS = $(WARN_CFLAGS) $(HARDEN_CFLAGS)
assay_imgfilter_LDFLAGS = $(HARDEN_LDFLAGS) -all-static
assay_imgfilter_LDADD = $(IMAGESTATIC_LIBS)
else
assay_imgfilter_CFLAGS = $(AM_CFLAGS)
assay_imgfilter_LDADD = $(IMAGES_LIBS) -lm
endif

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/imgfilter_test
TESTS += tests/unit/imgfilter_test
tests_unit_imgfilter_test_SOURCES = tests/unit/imgfilter_test.c plugins/imgfilter/codec.c plugins/imgfilter/filters.c plugins/imgfilter/imgfilter.h
tests_unit_imgfilter_test_CPPFLAGS = $(CMOCKA_CFLAGS) $(IMAGES_CFLAGS) -I$(top_srcdir)/plugins/imgfilter
tests_unit_imgfilter_test_LDADD = $(CMOCKA_LIBS) $(IMAGES_LIBS) -lm
endif

EXTRA_DIST += tests/parts/pictures.py

# FUZZ_* are the gateway's room's
check_PROGRAMS += tests/fuzz/imgfilter_fuzz
if !FUZZ
TESTS += tests/fuzz/imgfilter_fuzz
endif
tests_fuzz_imgfilter_fuzz_SOURCES = tests/fuzz/imgfilter_fuzz.c tests/fuzz/fuzz.h plugins/imgfilter/codec.c plugins/imgfilter/filters.c $(FUZZ_DRIVER)
tests_fuzz_imgfilter_fuzz_CPPFLAGS = $(FUZZ_CPPFLAGS) $(IMAGES_CFLAGS)
tests_fuzz_imgfilter_fuzz_LDFLAGS = $(FUZZ_LINK)
tests_fuzz_imgfilter_fuzz_LDADD = $(SDK_LIBS) $(IMAGES_LIBS) -lm
