# plugins/warden: the static supervisor that makes and watches boxes. Includes nothing of ours but the wire's header.
pkglibexec_PROGRAMS += assay-warden
warden_sources = \
	plugins/warden/artefact.c plugins/warden/box.c plugins/warden/files.c plugins/warden/init.c plugins/warden/leaf.c \
	plugins/warden/root.c plugins/warden/seccomp.c plugins/warden/sha256.c plugins/warden/sys.h plugins/warden/util.c \
	plugins/warden/warden.h plugins/warden/watch.c plugins/warden/wire.c
assay_warden_SOURCES = plugins/warden/main.c $(warden_sources)
assay_warden_CPPFLAGS = $(SDK_CPPFLAGS)
if SANITIZED
assay_warden_LDFLAGS = $(AM_LDFLAGS)
else
# -all-static: libtool's word for -static; it must run in roots that have no libc of ours
assay_warden_LDFLAGS = $(AM_LDFLAGS) -all-static
endif
