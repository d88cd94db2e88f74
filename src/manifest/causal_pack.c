#include "manifest/causal_pack.h"

#include "base/mem.h"

/* An entry has at most 18 dots, so an index is always below FULL + 18 and one byte is enough. */
enum { FULL = 128, ROOM = FULL + 2 + CAUSAL_SIBLINGS_MAX };

struct causal_pack {
	uint8_t n;
	struct device_id devices[ROOM]; /* in the order of their first use */
	struct buf out;
};

struct causal_pack *
causal_pack_new(void)
{
	struct causal_pack *p = mem_new(struct causal_pack);

	p->out = BUF(2 * NODE_ENTRY_MAX);
	return p;
}

void
causal_pack_free(struct causal_pack *p)
{
	if (p == NULL)
		return;
	buf_clear(&p->out);
	free(p);
}

void
causal_pack_reset(struct causal_pack *p)
{
	p->n = 0;
}

bool
causal_pack_is_full(const struct causal_pack *p)
{
	return p->n >= FULL;
}

static uint8_t
find(const struct causal_pack *p, const struct device_id *d)
{
	uint8_t i = 0;

	while (i < p->n && !device_id_equal(&p->devices[i], d))
		i++;
	return i;
}

static void
add(struct causal_pack *p, const struct device_id *d, struct reader *r)
{
	if (p->n == ROOM)
		r->bad = true;
	else
		p->devices[p->n++] = *d;
}

static void
close_device(struct causal_pack *p, struct reader *r)
{
	struct device_id d;

	reader_copy(r, &d, sizeof d);
	uint8_t i = find(p, &d);
	buf_u8(&p->out, i);
	if (i < p->n)
		return;
	buf_add(&p->out, &d, sizeof d);
	add(p, &d, r);
}

static void
open_device(struct causal_pack *p, struct reader *r)
{
	uint8_t i = reader_u8(r);

	if (i == p->n) {
		struct device_id d;
		reader_copy(r, &d, sizeof d);
		if (find(p, &d) < p->n)
			r->bad = true; /* it has an index already: one encoding only */
		add(p, &d, r);
	}
	if (r->bad || i >= p->n)
		r->bad = true;
	else
		buf_add(&p->out, &p->devices[i], sizeof p->devices[i]);
}

typedef void recode_device(struct causal_pack *p, struct reader *r);

static void
recode_dot(struct causal_pack *p, struct reader *r, recode_device *device)
{
	device(p, r);
	buf_varint(&p->out, reader_varint(r));
}

static void
recode_siblings(struct causal_pack *p, struct reader *r, recode_device *device)
{
	uint8_t n = reader_u8(r);

	buf_u8(&p->out, n);
	if (n > CAUSAL_SIBLINGS_MAX)
		r->bad = true;
	for (uint8_t i = 0; i < n && !r->bad; i++) {
		recode_dot(p, r, device);
		uint64_t len = reader_varint(r);
		buf_varint(&p->out, len);
		buf_add_bytes(&p->out, reader_take(r, min_of(len, (uint64_t)SIZE_MAX)));
	}
}

/* What the two forms share is copied; what it means is checked by causal_entry_decode. */
static struct bytes
recode(struct causal_pack *p, struct bytes value, struct reader *ret_bad, recode_device *device)
{
	struct reader r = reader_over(value);

	buf_reset(&p->out);
	buf_add_bytes(&p->out, reader_take(&r, ENTRY_ID_BYTES));
	uint8_t parts = reader_u8(&r);
	buf_u8(&p->out, parts);
	recode_dot(p, &r, device);
	if (parts & CAUSAL_PART_NAME_DOT)
		recode_dot(p, &r, device);
	if (parts & CAUSAL_PART_DIR)
		buf_add_bytes(&p->out, reader_take(&r, HASH_ID_BYTES));
	if (parts & CAUSAL_PART_SIBLINGS)
		recode_siblings(p, &r, device);
	if (!reader_done(&r) || p->out.full)
		ret_bad->bad = true;
	return buf_bytes(&p->out);
}

struct bytes
causal_pack_close(struct causal_pack *p, struct bytes plain, struct reader *r)
{
	return recode(p, plain, r, close_device);
}

struct bytes
causal_pack_open(struct causal_pack *p, struct bytes packed, struct reader *r)
{
	return recode(p, packed, r, open_device);
}
