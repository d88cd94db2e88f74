#include "session/rules.h"

#include "base/mem.h"

#define IN(s) (1u << SESSION_##s)
static const struct {
	enum rules_role role;
	unsigned states; /* in which it may arrive */
	uint16_t answer; /* of a REQUEST */
} rules[] = {
	[FRAME_HELLO] = { ROLE_CONTROL, IN(GREETING) },
	[FRAME_ERROR] = { ROLE_ERROR, IN(GREETING) | IN(GUEST) | IN(READY) },
	[FRAME_BYE] = { ROLE_CONTROL, IN(GREETING) | IN(GUEST) | IN(READY) },
	[FRAME_PING] = { ROLE_CONTROL, IN(GUEST) | IN(READY) },
	[FRAME_PONG] = { ROLE_CONTROL, IN(GUEST) | IN(READY) },
	[FRAME_JOIN] = { ROLE_REQUEST, IN(GUEST) | IN(READY), FRAME_JOINED },
	[FRAME_JOINED] = { ROLE_ANSWER, IN(READY) },
	[FRAME_LEAVE] = { ROLE_REQUEST, IN(READY), FRAME_OK },
	[FRAME_OK] = { ROLE_ANSWER, IN(READY) },
	[FRAME_STATEMENTS] = { ROLE_PUSH, IN(READY) },
	[FRAME_CREATE_SHARE] = { ROLE_REQUEST, IN(READY), FRAME_SNAPSHOT },
	[FRAME_RESOLVE] = { ROLE_REQUEST, IN(READY), FRAME_SNAPSHOT },
	[FRAME_SNAPSHOT] = { ROLE_ANSWER, IN(READY) },
	[FRAME_ANNOUNCE] = { ROLE_REQUEST, IN(READY), FRAME_OK },
	[FRAME_PROGRESS] = { ROLE_PUSH, IN(READY) },
	[FRAME_QUERY] = { ROLE_REQUEST, IN(READY), FRAME_ROWS },
	[FRAME_ROWS] = { ROLE_ANSWER, IN(READY) },
	[FRAME_GET_NODES] = { ROLE_REQUEST, IN(READY), FRAME_NODE },
	[FRAME_NODE] = { ROLE_ANSWER, IN(READY) },
	[FRAME_GET_UNITS] = { ROLE_REQUEST, IN(READY), FRAME_DATA },
	[FRAME_DATA] = { ROLE_ANSWER, IN(READY) },
	[FRAME_CANCEL] = { ROLE_CANCEL, IN(READY) },
	[FRAME_REPORT] = { ROLE_PUSH, IN(READY) },
	[FRAME_ENTER] = { ROLE_PUSH, IN(READY) },
	[FRAME_NEWS] = { ROLE_PUSH, IN(READY) },
	[FRAME_EXIT] = { ROLE_PUSH, IN(READY) },
	[FRAME_MEMBERS] = { ROLE_PUSH, IN(READY) },
	[FRAME_OFFER] = { ROLE_PUSH, IN(READY) },
	[FRAME_DECLINE] = { ROLE_PUSH, IN(READY) },
	[FRAME_NEAR] = { ROLE_PUSH, IN(READY) },
	[FRAME_PLACED] = { ROLE_PUSH, IN(READY) },
	[FRAME_DEMAND] = { ROLE_PUSH, IN(READY) },
	[FRAME_LEASE] = { ROLE_PUSH, IN(READY) },
	[FRAME_DIAL] = { ROLE_PUSH, IN(READY) },
	[FRAME_CALL] = { ROLE_PUSH, IN(READY) },
};

enum rules_role
rules_role(uint16_t type)
{
	return type < lengthof(rules) ? rules[type].role : ROLE_UNKNOWN;
}

bool
rules_may(uint16_t type, enum session_state state)
{
	return type < lengthof(rules) && (rules[type].states & (1u << state)) != 0;
}

uint16_t
rules_answer(uint16_t request)
{
	return request < lengthof(rules) ? rules[request].answer : 0;
}
