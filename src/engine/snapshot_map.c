/*
 * Two files in the directory, both thrown away when they do not check out:
 *
 *   CONTENT.chunks   a summary, then the chunks in manifest order
 *   CONTENT.find     a table of open addressing: 1 + index of the chunk whose id begins with the
 *                    slot's number
 *
 * They are made under other names and renamed when they are whole, so that two who build the same
 * map at once do not meet, and a crash leaves nothing that looks finished.  The summary has a
 * checksum of all that follows; whoever opens a map reads every record once, checks it and cuts the
 * units on the way, which is faster than to keep them.
 */
#include "engine/snapshot_map.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "platform/fs.h"

enum {
	CHUNKS_MAGIC = 0x43706d77, /* "wmpC" */
	UNITS_MAGIC = 0x55706d77,
	FIND_MAGIC = 0x46706d77,
	FIND_LEAST = 1024,    /* slots */
	LOOK_EVERY = 4096,    /* entries or chunks between two looks at CANCEL */
	TRIM_EVERY = 1024,    /* chunks between two trims: each may touch pages anywhere */
	TRIM_SLOTS = 1 << 20, /* the same in walking through the table */
	NAME_MAX_ = HASH_ID_TEXT + 80,
};
#define BEING_MADE ".new-" /* then the process that does, and a number */

/* In the place of the first chunk. */
struct summary {
	uint64_t chunks, bytes;
	uint64_t chunks_sum, find_sum;
	uint64_t own_sum; /* of the fields before */
};
_Static_assert(
    sizeof(struct summary) == sizeof(struct snapshot_map_chunk), "a summary is a record");

struct snapshot_map {
	struct big_array chunks, find, units;
	uint32_t unit_size;
	uint64_t n, bytes;
};

/* -- checksums: against damage, not against malice, as the home is ours -- */

static uint64_t
mix(uint64_t sum, uint64_t word)
{
	sum = (sum ^ word) * 0x9e3779b97f4a7c15;
	return sum ^ sum >> 29;
}

/* N is a multiple of 8 for every record of ours but the slots, of which there is a power of two. */
static uint64_t
sum_of(uint64_t sum, const void *at, size_t n)
{
	const uint8_t *p = at;
	uint64_t word;

	for (; n >= sizeof word; n -= sizeof word, p += sizeof word) {
		memcpy(&word, p, sizeof word);
		sum = mix(sum, word);
	}
	return sum;
}

static uint64_t
find_sum_of(struct big_array *find)
{
	uint64_t sum = find->n;

	for (uint64_t i = 0; i < find->n; i += FIND_LEAST) { /* a power of two, as n is */
		sum = sum_of(sum, big_array_at(find, i), FIND_LEAST * sizeof(uint32_t));
		if (i % TRIM_SLOTS == 0)
			big_array_trim(find);
	}
	return sum;
}

static uint64_t
own_sum_of(const struct summary *s)
{
	return sum_of(CHUNKS_MAGIC, s, offsetof(struct summary, own_sum));
}

/* -- names -- */

enum file { FILE_CHUNKS, FILE_FIND };

static struct relpath
name_of(
    const struct hash_id *content, enum file file, const char *suffix, char out[static NAME_MAX_])
{
	static const char *const kinds[] = { "chunks", "find" };
	char id[HASH_ID_TEXT];

	int n =
	    snprintf(out, NAME_MAX_, "%s.%s%s", hash_id_format(content, id), kinds[file], suffix);
	return (struct relpath){ out, (size_t)n };
}

/* -- looking up -- */

static uint64_t
slot_of(const struct big_array *find, const struct hash_id *id)
{
	uint64_t key;

	memcpy(&key, id->bytes, sizeof key);
	return key & (find->n - 1);
}

/* The slot of ID, or the empty one where it belongs: the table is never full. */
static uint32_t *
find_slot(const struct snapshot_map *m, const struct hash_id *id)
{
	for (uint64_t i = slot_of(&m->find, id);; i = (i + 1) & (m->find.n - 1)) {
		uint32_t *slot = big_array_at(&m->find, i);
		if (*slot == 0 || hash_id_equal(&snapshot_map_chunk(m, *slot - 1)->id, id))
			return slot;
	}
}

uint32_t
snapshot_map_find(const struct snapshot_map *m, const struct hash_id *id)
{
	return *find_slot(m, id) - 1;
}

/* -- building -- */

struct build {
	struct snapshot_map *m;
	struct node_source source;
	const atomic_bool *cancel; /* may be NULL */
	struct map seen;           /* nodes of lists */
	uint64_t steps;
};

static enum err
check_cancel(struct build *b, struct error *e)
{
	if (++b->steps % LOOK_EVERY != 0 || b->cancel == NULL || !atomic_load(b->cancel))
		return OK;
	return fail(e, ERR_CANCELED, "the map of the snapshot was not finished");
}

/* A table of N slots with all chunks so far. */
static enum err
make_table(struct snapshot_map *m, uint64_t n, struct error *e)
{
	enum err r = big_array_resize(&m->find, 0, e);

	if (r == OK)
		r = big_array_resize(&m->find, n, e);
	if (r != OK)
		return r;
	memset(big_array_at(&m->find, 0), 0, n * sizeof(uint32_t));
	for (uint64_t i = 0; i < m->n; i++) {
		*find_slot(m, &snapshot_map_chunk(m, i)->id) = (uint32_t)i + 1;
		if (i % TRIM_EVERY == TRIM_EVERY - 1)
			snapshot_map_trim(m);
	}
	return OK;
}

static enum err
add_chunk(struct build *b, const struct tree_item *item, struct error *e)
{
	struct snapshot_map *m = b->m;
	struct snapshot_map_chunk c = { .id = item->id, .len = (uint32_t)item->len };
	char name[HASH_ID_TEXT];
	uint32_t *slot = find_slot(m, &item->id);

	if (*slot != 0) {
		if (snapshot_map_chunk(m, *slot - 1)->len != c.len)
			return fail(e, ERR_PROTO,
			    "chunk %s is %" PRIu32 " bytes long here and %" PRIu32 " there",
			    hash_id_format(&c.id, name), snapshot_map_chunk(m, *slot - 1)->len,
			    c.len);
		return OK;
	}
	if (m->n == UNIT_CHUNKS_MAX - 2) /* 0 and the last are no indices */
		return fail(e, ERR_LIMIT, "a snapshot of more than %" PRIu64 " chunks", m->n);
	enum err r = big_array_push(&m->chunks, &c, e);
	if (r != OK)
		return r;
	*slot = (uint32_t)++m->n;
	m->bytes += c.len;
	if (m->n % TRIM_EVERY == 0)
		snapshot_map_trim(m);
	return m->n > m->find.n / 3 * 2 ? make_table(m, m->find.n * 2, e) : OK;
}

static enum err
add_file(struct build *b, const struct tree_entry *en, struct error *e)
{
	auto_(tree_items_free_p) struct tree_items *items = tree_items_new(b->source, en);
	struct tree_item item;

	tree_items_once(items, &b->seen);
	for (;;) {
		enum err r = tree_items_next(items, &item, e);
		if (r == ERR_NOTFOUND)
			return OK;
		if (r == OK && !hash_id_is_none(&item.id))
			r = add_chunk(b, &item, e);
		if (r == OK)
			r = check_cancel(b, e);
		if (r != OK)
			return r;
	}
}

static enum err
add_tree(struct build *b, const struct hash_id *content, struct error *e)
{
	auto_(tree_walk_free_p) struct tree_walk *w = tree_walk_new(b->source, content);
	struct tree_entry en;
	struct relpath path;
	enum tree_step step;

	/* A chunk counts where it is met first, so nothing has to be gone into twice. */
	tree_walk_once(w);
	for (;;) {
		enum err r = tree_walk_next(w, &step, &path, &en, e);
		if (r == ERR_NOTFOUND)
			return OK;
		if (r == OK && step == TREE_ENTER && en.type == TREE_FILE)
			r = add_file(b, &en, e);
		if (r == OK)
			r = check_cancel(b, e);
		if (r != OK)
			return r;
	}
}

static void
summarise(struct snapshot_map *m)
{
	struct summary *s = big_array_at(&m->chunks, 0);

	*s = (struct summary){
		.chunks = m->n, .bytes = m->bytes, .find_sum = find_sum_of(&m->find)
	};
	for (uint64_t i = 0; i < m->n; i++) {
		s->chunks_sum = sum_of(
		    s->chunks_sum, snapshot_map_chunk(m, i), sizeof(struct snapshot_map_chunk));
		if (i % TRIM_EVERY == TRIM_EVERY - 1)
			big_array_trim(&m->chunks);
	}
	s->own_sum = own_sum_of(s);
}

static enum err
fill(struct snapshot_map *m, struct node_source source, const struct hash_id *content,
    const atomic_bool *cancel, struct error *e)
{
	struct build b = { .m = m, .source = source, .cancel = cancel };
	enum err r = big_array_push(&m->chunks, &(struct summary){ 0 }, e);

	if (r == OK)
		r = make_table(m, FIND_LEAST, e);
	if (r == OK)
		r = add_tree(&b, content, e);
	map_clear(&b.seen);
	if (r != OK)
		return r;
	summarise(m);
	r = big_array_sync(&m->find, e);
	return r == OK ? big_array_sync(&m->chunks, e) : r;
}

/* Removes what builders that died with their process left behind. */
static enum err
sweep(int dir, const char *ours, struct error *e)
{
	auto_(fs_list_clear) struct fs_list list = { 0 };
	enum err r = fs_list_dir(dir, &list, e);

	for (size_t i = 0; r == OK && i < list.n; i++) {
		const char *name = list.names + list.at[i], *made = strstr(name, BEING_MADE);
		if (made != NULL && strncmp(made, ours, strlen(ours)) != 0)
			r = fs_unlink(dir, fs_rel(name), e);
	}
	return r;
}

/* Makes both files under names of our own and moves them into place, the one with the summary
 * last. */
static enum err
build(struct snapshot_map *m, int dir, struct node_source source, const struct hash_id *content,
    const atomic_bool *cancel, struct error *e)
{
	char ours[32], suffix[64], chunks[NAME_MAX_], find[NAME_MAX_], made_chunks[NAME_MAX_],
	    made_find[NAME_MAX_];

	snprintf(ours, sizeof ours, BEING_MADE "%d-", (int)getpid());
	snprintf(suffix, sizeof suffix, "%s%p", ours, (void *)m);
	struct relpath to_chunks = name_of(content, FILE_CHUNKS, "", chunks);
	struct relpath to_find = name_of(content, FILE_FIND, "", find);
	struct relpath from_chunks = name_of(content, FILE_CHUNKS, suffix, made_chunks);
	struct relpath from_find = name_of(content, FILE_FIND, suffix, made_find);
	enum err r = sweep(dir, ours, e);
	if (r == OK)
		r = big_array_create(&m->chunks, dir, from_chunks, CHUNKS_MAGIC,
		    sizeof(struct snapshot_map_chunk), e);
	if (r == OK)
		r = big_array_create(&m->find, dir, from_find, FIND_MAGIC, sizeof(uint32_t), e);
	if (r == OK)
		r = fill(m, source, content, cancel, e);
	if (r == OK)
		r = fs_rename(dir, from_find, dir, to_find, e);
	if (r == OK)
		r = fs_rename(dir, from_chunks, dir, to_chunks, e);
	if (r != OK) {
		(void)unlinkat(dir, from_chunks.text, 0);
		(void)unlinkat(dir, from_find.text, 0);
	}
	return r;
}

/* -- opening -- */

static enum err
push_units(struct snapshot_map *m, const struct unit *units, size_t n, struct error *e)
{
	enum err r = OK;

	for (size_t i = 0; r == OK && i < n; i++)
		r = big_array_push(&m->units, &units[i], e);
	return r;
}

/* Reads every chunk once: the checksum and the units come from the same walk. */
static enum err
cut_units(struct snapshot_map *m, uint64_t *ret_sum, struct error *e)
{
	struct unit units[CHUNK_LEAVES_MAX + 1];
	struct unit_cutter cutter;
	enum err r = OK;

	if (m->unit_size > 0)
		unit_cutter_init(&cutter, m->unit_size);
	*ret_sum = 0;
	for (uint64_t i = 0; r == OK && i < m->n; i++) {
		const struct snapshot_map_chunk *c = snapshot_map_chunk(m, i);
		*ret_sum = sum_of(*ret_sum, c, sizeof *c);
		/* What a damaged file says must not reach the cutter. */
		if (c->len == 0 || c->len > CHUNK_MAX)
			return fail(e, ERR_CORRUPT,
			    "the map of the snapshot has a chunk of %" PRIu32 " bytes", c->len);
		if (m->unit_size > 0)
			r = push_units(m, units, unit_cutter_add(&cutter, c->len, units), e);
		if (i % TRIM_EVERY == TRIM_EVERY - 1)
			big_array_trim(&m->chunks);
	}
	if (r == OK && m->unit_size > 0)
		r = push_units(m, units, unit_cutter_end(&cutter, units), e);
	return r;
}

/* Whether the table is one: a wrong sum could still send find_slot out of bounds or round for
 * ever. */
static bool
is_table(struct snapshot_map *m, uint64_t sum)
{
	uint64_t n = m->find.n;

	return n >= FIND_LEAST && (n & (n - 1)) == 0 && m->n <= n / 3 * 2 &&
	       find_sum_of(&m->find) == sum;
}

static enum err
check(struct snapshot_map *m, struct error *e)
{
	const struct summary *s = big_array_at(&m->chunks, 0);
	uint64_t sum;

	if (m->chunks.n == 0 || s->chunks != m->chunks.n - 1 || s->own_sum != own_sum_of(s))
		return fail(e, ERR_CORRUPT, "the map of the snapshot has no summary");
	m->n = s->chunks;
	m->bytes = s->bytes;
	enum err r = cut_units(m, &sum, e);
	if (r == OK && (sum != s->chunks_sum || !is_table(m, s->find_sum)))
		r = fail(e, ERR_CORRUPT, "the map of the snapshot is damaged");
	return r;
}

static enum err
open_files(struct snapshot_map *m, int dir, const struct hash_id *content, struct error *e)
{
	char name[NAME_MAX_];
	enum err r = big_array_open(&m->chunks, dir, name_of(content, FILE_CHUNKS, "", name),
	    CHUNKS_MAGIC, sizeof(struct snapshot_map_chunk), e);

	if (r == OK)
		r = big_array_open(&m->find, dir, name_of(content, FILE_FIND, "", name), FIND_MAGIC,
		    sizeof(uint32_t), e);
	return r;
}

static void
close_files(struct snapshot_map *m)
{
	big_array_close(&m->chunks);
	big_array_close(&m->find);
	big_array_close(&m->units);
	m->n = m->bytes = 0;
}

/* What is there, if it checks out. */
static enum err
open_checked(struct snapshot_map *m, int dir, const struct hash_id *content, struct error *e)
{
	enum err r = open_files(m, dir, content, e);

	if (r == OK && m->unit_size > 0)
		r = big_array_create(
		    &m->units, dir, (struct relpath){ "", 0 }, UNITS_MAGIC, sizeof(struct unit), e);
	return r == OK ? check(m, e) : r;
}

enum err
snapshot_map_open(int dir, struct node_source source, const struct hash_id *content,
    uint32_t unit_size, const atomic_bool *cancel, struct snapshot_map **ret, struct error *e)
{
	auto_(snapshot_map_free_p) struct snapshot_map *m = mem_new(struct snapshot_map);

	struct error why;

	m->unit_size = unit_size;
	enum err r = open_checked(m, dir, content, &why);
	if (r != OK && r != ERR_NOTFOUND && r != ERR_CORRUPT) {
		if (e != NULL)
			*e = why;
	} else if (r != OK) {
		close_files(m);
		r = build(m, dir, source, content, cancel, e);
		close_files(m);
		if (r == OK)
			r = open_checked(m, dir, content, e);
	}
	if (r != OK)
		return r;
	*ret = take_ptr(m);
	return OK;
}

void
snapshot_map_free(struct snapshot_map *m)
{
	if (m == NULL)
		return;
	close_files(m);
	free(m);
}

uint64_t
snapshot_map_chunks(const struct snapshot_map *m)
{
	return m->n;
}

uint64_t
snapshot_map_bytes(const struct snapshot_map *m)
{
	return m->bytes;
}

const struct snapshot_map_chunk *
snapshot_map_chunk(const struct snapshot_map *m, uint64_t i)
{
	return big_array_at(&m->chunks, i + 1);
}

uint32_t
snapshot_map_unit_size(const struct snapshot_map *m)
{
	return m->unit_size;
}

uint64_t
snapshot_map_units(const struct snapshot_map *m)
{
	return m->units.n;
}

struct unit
snapshot_map_unit(const struct snapshot_map *m, uint64_t i)
{
	return *(const struct unit *)big_array_at(&m->units, i);
}

void
snapshot_map_trim(struct snapshot_map *m)
{
	big_array_trim(&m->chunks);
	big_array_trim(&m->find);
	if (m->unit_size > 0)
		big_array_trim(&m->units);
}

void
snapshot_map_remove(int dir, const struct hash_id *content)
{
	char name[NAME_MAX_];

	(void)unlinkat(dir, name_of(content, FILE_CHUNKS, "", name).text, 0);
	(void)unlinkat(dir, name_of(content, FILE_FIND, "", name).text, 0);
}
