#include "cmd/rows.h"

void
rows_add(struct rows *r, struct bytes record)
{
	array_push(&r->all, BYTES(mem_dup(record.at, record.len), record.len));
}

void
rows_clear(struct rows *r)
{
	array_each (row, &r->all)
		free((void *)(uintptr_t)row->at);
	array_clear(&r->all);
}
