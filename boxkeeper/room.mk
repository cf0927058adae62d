# boxkeeper: the small privileged process that loads the sandbox drivers. Includes the SDK only.
pkglibexec_PROGRAMS += assay-boxkeeper
assay_boxkeeper_SOURCES = boxkeeper/main.c boxkeeper/drivers.c boxkeeper/log.c boxkeeper/metrics.c \
	boxkeeper/options.c boxkeeper/peer.c boxkeeper/privilege.c boxkeeper/local.h
assay_boxkeeper_CPPFLAGS = $(SDK_CPPFLAGS)
assay_boxkeeper_CFLAGS = $(AM_CFLAGS) -fPIE
assay_boxkeeper_LDFLAGS = $(AM_LDFLAGS) -pie
assay_boxkeeper_LDADD = $(SDK_LIBS)
