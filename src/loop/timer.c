#include "loop/loop_impl.h"

#include "base/mem.h"

struct timer {
	uv_timer_t uv;
	struct loop *loop;
	void (*on_time)(void *ctx);
	void *ctx;
};

struct timer *
timer_new(struct loop *l, void (*on_time)(void *ctx), void *ctx)
{
	struct timer *t = mem_new(struct timer);

	loop_assert(l);
	t->loop = l;
	t->on_time = on_time;
	t->ctx = ctx;
	uv_timer_init(&l->uv, &t->uv);
	return t;
}

static void
on_uv_time(uv_timer_t *uv)
{
	struct timer *t = (struct timer *)uv;

	t->on_time(t->ctx);
}

void
timer_start(struct timer *t, uint64_t after_ms)
{
	loop_assert(t->loop);
	uv_update_time(&t->loop->uv); /* the turn may have begun long ago */
	uv_timer_start(&t->uv, on_uv_time, after_ms, 0);
}

void
timer_stop(struct timer *t)
{
	loop_assert(t->loop);
	uv_timer_stop(&t->uv);
}

static void
on_handle_closed(uv_handle_t *h)
{
	free(h);
}

void
timer_close(struct timer *t)
{
	if (t == NULL)
		return;
	loop_assert(t->loop);
	if (!uv_is_closing((uv_handle_t *)&t->uv))
		uv_close((uv_handle_t *)&t->uv, on_handle_closed);
}
