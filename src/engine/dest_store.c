/*
 * The plan on disk: six arrays of one generation, and the file "plan" that says which, and of
 * what.
 *
 * A new plan is written beside the one it follows, and counts from the moment in which "plan" is
 * replaced; so a crash at any time leaves one of the two, whole.  The mark ties it to its stage: a
 * stage that was removed, or a disk that is not mounted, is not the one it was made with.
 */
#include <stdio.h>

#include "base/mem.h"
#include "engine/dest_private.h"

enum { LAYOUT = 3, GENERATIONS = 2 };

static const struct {
	const char *names[GENERATIONS];
	uint32_t magic, record;
	size_t at;
} arrays[] = {
	{ { "files.0", "files.1" }, 0x46645702, sizeof(struct dest_file),
	    offsetof(struct dest_arrays, files) },
	{ { "chunks.0", "chunks.1" }, 0x43645702, sizeof(struct dest_chunk),
	    offsetof(struct dest_arrays, chunks) },
	{ { "paths.0", "paths.1" }, 0x50645702, 1, offsetof(struct dest_arrays, paths) },
	{ { "copies.0", "copies.1" }, 0x44645702, sizeof(struct dest_copy),
	    offsetof(struct dest_arrays, copies) },
	{ { "gone.0", "gone.1" }, 0x47645702, sizeof(struct dest_gone),
	    offsetof(struct dest_arrays, gone) },
	{ { "lists.0", "lists.1" }, 0x4c645702, HASH_BYTES, offsetof(struct dest_arrays, lists) },
};

static struct big_array *
array_of(struct dest_arrays *a, size_t i)
{
	return (struct big_array *)(void *)((char *)a + arrays[i].at);
}

void
dest_store_close(struct dest_arrays *a)
{
	for (size_t i = 0; i < lengthof(arrays); i++)
		big_array_close(array_of(a, i));
}

void
dest_store_trim(struct dest_arrays *a)
{
	for (size_t i = 0; i < lengthof(arrays); i++)
		big_array_trim(array_of(a, i));
}

enum err
dest_store_create(struct dest *d, struct error *e)
{
	enum err r = OK;

	d->generation = (uint8_t)((d->generation + 1) % GENERATIONS);
	for (size_t i = 0; r == OK && i < lengthof(arrays); i++)
		r = big_array_create(array_of(&d->plan, i), d->o.job_dir,
		    fs_rel(arrays[i].names[d->generation]), arrays[i].magic, arrays[i].record, e);
	return r;
}

static bool
open_arrays(struct dest *d, uint8_t generation, struct dest_arrays *a)
{
	for (size_t i = 0; i < lengthof(arrays); i++) {
		if (big_array_open(array_of(a, i), d->o.job_dir,
			fs_rel(arrays[i].names[generation]), arrays[i].magic, arrays[i].record,
			NULL) != OK) {
			dest_store_close(a);
			return false;
		}
	}
	return true;
}

static void
make_header(const struct dest *d, struct dest_header *h)
{
	memset(h, 0, sizeof *h);
	h->layout = LAYOUT;
	memcpy(h->snapshot, &d->o.snapshot, HASH_ID_BYTES);
	memcpy(h->tree, &d->tree, HASH_ID_BYTES);
	if (d->only != NULL)
		hash_sha256(bytes_str(d->only), BYTES(NULL, 0), h->only);
	h->overwrite = d->o.overwrite;
	memcpy(h->mark, d->mark, sizeof h->mark);
}

enum err
dest_store_write(struct dest *d, enum dest_phase phase, struct error *e)
{
	struct dest_header h;
	enum err r = OK;

	for (size_t i = 0; r == OK && i < lengthof(arrays); i++)
		r = big_array_sync(array_of(&d->plan, i), e);
	if (r != OK)
		return r;
	make_header(d, &h);
	h.phase = (uint8_t)phase;
	h.generation = d->generation;
	h.summary = d->summary;
	r = fs_write_file(d->o.job_dir, REL("plan"), BYTES_OF(h), 0600, e);
	if (r == OK)
		d->phase = (uint8_t)phase;
	return r;
}

bool
dest_store_read(struct dest *d, struct dest_header *ret, struct dest_arrays *ret_arrays)
{
	auto_buf struct buf b = BUF(sizeof *ret);
	struct dest_header mine;

	if (fs_read_file(d->o.job_dir, REL("plan"), &b, NULL) != OK || b.len != sizeof mine)
		return false;
	memcpy(ret, b.at, sizeof *ret);
	make_header(d, &mine);
	if (memcmp(&mine, ret, offsetof(struct dest_header, phase)) != 0 ||
	    ret->generation >= GENERATIONS || !open_arrays(d, ret->generation, ret_arrays))
		return false;
	if (ret_arrays->chunks.n == snapshot_map_chunks(d->o.map))
		return true;
	dest_store_close(ret_arrays);
	return false;
}

enum err
dest_store_forget(int job_dir, struct error *e)
{
	struct error why;
	enum err r = fs_unlink(job_dir, REL("plan"), &why);

	if (r == OK || r == ERR_NOTFOUND)
		return OK;
	return dest_fail(e, &why);
}

void
dest_store_remove(int job_dir, int generation)
{
	for (int g = 0; g < GENERATIONS; g++) {
		for (size_t i = 0; (generation < 0 || g == generation) && i < lengthof(arrays); i++)
			(void)!fs_unlink(job_dir, fs_rel(arrays[i].names[g]), NULL);
	}
}
