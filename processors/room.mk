# processors: what is not code is done by programs that are described here, one file each (docs/image-filters.md)
processorsdir = $(pkgdatadir)/processors
dist_processors_DATA = processors/image.json
