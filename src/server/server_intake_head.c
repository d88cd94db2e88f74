/*
 * An intake that has everything becomes the head: SEQUENCING is signing the HEAD statement and
 * storing it.  One at a time for a share; whoever was ready meanwhile and is not built upon the new
 * head is withdrawn.
 */
#include "base/log.h"
#include "base/mem.h"
#include "server/server_intake.h"

struct head_change {
	struct change change;
	struct intake *intake;
	int64_t share;
	struct registry_snapshot snapshot;
	struct statement statement;
	struct buf bytes;
};

static enum err
store_head(struct change *c, struct server *s, struct error *e)
{
	struct head_change *h = (struct head_change *)c;
	enum err r =
	    registry_store_statement(s->registry->db, buf_bytes(&h->bytes), &h->statement, e);

	return r == OK ? registry_store_snapshot_set(s->registry->db, &h->snapshot, e) : r;
}

/* Others of this share that were ready while it was being sequenced find out now that it has moved
 * on. */
static void
wake_others(struct server *s, int64_t share)
{
	for (size_t i = 0; i < s->intakes.len; i++) {
		struct intake *k = s->intakes.at[i];
		if (k->share == share && k->state == INTAKE_READY)
			server_intake_next(k);
	}
}

static void
apply_head(struct change *c, struct server *s, enum err r, const struct error *e)
{
	struct head_change *h = (struct head_change *)c;
	struct intake *k = h->intake;
	struct registry_share *sh = registry_share_num(s->registry, h->share);

	int64_t share = h->share;
	if (r == OK && sh != NULL) {
		struct registry_snapshot *sn = registry_add_snapshot(sh, &h->snapshot);
		buf_reset(&sh->head_statement);
		buf_add_bytes(&sh->head_statement, buf_bytes(&h->bytes));
		log_info("%s: snapshot %llu is the head (%llu entries)", sh->name,
		    (unsigned long long)sn->number, (unsigned long long)sn->entries);
		server_peer_progress_all(s, sh, sn);
	}
	bool is_closing = k->state == INTAKE_CLOSING;
	if (!is_closing && r == OK)
		server_intake_end(k);
	else if (!is_closing)
		server_intake_enter(k, INTAKE_READY);
	server_intake_part_closed(k); /* closing, it may be freed by that */
	if (!is_closing && r != OK)
		server_intake_failed(k, r, e);
	buf_clear(&h->bytes);
	free(h);
	wake_others(s, share);
}

static bool
is_being_sequenced(const struct server *s, int64_t share)
{
	array_each (k, &s->intakes) {
		if ((*k)->share == share && (*k)->state == INTAKE_SEQUENCING)
			return true;
	}
	return false;
}

void
server_intake_head(struct intake *k)
{
	struct server *s = k->server;
	struct registry_share *sh = server_intake_share(k);
	struct registry_snapshot *sn = server_intake_snapshot(k);
	const struct hash_id none = { 0 };
	struct error e;

	if (is_being_sequenced(s, k->share))
		return;
	const struct hash_id *built_on = k->commit.n_parents == 1 ? &k->commit.parents[0] : &none;
	if (!hash_id_equal(built_on, sh->head != NULL ? &sh->head->id : &none)) {
		server_intake_withdraw(s, &k->snapshot,
		    "the share has moved on: another snapshot became its head first");
		return;
	}
	struct head_change *h = mem_new(struct head_change);
	*h = (struct head_change){
		.intake = k, .share = k->share, .snapshot = *sn, .bytes = BUF(STATEMENT_MAX)
	};
	h->change = (struct change){ .store = store_head, .apply = apply_head };
	h->statement = (struct statement){
		.kind = STATEMENT_HEAD,
		.share = sh->id,
		.number = sh->head != NULL ? sh->head->number + 1 : 1,
		.commit = k->snapshot,
		.previous = sh->head != NULL ? sh->head->head_statement : none,
	};
	if (server_sign(s, &h->statement, &h->bytes, &e) != OK) {
		buf_clear(&h->bytes);
		free(h);
		server_intake_failed(k, e.code, &e);
		return;
	}
	h->snapshot.state = SNAPSHOT_HEAD;
	h->snapshot.number = h->statement.number;
	h->snapshot.head_statement = h->statement.id;
	h->snapshot.head_ms = server_now_ms();
	h->snapshot.held_bytes = sn->chunk_bytes;
	server_intake_enter(k, INTAKE_SEQUENCING);
	k->open++;
	server_change(s, &h->change);
}
