# cli/sets: data sets of functions with hidden tests, a part of the client (cli/room.mk links it). The programs that stand
# around submissions are the files below datasets/, put into the client as C strings.
SETS_SOURCES = cli/sets/sets.h cli/sets/formats.c cli/sets/languages.c cli/sets/import.c cli/sets/submit.c

PY_SET = $(top_srcdir)/datasets/python
JS_SET = $(top_srcdir)/datasets/javascript
set_programs = $(PY_SET)/values.py $(PY_SET)/program.py $(PY_SET)/test.py $(PY_SET)/prove.py $(PY_SET)/record.py \
	$(JS_SET)/values.js $(JS_SET)/program.js $(JS_SET)/test.js $(JS_SET)/prove.js $(JS_SET)/record.js
nodist_assay_SOURCES = cli/sets/programs.c
CLEANFILES += cli/sets/programs.c
EXTRA_DIST += datasets/embed.awk datasets/python/values.py datasets/python/program.py datasets/python/test.py datasets/python/prove.py \
	datasets/python/record.py datasets/javascript/values.js datasets/javascript/program.js datasets/javascript/test.js \
	datasets/javascript/prove.js datasets/javascript/record.js
cli/sets/programs.c: $(top_srcdir)/datasets/embed.awk $(set_programs)
	$(AM_V_GEN)mkdir -p cli/sets && $(AWK) -f $(top_srcdir)/datasets/embed.awk \
	  set_python_program $(PY_SET)/values.py $(PY_SET)/program.py \
	  set_python_prove $(PY_SET)/values.py $(PY_SET)/test.py $(PY_SET)/prove.py \
	  set_python_record $(PY_SET)/values.py $(PY_SET)/test.py $(PY_SET)/record.py \
	  set_javascript_program $(JS_SET)/values.js $(JS_SET)/program.js \
	  set_javascript_prove $(JS_SET)/values.js $(JS_SET)/test.js $(JS_SET)/prove.js \
	  set_javascript_record $(JS_SET)/values.js $(JS_SET)/test.js $(JS_SET)/record.js >$@.tmp && mv $@.tmp $@
