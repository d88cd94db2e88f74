/*
 * rows: records kept until they are printed.
 */
#pragma once

#include "base/array.h"
#include "base/bytes.h"

struct rows {
	ARRAY(struct bytes) all; /* owned copies */
};
void rows_add(struct rows *r, struct bytes record); /* copies */
void rows_clear(struct rows *r);
