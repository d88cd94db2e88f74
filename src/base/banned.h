/*
 * banned: functions that fail to compile, with what to use instead.  Included into every file by the build.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#pragma GCC poison strcpy strcat sprintf vsprintf strtok gets
#pragma GCC poison atoi atol atoll
#pragma GCC poison gmtime localtime ctime asctime
#pragma GCC poison alloca strncpy strncat tmpnam mktemp
/* strcpy, sprintf: snprintf or buf_addf.  atoi: text_parse_u64.  gmtime: text_time.  alloca: mem_array. */
