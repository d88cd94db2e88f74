/*
 * banned: functions that fail to compile.  Included into every file by the build.  Each name
 * becomes one that does not exist and says what to use instead.
 */
#pragma once

/* Whatever declares them comes first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Some are macros here and there: glibc's alloca, _FORTIFY_SOURCE with clang. */
#undef strcpy
#undef strcat
#undef sprintf
#undef vsprintf
#undef strncpy
#undef strncat
#undef gets
#undef alloca

/* no bounds, or bounds that are not what they seem */
#define strcpy   banned_use_snprintf_or_buf_addf
#define strcat   banned_use_snprintf_or_buf_addf
#define strncpy  banned_use_snprintf_or_memcpy
#define strncat  banned_use_snprintf_or_buf_addf
#define sprintf  banned_use_snprintf_or_buf_addf
#define vsprintf banned_use_vsnprintf
#define gets     banned_use_fgets
#define alloca   banned_use_mem_array

/* no errors */
#define atoi  banned_use_text_parse_u64
#define atol  banned_use_text_parse_u64
#define atoll banned_use_text_parse_u64

/* state that all threads share */
#define strtok    banned_use_strtok_r_or_strsep
#define gmtime    banned_use_text_time_rfc3339_or_gmtime_r
#define localtime banned_use_text_time_or_localtime_r
#define ctime     banned_use_text_time
#define asctime   banned_use_text_time

/* a name that somebody else may take before it is opened */
#define tmpnam banned_use_fs_create_unnamed_or_mkdtemp
#define mktemp banned_use_fs_create_unnamed_or_mkdtemp
