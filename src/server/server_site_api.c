/* `weft site`: what an administrator sees of sites, and says. */
#include <stdio.h>

#include "base/mem.h"
#include "server/server_internal.h"

enum { NAMES_MAX = 400 }; /* of a site's gateways, as text */

/* -- the list -- */

struct row {
	char name[STATEMENT_NAME_MAX + 1];
	uint64_t members, online;
	struct buf gateways; /* their names */
};
struct rows {
	struct server *server;
	struct map of; /* label -> place in all, and one more */
	ARRAY(struct row) all;
	struct map gateways; /* devices that are shown as such */
};

static struct row *
row_of(struct rows *rows, const char *site)
{
	bool is_new;
	struct map_slot *slot = map_put(&rows->of, bytes_str(site), &is_new);

	if (is_new) {
		struct row row = { .gateways = BUF(NAMES_MAX) };
		snprintf(row.name, sizeof row.name, "%s", site);
		array_push(&rows->all, row);
		slot->num = rows->all.len;
	}
	return &rows->all.at[slot->num - 1];
}

static void
rows_clear(struct rows *rows)
{
	array_each (row, &rows->all)
		buf_clear(&row->gateways);
	array_clear(&rows->all);
	map_clear(&rows->of);
	map_clear(&rows->gateways);
}

/* In whatever it takes part. */
static void
add_gateway(void *ctx, const struct tracker_entry *x)
{
	struct rows *rows = ctx;
	const struct link *l = server_peer_link(rows->server, x->link);
	const struct registry_device *d =
	    l != NULL ? registry_device(rows->server->registry, &l->device) : NULL;
	bool is_new;

	if (d == NULL || d->placed.alone || x->rank == 0 || x->rank > x->gateways)
		return;
	map_put(&rows->gateways, BYTES_OF(d->id), &is_new);
	if (!is_new)
		return;
	struct buf *names = &row_of(rows, d->site)->gateways;
	if (names->len > 0)
		buf_addf(names, ", ");
	buf_addf(names, "%s", d->name);
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->name, ((const struct row *)b)->name);
}

static void
collect(struct server *s, struct rows *rows)
{
	map_each (slot, &s->registry->devices) {
		const struct registry_device *d = slot->ptr;
		if (d->ended)
			continue;
		struct row *row = row_of(rows, d->site);
		row->members++;
		row->online += d->connections > 0;
	}
	array_each (net, &s->registry->subnets)
		(void)row_of(rows, net->site);
	tracker_each(s->tracker, add_gateway, rows);
	if (rows->all.len > 0)
		qsort(rows->all.at, rows->all.len, sizeof *rows->all.at, by_name);
}

static void
tell_all(struct control_call *call, const struct rows *rows)
{
	auto_buf struct buf row = BUF(RECORD_MAX);
	uint64_t devices = 0, online = 0;

	array_each (x, &rows->all) {
		devices += x->members;
		online += x->online;
	}
	record_int(&row, "devices", devices);
	record_int(&row, "online", online);
	control_call_row(call, buf_bytes(&row));
}

static void
tell_sites(struct control_call *call, const struct rows *rows)
{
	array_each (x, &rows->all) {
		auto_buf struct buf row = BUF(RECORD_MAX);
		struct schedule_rates line = { 0 };
		(void)server_line_rates(rows->server, x->name, &line);
		record_text(&row, "list", "sites");
		if (x->name[0] != 0)
			record_text(&row, "site", x->name);
		record_int(&row, "members", x->members);
		record_int(&row, "online", x->online);
		if (x->gateways.len > 0)
			record_bytes(&row, "gateways", buf_bytes(&x->gateways));
		if (line.up != 0)
			record_rate(&row, "up", line.up);
		if (line.down != 0)
			record_rate(&row, "down", line.down);
		control_call_row(call, buf_bytes(&row));
	}
}

static void
tell_subnets(struct server *s, struct control_call *call)
{
	array_each (net, &s->registry->subnets) {
		auto_buf struct buf row = BUF(RECORD_MAX);
		char text[SUBNET_TEXT];
		record_text(&row, "list", "subnets");
		record_text(&row, "subnet", subnet_format(&net->net, text));
		record_text(&row, "site", net->site);
		control_call_row(call, buf_bytes(&row));
	}
}

/* Those who do not believe their label, and why. */
static void
tell_alone(struct server *s, struct control_call *call)
{
	map_each (slot, &s->registry->devices) {
		const struct registry_device *d = slot->ptr;
		auto_buf struct buf row = BUF(RECORD_MAX);
		char why[100];
		if (d->ended || !d->placed.alone)
			continue;
		snprintf(why, sizeof why, "near to %u of %u members there", d->placed.near,
		    d->placed.mates);
		record_text(&row, "list", "alone");
		record_text(&row, "name", d->name);
		record_text(&row, "site", d->site);
		record_text(&row, "from", server_site_from_name(server_site_from(s, d)));
		record_duration(&row, "rtt", (d->placed.rtt_us + 500) / 1000);
		record_text(&row, "text", why);
		control_call_row(call, buf_bytes(&row));
	}
}

static void
list(struct server *s, struct control_call *call)
{
	auto_(rows_clear) struct rows rows = { .server = s };

	collect(s, &rows);
	tell_all(call, &rows);
	tell_sites(call, &rows);
	tell_subnets(s, call);
	tell_alone(s, call);
	control_call_done(call, NULL, -1);
}

/* -- changes -- */

static enum err
move(struct server *s, struct control_call *call, const char *device, const char *site,
    struct error *e)
{
	struct registry_device *d = NULL;

	if (device == NULL)
		return fail(e, ERR_USAGE, "move whom? `weft site move DEVICE SITE`");
	if (site != NULL && !statement_name_ok(site))
		return fail(e, ERR_USAGE, "a site is 1 to %d bytes of text without '/' and '@'",
		    STATEMENT_NAME_MAX);
	enum err r = registry_find_device(s->registry, device, &d, e);
	if (r != OK)
		return r;
	if (site == NULL && d->assigned[0] == 0)
		return fail(e, ERR_USAGE, "%s has no site of yours to be taken back", d->name);
	return server_site_move(s, d, site != NULL ? site : "", call, e);
}

static enum err
map(struct server *s, struct control_call *call, const char *subnet, const char *site,
    struct error *e)
{
	struct registry_subnet net = { 0 };

	if (subnet == NULL || site == NULL)
		return fail(e, ERR_USAGE,
		    "map what to which site? `weft site map SUBNET SITE`, as 10.1.0.0/16 office-a");
	if (!statement_name_ok(site))
		return fail(e, ERR_USAGE, "a site is 1 to %d bytes of text without '/' and '@'",
		    STATEMENT_NAME_MAX);
	enum err r = subnet_parse(subnet, &net.net, e);
	if (r != OK)
		return r;
	if (s->registry->subnets.len >= SERVER_SUBNETS_MAX)
		return fail(e, ERR_LIMIT,
		    "there are %d subnets already, the most that there may be", SERVER_SUBNETS_MAX);
	snprintf(net.site, sizeof net.site, "%s", site);
	server_site_map(s, &net, call);
	return OK;
}

static enum err
unmap(struct server *s, struct control_call *call, const char *subnet, const char *site,
    struct error *e)
{
	struct registry_subnet net = { 0 };
	char text[SUBNET_TEXT];

	if (subnet == NULL || site != NULL)
		return fail(e, ERR_USAGE, "unmap one subnet: `weft site unmap SUBNET`");
	enum err r = subnet_parse(subnet, &net.net, e);
	if (r != OK)
		return r;
	array_each (x, &s->registry->subnets) {
		if (subnet_equal(&x->net, &net.net)) {
			server_site_map(s, &net, call);
			return OK;
		}
	}
	return fail(e, ERR_NOTFOUND, "%s is not mapped (`weft site` lists what is)",
	    subnet_format(&net.net, text));
}

enum err
server_site_call(
    struct server *s, struct control_call *call, const struct control_request *r, struct error *e)
{
	const char *action = control_arg(r, "action"), *what = control_arg(r, "device"),
		   *site = control_arg(r, "site");

	if (action == NULL) {
		list(s, call);
		return OK;
	}
	if (strcmp(action, "move") == 0)
		return move(s, call, what, site, e);
	if (strcmp(action, "map") == 0)
		return map(s, call, what, site, e);
	if (strcmp(action, "unmap") == 0)
		return unmap(s, call, what, site, e);
	return fail(e, ERR_USAGE, "site: 'move', 'map' or 'unmap', not '%s'", action);
}
