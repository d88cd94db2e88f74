/*
 * pack_set: the pack files of a store, by number: their names, and descriptors for reading kept
 * open.
 *
 * Threads    any number may call at once.
 * Blocking   opens files.
 * Errors     ERR_NOTFOUND when there is no such pack, else those of fs.
 */
#pragma once

#include "base/array.h"
#include "platform/fs.h"

struct pack_set;

enum { PACK_SET_NAME = 32 };

struct pack_set_file {
	uint64_t number, size;
};
struct pack_set_list {
	ARRAY(struct pack_set_file) files; /* by ascending number */
};

/* DIR (the store's packs directory) is taken. */
struct pack_set *pack_set_new(int dir);
void pack_set_free(struct pack_set *s); /* nothing may be held */
int pack_set_dir(const struct pack_set *s);
/* "0000000000000007.pack" */
struct relpath pack_set_name(uint64_t number, char out[static PACK_SET_NAME]);

/* A descriptor for reading pack NUMBER, good until pack_set_put gives it back. */
enum err pack_set_get(struct pack_set *s, uint64_t number, int *ret_fd, struct error *e) must_check;
void pack_set_put(struct pack_set *s, uint64_t number, int fd);
/* Deletes the pack's file; who still holds a descriptor may read on.  A file that is not there is
 * success. */
enum err pack_set_remove(struct pack_set *s, uint64_t number, struct error *e) must_check;
/* What is on the disk.  Other names are passed over.  array_clear(&list->files). */
enum err pack_set_list(struct pack_set *s, struct pack_set_list *ret, struct error *e) must_check;
