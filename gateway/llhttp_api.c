/* llhttp's calling side; see llhttp_machine.c. */
#include "api.c"
#include "http.c"
