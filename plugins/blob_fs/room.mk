# plugins/blob_fs: blobs as files. Includes the sdk, nothing else.
noinst_LTLIBRARIES += plugins/blob_fs/libblob_fs.la
plugins_blob_fs_libblob_fs_la_SOURCES = \
	plugins/blob_fs/local.h plugins/blob_fs/backup.c plugins/blob_fs/files.c plugins/blob_fs/name.c plugins/blob_fs/plugin.c
plugins_blob_fs_libblob_fs_la_CPPFLAGS = $(SDK_CPPFLAGS)
plugins_blob_fs_libblob_fs_la_CFLAGS = $(AM_CFLAGS)
plugins_blob_fs_libblob_fs_la_LIBADD = $(SDK_LIBS)

plugins_LTLIBRARIES += plugins/blob_fs/assay_blob_fs.la
plugins_blob_fs_assay_blob_fs_la_SOURCES =
plugins_blob_fs_assay_blob_fs_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_blob_fs_assay_blob_fs_la_LIBADD = plugins/blob_fs/libblob_fs.la

if HAVE_CMOCKA
check_PROGRAMS += tests/unit/blob_fs_test
TESTS += tests/unit/blob_fs_test
tests_unit_blob_fs_test_SOURCES = tests/unit/blob_fs_test.c tests/unit/store_host.h
tests_unit_blob_fs_test_CPPFLAGS = $(TEST_CPPFLAGS)
tests_unit_blob_fs_test_LDADD = plugins/blob_fs/libblob_fs.la $(SDK_LIBS) $(CMOCKA_LIBS) -lpthread
endif
