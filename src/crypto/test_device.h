/* test_device: a device of a test: its key, and TLS with it. */
#pragma once

#include "tests/unit.h"

#include "crypto/device_key.h"
#include "crypto/tls.h"

/* Gives both. */
static inline void
test_device(struct device_key **ret_key, struct tls_ctx **ret)
{
	assert_ok(device_key_generate(ret_key, &unit_error));
	assert_ok(tls_ctx_new(*ret_key, ret, &unit_error));
}
