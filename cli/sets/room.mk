# cli/sets: data sets of functions with hidden tests, a part of the client (cli/room.mk links it). The programs that stand
# around submissions are the files below datasets/, put into the client as C strings.
SETS_SOURCES = cli/sets/sets.h cli/sets/compose.c cli/sets/formats.c cli/sets/languages.c cli/sets/import.c cli/sets/submit.c

PY_SET = $(top_srcdir)/datasets/python
JS_SET = $(top_srcdir)/datasets/javascript
CPP_SET = $(top_srcdir)/datasets/cpp
GO_SET = $(top_srcdir)/datasets/go
JAVA_SET = $(top_srcdir)/datasets/java
set_programs = $(PY_SET)/values.py $(PY_SET)/program.py $(PY_SET)/test.py $(PY_SET)/prove.py $(PY_SET)/record.py \
	$(JS_SET)/values.js $(JS_SET)/program.js $(JS_SET)/test.js $(JS_SET)/prove.js $(JS_SET)/record.js \
	$(CPP_SET)/values.cpp $(CPP_SET)/program.cpp $(CPP_SET)/prove.cpp $(CPP_SET)/record.cpp \
	$(GO_SET)/imports.go $(GO_SET)/values.go $(GO_SET)/program.go $(GO_SET)/test.go $(GO_SET)/prove.go $(GO_SET)/record.go \
	$(JAVA_SET)/values.java $(JAVA_SET)/program.java $(JAVA_SET)/prove.java $(JAVA_SET)/record.java
nodist_assay_SOURCES = cli/sets/programs.c
CLEANFILES += cli/sets/programs.c
EXTRA_DIST += datasets/embed.awk datasets/python/values.py datasets/python/program.py datasets/python/test.py datasets/python/prove.py \
	datasets/python/record.py datasets/javascript/values.js datasets/javascript/program.js datasets/javascript/test.js \
	datasets/javascript/prove.js datasets/javascript/record.js
EXTRA_DIST += datasets/cpp/values.cpp datasets/cpp/program.cpp datasets/cpp/prove.cpp datasets/cpp/record.cpp
EXTRA_DIST += datasets/go/imports.go datasets/go/values.go datasets/go/program.go datasets/go/test.go datasets/go/prove.go datasets/go/record.go
EXTRA_DIST += datasets/java/values.java datasets/java/program.java datasets/java/prove.java datasets/java/record.java
cli/sets/programs.c: $(top_srcdir)/datasets/embed.awk $(set_programs)
	$(AM_V_GEN)mkdir -p cli/sets && $(AWK) -f $(top_srcdir)/datasets/embed.awk \
	  set_python_program $(PY_SET)/values.py $(PY_SET)/program.py \
	  set_python_prove $(PY_SET)/values.py $(PY_SET)/test.py $(PY_SET)/prove.py \
	  set_python_record $(PY_SET)/values.py $(PY_SET)/test.py $(PY_SET)/record.py \
	  set_cpp_program $(CPP_SET)/values.cpp $(CPP_SET)/program.cpp \
	  set_cpp_prove $(CPP_SET)/values.cpp $(CPP_SET)/prove.cpp \
	  set_cpp_record $(CPP_SET)/values.cpp $(CPP_SET)/record.cpp \
	  set_go_program $(GO_SET)/imports.go $(GO_SET)/values.go $(GO_SET)/program.go \
	  set_go_prove $(GO_SET)/imports.go $(GO_SET)/values.go $(GO_SET)/test.go $(GO_SET)/prove.go \
	  set_go_record $(GO_SET)/imports.go $(GO_SET)/values.go $(GO_SET)/test.go $(GO_SET)/record.go \
	  set_java_program $(JAVA_SET)/values.java $(JAVA_SET)/program.java \
	  set_java_prove $(JAVA_SET)/values.java $(JAVA_SET)/prove.java \
	  set_java_record $(JAVA_SET)/values.java $(JAVA_SET)/record.java \
	  set_javascript_program $(JS_SET)/values.js $(JS_SET)/program.js \
	  set_javascript_prove $(JS_SET)/values.js $(JS_SET)/test.js $(JS_SET)/prove.js \
	  set_javascript_record $(JS_SET)/values.js $(JS_SET)/test.js $(JS_SET)/record.js >$@.tmp && mv $@.tmp $@
