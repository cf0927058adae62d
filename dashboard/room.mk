# dashboard: the web pages. Built with npm's libraries by `make dashboard`, apart from all else, so that a build needs no npm;
# what was built is installed and served with the rest.
DASHBOARD_WWW = $(abs_top_srcdir)/build/dashboard/www
EXTRA_DIST += dashboard/README.md dashboard/build dashboard/build.mjs dashboard/package.json dashboard/package-lock.json dashboard/.npmrc dashboard/swagger/index.html \
	dashboard/swagger/start.js dashboard/swagger/contrast.css dashboard/src
install-data-local:
	@test ! -f '$(DASHBOARD_WWW)/index.html' || { \
	  rm -rf '$(DESTDIR)$(pkgdatadir)/www' && \
	  for f in $$(cd '$(DASHBOARD_WWW)' && find . -type f); do \
	    $(INSTALL) -D -m 644 "$(DASHBOARD_WWW)/$$f" "$(DESTDIR)$(pkgdatadir)/www/$$f" || exit 1; done; }
uninstall-local:
	rm -rf '$(DESTDIR)$(pkgdatadir)/www'
