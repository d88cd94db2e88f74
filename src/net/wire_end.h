/*
 * wire_end: the states of a wire, and the ways in which it comes to its end.
 */
#pragma once

#include "net/wire_private.h"

void wire_end_enter(struct wire *w, enum wire_state next);
/* Nothing more is read or written; on_down is told at the end of the turn.  WHY NULL: a clean
 * end; the first reason stays. */
void wire_end_with(struct wire *w, const struct error *why);
void wire_end_lost(struct wire *w, int sys); /* ... with errno SYS */
/*
 * The other side no longer takes what we send.  It may have said why before it went, so what it
 * sent is read to the end first, unless nobody reads.
 */
void wire_end_mute(struct wire *w, int sys);
enum err wire_end_fail_lost(struct error *e, int sys);
/* Until the state that it is in must be over. */
void wire_end_set_deadline(struct wire *w, uint64_t ms);
void wire_end_drop_deadline(struct wire *w);
