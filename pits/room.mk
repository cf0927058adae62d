# pits: how projects are built and tested, one file each; the projects to try them with are under fixtures/pits
pitsdir = $(pkgdatadir)/pits
dist_pits_DATA = pits/c-cmake-stack.json pits/default.json pits/java-maven-dummy-dev.json pits/javascript-node-words.json \
	pits/python-pytest-words.json
EXTRA_DIST += fixtures/pits
