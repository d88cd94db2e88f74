/*
 * array: a growable array of one type: `struct { T *at; size_t len, room; }` declared by ARRAY(T).
 * Zero is the empty array.  Growth doubles; the caller bounds what comes from outside.
 */
#pragma once

#include "base/mem.h"

/* How much to make room for, when ROOM is too little for N. */
static inline size_t
array_room(size_t room, size_t n)
{
	size_t twice = max_of(room * 2, (size_t)8);

	return max_of(twice, n);
}

#define ARRAY(T)                                                                                   \
	struct {                                                                                   \
		T *at;                                                                             \
		size_t len, room;                                                                  \
	}
#define array_reserve(a, n)                                                                        \
	do {                                                                                       \
		if ((a)->room < (n)) {                                                             \
			(a)->room = array_room((a)->room, (n));                                    \
			(a)->at = mem_realloc((a)->at, (a)->room * sizeof *(a)->at);               \
		}                                                                                  \
	} while (0)
#define array_push(a, x)                                                                           \
	do {                                                                                       \
		array_reserve((a), (a)->len + 1);                                                  \
		(a)->at[(a)->len++] = (x);                                                         \
	} while (0)
#define array_pop(a) ((a)->at[--(a)->len])
/* Removes element I by moving the last one there: the order changes. */
#define array_swap_out(a, i) ((a)->at[i] = (a)->at[--(a)->len])
/* Takes out the element that equals X, if there is one, in the same way. */
#define array_remove(a, x)                                                                         \
	do {                                                                                       \
		size_t i_ = 0;                                                                     \
		while (i_ < (a)->len && (a)->at[i_] != (x))                                        \
			i_++;                                                                      \
		if (i_ < (a)->len)                                                                 \
			array_swap_out((a), i_);                                                   \
	} while (0)
#define array_clear(a)                                                                             \
	do {                                                                                       \
		free((a)->at);                                                                     \
		(a)->at = NULL;                                                                    \
		(a)->len = (a)->room = 0;                                                          \
	} while (0)
/* An empty array may have no memory: nothing is added to its NULL. */
#define array_each(it, a)                                                                          \
	for (__typeof__(*(a)->at) *it = (a)->at; it != NULL && it < (a)->at + (a)->len; it++)
