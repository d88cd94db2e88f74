#include "swarm/swarm_bound.h"

#include <math.h>

#include "base/mem.h"

struct site { /* what is in it */
	double lacked, held, up;
	bool home, used; /* an origin is in it; anybody */
};
struct best {
	double s;
	enum swarm_bound why;
};

static void
raise_to(struct best *b, enum swarm_bound why, double bytes, double rate)
{
	double s = bytes <= 0 ? 0 : rate > 0 ? bytes / rate : INFINITY;

	if (s > b->s)
		*b = (struct best){ s, why };
}

static double
lacks(const struct swarm_bound_net *net, const struct swarm_bound_node *n)
{
	return n->origin || n->held >= net->bytes ? 0 : (double)(net->bytes - n->held);
}

/* What is lacked by the nodes themselves, wherever they are. */
static void
bound_nodes(struct best *b, const struct swarm_bound_net *net)
{
	double lacked = 0, held = 0, up = 0, origins = 0;

	for (uint32_t i = 0; i < net->n_nodes; i++) {
		const struct swarm_bound_node *n = &net->nodes[i];
		raise_to(b, SWARM_BOUND_DOWNLINK, lacks(net, n), (double)n->down);
		lacked += lacks(net, n);
		up += (double)n->up;
		if (n->origin)
			origins += (double)n->up;
		else
			held += (double)n->held;
	}
	if (lacked == 0)
		return;
	/* What others hold may all be different parts. */
	raise_to(b, SWARM_BOUND_ORIGIN, (double)net->bytes - held, origins);
	raise_to(b, SWARM_BOUND_UPLOADS, lacked, up);
}

/* No limit anywhere makes it no bound. */
static void
add_rate(double *sum, uint64_t rate)
{
	*sum = rate == 0 ? INFINITY : *sum + (double)rate;
}

static void
bound_sites(struct best *b, const struct swarm_bound_net *net, const struct site *sites)
{
	double whole = (double)net->bytes, imports = 0, outside = 0, home_out = 0, all_out = 0;

	for (uint32_t i = 0; i < net->n_sites; i++) {
		const struct site *s = &sites[i];
		double in = net->sites[i].in == 0 ? INFINITY : (double)net->sites[i].in;
		if (!s->used)
			continue;
		raise_to(b, SWARM_BOUND_FEED, s->lacked, in + s->up);
		add_rate(&all_out, net->sites[i].out);
		if (s->home) {
			add_rate(&home_out, net->sites[i].out);
			continue;
		}
		double lacked = s->lacked > 0 ? whole - s->held : 0;
		raise_to(b, SWARM_BOUND_SITE_IN, lacked, in);
		imports += lacked > 0 ? lacked : 0;
		outside += s->held;
	}
	if (imports > 0)
		raise_to(b, SWARM_BOUND_SITE_OUT, whole - outside, home_out);
	raise_to(b, SWARM_BOUND_SITES, imports, all_out);
}

double
swarm_bound_s(const struct swarm_bound_net *net, enum swarm_bound *ret_why)
{
	struct site *sites = mem_array(struct site, net->n_sites);
	struct best b = { 0, SWARM_BOUND_NONE };
	uint32_t used = 0;

	for (uint32_t i = 0; i < net->n_nodes; i++) {
		const struct swarm_bound_node *n = &net->nodes[i];
		struct site *s = &sites[n->site];
		used += !s->used;
		s->used = true;
		s->home |= n->origin;
		s->lacked += lacks(net, n);
		s->held += n->origin ? 0 : (double)n->held;
		s->up += (double)n->up;
	}
	bound_nodes(&b, net);
	if (used > 1)
		bound_sites(&b, net, sites);
	free(sites);
	if (ret_why != NULL)
		*ret_why = b.why;
	return b.s;
}
