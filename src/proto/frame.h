/*
 * frame: the first gate: cutting a byte stream into frames.
 *
 * Header, little-endian: payload length u32 | type u16 | flags u16 | stream u32.  A frame's type
 * says whether its payload is TLV fields (messages) or raw (DATA, NODE: a short fixed prefix, then
 * bytes that no codec touches).  The gate checks length, type and flags; whether the type is
 * allowed now is the session's business.
 *
 * Pure.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "proto/limits.h"

/* Numbers are for ever.  1..31 greeting, 32..63 authority and directory, 64..95 data,
 * 96..127 mesh. */
#define FRAME_TYPES(X)                                                                             \
	X(HELLO, 1)                                                                                \
	X(JOIN, 2)                                                                                 \
	X(JOINED, 3)                                                                               \
	X(ERROR, 4)                                                                                \
	X(PING, 5)                                                                                 \
	X(PONG, 6)                                                                                 \
	X(BYE, 7)                                                                                  \
	X(LEAVE, 8)                                                                                \
	X(OK, 9)                                                                                   \
	X(STATEMENTS, 32)                                                                          \
	X(CREATE_SHARE, 33)                                                                        \
	X(RESOLVE, 34)                                                                             \
	X(SNAPSHOT, 35)                                                                            \
	X(ANNOUNCE, 36)                                                                            \
	X(PROGRESS, 37)                                                                            \
	X(QUERY, 38)                                                                               \
	X(ROWS, 39)                                                                                \
	X(GET_NODES, 64)                                                                           \
	X(NODE, 65)                                                                                \
	X(GET_UNITS, 66)                                                                           \
	X(DATA, 67)                                                                                \
	X(CANCEL, 68)                                                                              \
	X(REPORT, 69)                                                                              \
	X(ENTER, 96)                                                                               \
	X(NEWS, 97)                                                                                \
	X(EXIT, 98)                                                                                \
	X(MEMBERS, 99)                                                                             \
	X(OFFER, 104)                                                                              \
	X(DECLINE, 105)                                                                            \
	X(NEAR, 112)                                                                               \
	X(PLACED, 113)                                                                             \
	X(DEMAND, 114)                                                                             \
	X(LEASE, 115)                                                                              \
	X(DIAL, 120)                                                                               \
	X(CALL, 121)

enum frame_type {
#define X(name, number) FRAME_##name = number,
	FRAME_TYPES(X)
#undef X
};
enum frame_flags {
	FRAME_END = 1,     /* the last frame of the answer on this stream */
	FRAME_MISSING = 2, /* NODE: not here; no bytes follow the prefix */
};

struct frame_header {
	uint32_t length; /* of the payload */
	uint16_t type, flags;
	/* 0: the connection itself; else the request, odd when the dialer opened it */
	uint32_t stream;
};
const char *frame_type_name(uint16_t type); /* "GET_UNITS"; NULL for an unknown one */
bool frame_type_is_raw(uint16_t type);
/* its one frame is the whole answer: FRAME_END is always set */
bool frame_type_ends(uint16_t type);
void frame_header_encode(const struct frame_header *h, uint8_t out[static LIMIT_FRAME_HEADER]);
/* GUEST: the peer is no member yet, so less is allowed.  Unknown types pass (they are skipped by
 * their length) within LIMIT_FRAME_MESSAGE, whatever their flags.  ERR_LIMIT: too long.  ERR_PROTO:
 * too short, or flags that the type does not have. */
enum err frame_header_decode(const uint8_t in[static LIMIT_FRAME_HEADER], bool guest,
    struct frame_header *ret, struct error *e) must_check;

/* DATA: unit u32 | first leaf u16 | leaves u16 | bytes of leaf lists u16 | codec u16, then lists,
 * then leaves.  The first leaf is counted within the unit.  DATA_ZSTD: the leaves, all of the frame
 * together, are one zstd frame; it comes only to who said in GET_UNITS that it understands that. */
enum data_codec { DATA_RAW = 0, DATA_ZSTD = 1 };
struct data_prefix {
	uint32_t unit;
	uint16_t first_leaf, n_leaves, lists_bytes;
	uint16_t codec; /* enum data_codec */
};
void frame_data_encode(const struct data_prefix *p, uint8_t out[static LIMIT_DATA_PREFIX]);
/* Splits PAYLOAD of a DATA frame; borrows it.  RET_LEAVES: as they came, packed or not. */
enum err frame_data_decode(struct bytes payload, struct data_prefix *ret, struct bytes *ret_lists,
    struct bytes *ret_leaves, struct error *e) must_check;
/* NODE: index u16 | 0 u16, then the node's bytes. */
enum { FRAME_NODE_PREFIX = 4 };
void frame_node_encode(uint16_t index, uint8_t out[static FRAME_NODE_PREFIX]);
/* Splits PAYLOAD of a NODE frame; borrows it.  The session has checked that the node is empty
 * exactly when the frame says FRAME_MISSING. */
enum err frame_node_decode(
    struct bytes payload, uint16_t *ret_index, struct bytes *ret_node, struct error *e) must_check;
