#include "chunk/mark_set.h"

#include "base/mem.h"

enum {
	MAGIC = 0x6b72616d, /* "mark" */
	FEW = 32,           /* sorted by insertion */
	TRIM = 1 << 20,     /* marks between two trims */
};

/* The first bytes of the id as a number, so that numbers stand in the order of ids. */
static uint64_t
mark_of(const struct hash_id *id)
{
	const uint8_t *b = hash_id_bytes(id).at;
	uint64_t v = 0;

	for (size_t i = 0; i < sizeof v; i++)
		v = v << 8 | b[i];
	return v;
}

enum err
mark_set_init(struct mark_set *m, int dir, struct error *e)
{
	struct mark_set n = { 0 };
	enum err r =
	    big_array_create(&n.marks, dir, (struct relpath){ "", 0 }, MAGIC, sizeof(uint64_t), e);

	if (r == OK)
		*m = n;
	return r;
}

void
mark_set_clear(struct mark_set *m)
{
	big_array_close(&m->marks);
	*m = (struct mark_set){ 0 };
}

enum err
mark_set_add(struct mark_set *m, const struct hash_id *id, struct error *e)
{
	uint64_t mark = mark_of(id);

	return big_array_push(&m->marks, &mark, e);
}

/* -- sorting in place, most significant byte first: works through the mapped file in long runs --
 */

static void
insertion_sort(uint64_t *a, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		uint64_t v = a[i];
		size_t j = i;
		for (; j > 0 && a[j - 1] > v; j--)
			a[j] = a[j - 1];
		a[j] = v;
	}
}

static void
radix_sort(struct mark_set *m, uint64_t *a, size_t n, unsigned shift)
{
	size_t start[257] = { 0 }, next[256];

	if (n <= FEW) {
		insertion_sort(a, n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		start[(a[i] >> shift & 255) + 1]++;
	for (size_t b = 0; b < 256; b++) {
		start[b + 1] += start[b];
		next[b] = start[b];
	}
	for (size_t b = 0; b < 256; b++) {
		while (next[b] < start[b + 1]) {
			uint64_t v = a[next[b]];
			size_t to = v >> shift & 255;
			a[next[b]] = a[next[to]];
			a[next[to]++] = v;
		}
	}
	for (size_t b = 0; shift > 0 && b < 256; b++) {
		radix_sort(m, a + start[b], start[b + 1] - start[b], shift - 8);
		if (start[b + 1] - start[b] > TRIM)
			big_array_trim(&m->marks);
	}
}

void
mark_set_sort(struct mark_set *m)
{
	if (m->marks.n > 0)
		radix_sort(m, big_array_at(&m->marks, 0), m->marks.n, 56);
	big_array_trim(&m->marks);
	m->at = 0;
}

bool
mark_set_has(struct mark_set *m, const struct hash_id *id)
{
	uint64_t mark = mark_of(id);

	for (; m->at < m->marks.n; m->at++) {
		uint64_t v = *(const uint64_t *)big_array_at(&m->marks, m->at);
		if (v >= mark)
			return v == mark;
		if (m->at % TRIM == 0)
			big_array_trim(&m->marks);
	}
	return false;
}
