# gateway: the server program. Three libraries' worth of rooms; each takes the flags of the library it wraps.

# ---- the HTTP front, the router, the auth gate -------------------------------------------------------
noinst_HEADERS += gateway/http.h gateway/router.h gateway/gate.h gateway/problem.h
