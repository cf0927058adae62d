# gateway: the server program. Each part takes the flags of the library it wraps and no other's.

# ---- the HTTP front, the router, the auth gate -------------------------------------------------------
# llhttp: generated C of the system's, so without our warnings; strict, or the front refuses to start.
noinst_LTLIBRARIES += gateway/libassay_llhttp.la
gateway_libassay_llhttp_la_SOURCES = gateway/llhttp_api.c gateway/llhttp_machine.c
gateway_libassay_llhttp_la_CPPFLAGS = -I$(LLHTTP_INC) -I$(LLHTTP_SRC) -DLLHTTP_STRICT_MODE=1
gateway_libassay_llhttp_la_CFLAGS = -std=gnu17 -w $(HARDEN_CFLAGS) $(SAN_CFLAGS)

noinst_LTLIBRARIES += gateway/libassay_front.la
gateway_libassay_front_la_SOURCES = \
	gateway/problem.c gateway/problem.h gateway/router.c gateway/router.h \
	gateway/http.h gateway/gate.h
gateway_libassay_front_la_CPPFLAGS = $(SDK_CPPFLAGS) -I$(top_srcdir) -isystem $(LLHTTP_INC) -DLLHTTP_STRICT_MODE=1 \
	$(LIBEVENT_CFLAGS) $(LIBJWT_CFLAGS) $(SODIUM_CFLAGS)
gateway_libassay_front_la_LIBADD = gateway/libassay_llhttp.la queue/libassay_queue.la $(SDK_LIBS) \
	$(LIBEVENT_LIBS) $(LIBJWT_LIBS) $(SODIUM_LIBS)
