/* Wrong bytes: a source of ours that sends them, and what members say of each other and of us. */
#include "base/log.h"
#include "server/server_internal.h"

/* What DEVICE is called, for the log. */
static const char *
name_of(const struct server *s, const struct device_id *device)
{
	const struct registry_device *d = registry_device_known(s->registry, device);

	return d != NULL ? d->name : "an unknown device";
}

static void
count_liar(struct server *s, const struct device_id *device)
{
	struct registry_device *d = registry_device_known(s->registry, device);

	if (d != NULL && d->reported < UINT32_MAX)
		d->reported++;
}

void
server_peer_liar(struct server *s, struct peer *p, uint32_t unit)
{
	const struct device_id *id = peer_device(p);
	struct error e;

	count_liar(s, id);
	log_warn(
	    "%s sent wrong bytes for unit %u again and again; it is cut off", name_of(s, id), unit);
	(void)fail(&e, ERR_PROTO, "the bytes you send do not match the snapshot");
	peer_close(p, &e);
}

/* Wrong bytes of ours: the store is looked at, once in a while only, however often that is said. Of
 * another member: counted, for people to judge; who reports may lie as well. */
void
server_peer_report(struct link *l, const struct msg_report *m)
{
	struct server *s = l->server;
	uint64_t now = loop_now_ms(s->loop);
	struct registry_share *sh = NULL;
	const struct registry_snapshot *sn;

	if (rules_share_id(s->registry, &m->share, &l->device, RIGHT_READ, &sh, NULL) != OK)
		return;
	sn = registry_snapshot(sh, &m->snapshot);
	if (sn == NULL || device_id_equal(&m->who, &l->device))
		return;
	log_limit_warn(&s->reports, now, "%s reports wrong bytes from %s in unit %u of %s",
	    name_of(s, &l->device), name_of(s, &m->who), m->unit, sh->name);
	if (!device_id_equal(&m->who, device_key_id(s->home->key))) {
		count_liar(s, &m->who);
		return;
	}
	if (now - s->reported_ms < SERVER_REPORT_MS && s->reported_ms != 0)
		return;
	s->reported_ms = now;
	server_gc_verify(s, sh, NULL);
}
