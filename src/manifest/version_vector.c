#include "manifest/version_vector.h"

void
version_vector_clear(struct version_vector *vv)
{
	array_clear(&vv->v);
}

static int
compare(const struct device_id *a, const struct device_id *b)
{
	return memcmp(a, b, sizeof *a);
}

/* Where D is, or would be. */
static size_t
place(const struct version_vector *vv, const struct device_id *d)
{
	size_t from = 0, to = vv->v.len;

	while (from < to) {
		size_t mid = from + (to - from) / 2;
		if (compare(&vv->v.at[mid].device, d) < 0)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

static bool
is_at(const struct version_vector *vv, size_t i, const struct device_id *d)
{
	return i < vv->v.len && device_id_equal(&vv->v.at[i].device, d);
}

uint64_t
version_vector_get(const struct version_vector *vv, const struct device_id *d)
{
	size_t i = place(vv, d);

	return is_at(vv, i, d) ? vv->v.at[i].seq : 0;
}

void
version_vector_raise(struct version_vector *vv, const struct device_id *d, uint64_t seq)
{
	size_t i = place(vv, d);

	if (seq == 0)
		return;
	if (is_at(vv, i, d)) {
		vv->v.at[i].seq = max_of(vv->v.at[i].seq, seq);
		return;
	}
	array_reserve(&vv->v, vv->v.len + 1);
	memmove(&vv->v.at[i + 1], &vv->v.at[i], (vv->v.len - i) * sizeof *vv->v.at);
	vv->v.at[i].device = *d;
	vv->v.at[i].seq = seq;
	vv->v.len++;
}

void
version_vector_copy(struct version_vector *to, const struct version_vector *from)
{
	if (to == from)
		return;
	array_reserve(&to->v, from->v.len);
	if (from->v.len > 0)
		memcpy(to->v.at, from->v.at, from->v.len * sizeof *to->v.at);
	to->v.len = from->v.len;
}

void
version_vector_merge(struct version_vector *to, const struct version_vector *from)
{
	struct version_vector both = { 0 };
	size_t a = 0, b = 0;

	if (from->v.len == 0 || to == from)
		return;
	array_reserve(&both.v, to->v.len + from->v.len);
	while (a < to->v.len || b < from->v.len) {
		int c = a == to->v.len     ? 1
			: b == from->v.len ? -1
					   : compare(&to->v.at[a].device, &from->v.at[b].device);
		both.v.at[both.v.len] = c <= 0 ? to->v.at[a] : from->v.at[b];
		if (c == 0)
			both.v.at[both.v.len].seq = max_of(to->v.at[a].seq, from->v.at[b].seq);
		both.v.len++;
		a += c <= 0;
		b += c >= 0;
	}
	version_vector_clear(to);
	*to = both;
}

bool
version_vector_covers(const struct version_vector *a, const struct version_vector *b)
{
	size_t i = 0;

	array_each (need, &b->v) {
		while (i < a->v.len && compare(&a->v.at[i].device, &need->device) < 0)
			i++;
		if (!is_at(a, i, &need->device) || a->v.at[i].seq < need->seq)
			return false;
	}
	return true;
}

bool
version_vector_equal(const struct version_vector *a, const struct version_vector *b)
{
	return a->v.len == b->v.len && version_vector_covers(a, b) && version_vector_covers(b, a);
}

void
version_vector_encode(const struct version_vector *vv, struct buf *out)
{
	buf_varint(out, vv->v.len);
	array_each (it, &vv->v) {
		buf_add(out, &it->device, sizeof it->device);
		buf_varint(out, it->seq);
	}
}

static enum err
read_next(struct reader *r, struct version_vector *vv, struct error *e)
{
	struct device_id d;

	reader_copy(r, &d, sizeof d);
	uint64_t seq = reader_varint(r);
	if (r->bad || seq == 0)
		return fail(e, ERR_PROTO, "version vector is malformed");
	if (vv->v.len > 0 && compare(&vv->v.at[vv->v.len - 1].device, &d) >= 0)
		return fail(e, ERR_PROTO, "version vector is out of order");
	array_reserve(&vv->v, vv->v.len + 1);
	vv->v.at[vv->v.len].device = d;
	vv->v.at[vv->v.len++].seq = seq;
	return OK;
}

enum err
version_vector_decode(struct reader *r, struct version_vector *ret, struct error *e)
{
	auto_(version_vector_clear) struct version_vector vv = { 0 };
	uint64_t n = reader_varint(r);

	if (n > VERSION_VECTOR_MAX)
		return fail(
		    e, ERR_PROTO, "version vector of more than %d devices", VERSION_VECTOR_MAX);
	for (uint64_t i = 0; i < n; i++) {
		enum err err = read_next(r, &vv, e);
		if (err != OK)
			return err;
	}
	if (r->bad)
		return fail(e, ERR_PROTO, "version vector is cut short");
	*ret = vv;
	vv = (struct version_vector){ 0 };
	return OK;
}
