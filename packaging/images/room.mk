# images: builds the language images from Debian packages; a definition and a lock for each
dist_bin_SCRIPTS = packaging/images/assay-images
imagesdir = $(pkgdatadir)/images
dist_images_DATA = packaging/images/setup.sh packaging/images/finish.sh \
	packaging/images/gcc.image packaging/images/gcc.lock \
	packaging/images/go.image packaging/images/go.lock \
	packaging/images/java.image packaging/images/java.lock \
	packaging/images/java-run.image packaging/images/java-run.lock \
	packaging/images/languages.image packaging/images/languages.lock \
	packaging/images/python.image packaging/images/python.lock \
	packaging/images/run.image packaging/images/run.lock
EXTRA_DIST += packaging/install-deps tests/images/rootfs.sh tests/images/test_images.py \
	packaging/compose.yaml packaging/compose/cgroup2.yaml packaging/compose/dev.env packaging/compose/env.example \
	packaging/compose/prometheus.yml packaging/compose/grafana-datasource.yml packaging/compose/grafana-dashboards.yml
