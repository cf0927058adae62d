# languages: definitions, one file each; a new language needs a file and no code
languagesdir = $(pkgdatadir)/languages
dist_languages_DATA = languages/bash.json languages/c-clang.json languages/c.json languages/cpp-clang.json \
	languages/cpp.json languages/go.json languages/java.json languages/javascript.json languages/lua.json \
	languages/perl.json languages/php.json languages/python.json languages/ruby.json languages/rust.json
