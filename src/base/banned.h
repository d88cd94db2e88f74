/*
 * banned: functions that fail to compile, with what to use instead.  Included into every file by
 * the build.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Some are macros here and there (glibc's alloca, _FORTIFY_SOURCE with clang), and a macro cannot
 * be poisoned. */
#undef strcpy
#undef strcat
#undef sprintf
#undef vsprintf
#undef strncpy
#undef strncat
#undef gets
#undef alloca

#pragma GCC poison strcpy strcat sprintf vsprintf strtok gets
#pragma GCC poison atoi atol atoll
#pragma GCC poison gmtime localtime ctime asctime
#pragma GCC poison alloca strncpy strncat tmpnam mktemp
/* strcpy, sprintf: snprintf or buf_addf.  atoi: text_parse_u64.  gmtime: text_time.  alloca:
 * mem_array. */
