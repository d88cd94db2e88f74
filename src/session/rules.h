/*
 * rules: who may say what, when: one row per frame type.
 */
#pragma once

#include "session/session.h"

enum rules_role {
	ROLE_UNKNOWN,
	ROLE_CONTROL, /* of the connection: stream 0 */
	ROLE_PUSH,    /* stream 0 */
	ROLE_REQUEST, /* opens a stream of the sender's parity */
	ROLE_ANSWER,  /* on a stream that we opened */
	ROLE_ERROR,   /* either of: stream 0, or an answer */
	ROLE_CANCEL,  /* on a stream that the sender opened */
};

enum rules_role rules_role(uint16_t type);
bool rules_may(uint16_t type, enum session_state state); /* arrive */
uint16_t rules_answer(uint16_t request);
