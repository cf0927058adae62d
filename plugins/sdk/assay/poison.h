/*
 * Functions that no file of this house calls: unbounded, locale-dependent or easily misused.
 * The compiler is told to include this first; the headers that declare them come before.
 */
#ifndef ASSAY_POISON_H
#define ASSAY_POISON_H
#include <alloca.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#undef strcpy
#undef strcat
#undef strtok
#undef alloca
#undef sprintf
#pragma GCC poison strcpy strcat sprintf vsprintf strtok atoi atol atoll gets alloca
#endif
