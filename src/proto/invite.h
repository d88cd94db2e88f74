/*
 * invite: one pasteable string that lets a machine join: "weft1-" and base32 of
 *   version u8 | server device id 32 | invite id 8 | secret 16 | addresses (count u8, then length
 *   u8 and text each) | first 4 bytes of the SHA-256 of all that (so a mistyped character is told
 *   as such)
 * The text holds a secret: never log it.
 *
 * Pure.
 */
#pragma once

#include "base/buf.h"
#include "crypto/device_key.h"
#include "proto/limits.h"

enum { INVITE_ID_BYTES = 8, INVITE_SECRET_BYTES = 16, INVITE_TEXT_MAX = 4096 };

struct invite {
	struct device_id server;
	uint8_t id[INVITE_ID_BYTES];
	uint8_t secret[INVITE_SECRET_BYTES];
	uint8_t n_addresses;
	char addresses[LIMIT_ADDRESSES][LIMIT_ADDRESS_TEXT + 1]; /* "host:port" */
};
enum err invite_format(const struct invite *in, struct buf *out, struct error *e) must_check;
/* ERR_USAGE says what is wrong with it: "not an invite", "mistyped or cut off", "made by a newer
 * weft". */
enum err invite_parse(const char *text, struct invite *ret, struct error *e) must_check;
/* What JOIN proves: HMAC-SHA-256(SECRET, exporter | invite id | device id). */
void invite_proof(const uint8_t secret[static INVITE_SECRET_BYTES],
    const uint8_t exporter[static 32], const uint8_t id[static INVITE_ID_BYTES],
    const struct device_id *device, uint8_t out[static 32]);
/* "host", "host:port", "1.2.3.4:7470", "[::1]:7470": splits, checks; PORT is DEFAULT_PORT when
 * absent. */
enum { DEFAULT_PORT = 7470 };
bool invite_address_parse(
    const char *text, char host[static LIMIT_ADDRESS_TEXT + 1], uint16_t *ret_port);
