#include "engine/dest_table.h"

#include <pthread.h>

#include "base/array.h"
#include "base/mem.h"

struct row {
	struct hash_id share, snapshot;
	struct dest *dest;
	uint64_t number; /* ascending, never used again */
	unsigned readers;
};

struct dest_table {
	pthread_mutex_t lock;
	pthread_cond_t unread; /* a row has lost its last reader */
	ARRAY(struct row) rows;
	uint64_t last;
};

struct dest_table *
dest_table_new(void)
{
	struct dest_table *t = mem_new(struct dest_table);

	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->unread, NULL);
	return t;
}

void
dest_table_free(struct dest_table *t)
{
	if (t == NULL)
		return;
	array_clear(&t->rows);
	pthread_cond_destroy(&t->unread);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

void
dest_table_add(struct dest_table *t, const struct hash_id *share, const struct hash_id *snapshot,
    struct dest *d)
{
	pthread_mutex_lock(&t->lock);
	array_push(&t->rows,
	    ((struct row){
		.share = *share, .snapshot = *snapshot, .dest = d, .number = ++t->last }));
	pthread_mutex_unlock(&t->lock);
}

static struct row *
find_dest(struct dest_table *t, const struct dest *d)
{
	array_each (row, &t->rows) {
		if (row->dest == d)
			return row;
	}
	return NULL;
}

void
dest_table_remove(struct dest_table *t, const struct dest *d)
{
	struct row *row;

	pthread_mutex_lock(&t->lock);
	row = find_dest(t, d);
	if (row != NULL)
		row->share = (struct hash_id){ 0 }; /* nobody begins any more */
	while ((row = find_dest(t, d)) != NULL && row->readers > 0)
		pthread_cond_wait(&t->unread, &t->lock);
	if (row != NULL)
		array_swap_out(&t->rows, (size_t)(row - t->rows.at));
	pthread_mutex_unlock(&t->lock);
}

/* The next one after number *AFTER, which becomes its own; in use until give_back. */
static struct dest *
borrow(struct dest_table *t, const struct source_leaves *which, uint64_t *after)
{
	struct row *best = NULL;

	pthread_mutex_lock(&t->lock);
	array_each (row, &t->rows) {
		if (row->number > *after && (best == NULL || row->number < best->number) &&
		    hash_id_equal(&row->share, which->share) &&
		    hash_id_equal(&row->snapshot, which->snapshot))
			best = row;
	}
	struct dest *d = best != NULL ? best->dest : NULL;
	if (best != NULL) {
		best->readers++;
		*after = best->number;
	}
	pthread_mutex_unlock(&t->lock);
	return d;
}

static void
give_back(struct dest_table *t, const struct dest *d)
{
	pthread_mutex_lock(&t->lock);
	if (--find_dest(t, d)->readers == 0)
		pthread_cond_broadcast(&t->unread);
	pthread_mutex_unlock(&t->lock);
}

enum err
dest_table_get_leaves(struct dest_table *t, const struct source_leaves *which, uint8_t *to,
    uint32_t *ret_len, struct leaf_list *ret_leaves, struct error *e)
{
	uint64_t at = 0;
	struct dest *d;
	enum err r = ERR_NOTFOUND;

	while (r != OK && (d = borrow(t, which, &at)) != NULL) {
		r = dest_get_leaves(
		    d, which->chunk, which->first, which->n, to, ret_len, ret_leaves, NULL);
		give_back(t, d);
	}
	return r == OK ? OK : fail(e, ERR_NOTFOUND, "these bytes are not being received here");
}
