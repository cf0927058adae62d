/* llhttp's calling side; see llhttp_machine.c.  Angle brackets: there is an http.c of ours in this folder. */
#include <api.c>
#include <http.c>
