# plugins/sandbox_native: the driver that starts wardens on this machine
plugins_LTLIBRARIES += plugins/sandbox_native/assay_sandbox_native.la
plugins_sandbox_native_assay_sandbox_native_la_SOURCES = \
	plugins/sandbox_native/plugin.c plugins/sandbox_native/driver.c plugins/sandbox_native/doctor.c \
	plugins/sandbox_native/paths.c plugins/sandbox_native/probe.c plugins/sandbox_native/spawn.c \
	plugins/sandbox_native/local.h
plugins_sandbox_native_assay_sandbox_native_la_CPPFLAGS = $(SDK_CPPFLAGS)
plugins_sandbox_native_assay_sandbox_native_la_CFLAGS = $(AM_CFLAGS)
plugins_sandbox_native_assay_sandbox_native_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_sandbox_native_assay_sandbox_native_la_LIBADD = $(SDK_LIBS)
