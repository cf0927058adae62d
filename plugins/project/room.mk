# plugins/project: the program that builds and tests a project inside a box. Static, so that it runs in any root; includes nothing of ours.
pkglibexec_PROGRAMS += assay-project
assay_project_SOURCES = plugins/project/main.c
assay_project_CFLAGS = $(WARN_CFLAGS) $(HARDEN_CFLAGS)
assay_project_LDFLAGS = $(HARDEN_LDFLAGS) -all-static
