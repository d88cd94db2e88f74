#include "loop/loop_impl.h"

void
task_init(struct task *t, struct loop *l, void (*run)(void *ctx), void *ctx)
{
	*t = (struct task){ .loop = l, .run = run, .ctx = ctx };
}

/* Nothing: an active idle handle is what keeps poll from sleeping, and the loop from ending. */
static void
on_busy(uv_idle_t *h)
{
	(void)h;
}

void
task_start(struct task *t)
{
	struct loop *l = t->loop;

	loop_assert(l);
	if (t->link != NULL)
		return;
	if (l->tasks == NULL)
		uv_idle_start(&l->busy, on_busy);
	t->next = NULL;
	t->link = l->tasks_end;
	*l->tasks_end = t;
	l->tasks_end = &t->next;
}

void
task_cancel(struct task *t)
{
	struct loop *l = t->loop;

	if (t->link == NULL)
		return;
	loop_assert(l);
	*t->link = t->next;
	if (t->next != NULL)
		t->next->link = t->link;
	else
		l->tasks_end = t->link;
	t->link = NULL;
	if (l->tasks == NULL)
		uv_idle_stop(&l->busy);
}

/* Up to the one that is last now: a task that starts itself again runs in the next turn, after
 * sockets had theirs. */
void
task_run_all(struct loop *l)
{
	struct task end = { .loop = l };

	if (l->tasks == NULL)
		return;
	task_start(&end);
	while (l->tasks != &end) {
		struct task *t = l->tasks;
		task_cancel(t);
		t->run(t->ctx);
	}
	task_cancel(&end);
}
