/*
 * QUERY: lists, page by page.
 */
#include "server/server_internal.h"

/* -- QUERY -- */

static void
row_of_share(const struct server *s, const struct link *l, const struct registry_share *sh,
    struct buf *raw, uint32_t *n)
{
	uint32_t rights = rules_rights(s->registry, sh, &l->device);
	auto_buf struct buf row = BUF(4096);

	if (rights == 0)
		return;
	struct row_share x = { .share = sh->id,
		.name = bytes_str(sh->name),
		.rights = rights,
		.policy = (uint8_t)authority_policy(s->registry->authority, &sh->id) };
	if (sh->head != NULL) {
		x.number = sh->head->number;
		x.entries = sh->head->entries;
		x.bytes = sh->head->bytes;
		x.time_ms = (uint64_t)sh->head->head_ms;
	}
	row_share_encode(&x, &row);
	message_list_add(raw, buf_bytes(&row));
	(*n)++;
}

static void
row_of_snapshot(
    const struct server *s, const struct registry_snapshot *sn, struct buf *raw, uint32_t *n)
{
	struct registry_device *author = registry_device(s->registry, &sn->author);
	auto_buf struct buf row = BUF(4096);

	row_snapshot_encode(
	    &(struct row_snapshot){
		.id = sn->id,
		.number = sn->number,
		.state = (uint8_t)sn->state,
		.entries = sn->entries,
		.bytes = sn->bytes,
		.time_ms = (uint64_t)(sn->head_ms != 0 ? sn->head_ms : sn->announced_ms),
		.label = bytes_str(sn->label),
		.author_name = bytes_str(author != NULL ? author->name : ""),
		.author = sn->author,
	    },
	    &row);
	message_list_add(raw, buf_bytes(&row));
	(*n)++;
}

static void
row_of_device(const struct server *s, const struct registry_device *d, struct buf *raw, uint32_t *n)
{
	auto_buf struct buf row = BUF(4096);

	row_device_encode(
	    &(struct row_device){
		.id = d->id,
		.name = bytes_str(d->name),
		.site = bytes_str(d->site),
		.online = d->connections > 0,
		.is_server = device_id_equal(&d->id, device_key_id(s->home->key)),
		.seen_ms = (uint64_t)d->seen_ms,
		.joined_ms = (uint64_t)d->joined_ms,
		.address = bytes_str(d->address),
		.software = bytes_str(d->software),
		.reported = d->reported,
		.site_from = (uint8_t)server_site_from(s, d),
		.alone = d->placed.alone,
	    },
	    &row);
	message_list_add(raw, buf_bytes(&row));
	(*n)++;
}

/* Rows FROM .. of what is asked, at most LIMIT_ROWS; gives the position after the last one, 0 when
 * that was all.  Positions count table slots: a table that grows in between may show a row twice or
 * miss one, as any listing of a living thing. */
static uint64_t
add_rows(struct server *s, struct link *l, uint8_t kind, const struct registry_share *sh,
    uint64_t from, struct buf *raw, uint32_t *n)
{
	const struct map *m = kind == QUERY_SHARES ? &s->registry->names : &s->registry->devices;
	uint64_t end = kind == QUERY_SNAPSHOTS ? sh->snapshots.len : m->room;

	for (uint64_t i = from; i < end; i++) {
		if (*n == LIMIT_ROWS || raw->len > LIMIT_FRAME_MESSAGE / 2)
			return i;
		if (kind == QUERY_SNAPSHOTS) {
			row_of_snapshot(s, sh->snapshots.at[i], raw, n);
			continue;
		}
		const struct map_slot *slot = &m->slots[i];
		if (slot->key == NULL)
			continue;
		if (kind == QUERY_SHARES)
			row_of_share(s, l, slot->ptr, raw, n);
		else if (!((struct registry_device *)slot->ptr)->ended)
			row_of_device(s, slot->ptr, raw, n);
	}
	return 0;
}

void
server_query(struct link *l, const struct session_event *ev)
{
	struct server *s = l->server;
	const struct msg_query *q = &ev->message.query;
	struct registry_share *sh = NULL;
	auto_buf struct buf raw = BUF(LIMIT_FRAME_MESSAGE);
	struct message m = { .type = FRAME_ROWS, .flags = FRAME_END, .stream = ev->stream };
	struct reader rd = reader_over(q->after);
	uint64_t from = q->after.len > 0 ? reader_u64(&rd) : 0;
	uint32_t n = 0;
	struct error e;
	enum err r = OK;

	if (!reader_done(&rd))
		r = fail(&e, ERR_PROTO, "a cursor that was not given");
	if (r == OK && q->kind == QUERY_SNAPSHOTS)
		r = rules_share(s->registry, q->share, &l->device, RIGHT_READ, &sh, &e);
	if (r != OK) {
		server_peer_answer_error(l, ev->stream, &e);
		return;
	}
	uint64_t next = add_rows(s, l, q->kind, sh, from, &raw, &n);
	auto_buf struct buf cursor = BUF(8);
	if (next != 0)
		buf_u64(&cursor, next);
	m.rows = (struct msg_rows){
		.kind = q->kind, .rows = { buf_bytes(&raw), n }, .next = buf_bytes(&cursor)
	};
	server_peer_answer(l, &m);
}
