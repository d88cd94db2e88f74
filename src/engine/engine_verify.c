/*
 * weft verify: every directory of this node that belongs to the share is re-hashed against its
 * snapshot.
 */
#include <stdio.h>

#include "base/array.h"
#include "base/mem.h"
#include "base/text.h"
#include "engine/engine_internal.h"

struct verify {
	struct engine_work work;
	struct engine *en;
	struct control_call *call; /* NULL: the command line has gone */
	atomic_bool cancel;
	char share[STATEMENT_NAME_MAX + 1];
	char *path;              /* "", in the share, or absolute: on this machine */
	const struct root *root; /* being verified */
	uint64_t roots, files, bytes, differences, started_ms;
	struct error why; /* the last root that does not have path */
};

struct posted_row {
	struct verify *v;
	struct buf row;
};

static void
on_gone(void *ctx)
{
	struct verify *v = ctx;
	struct control_call *call = v->call;

	v->cancel = true;
	v->call = NULL;
	control_call_done(call, NULL, -1);
}

static void
send_row(void *arg)
{
	struct posted_row *p = arg;

	if (p->v->call != NULL)
		control_call_row(p->v->call, buf_bytes(&p->row));
	buf_clear(&p->row);
	free(p);
}

static void
on_difference(void *ctx, struct relpath path, const char *what)
{
	struct verify *v = ctx;
	struct posted_row *p = mem_new(struct posted_row);
	const char *root = v->root->path;
	auto_free char *full = path.len > 0 ? str_printf("%s/%s", root, path.text) : str_dup(root);

	p->v = v;
	p->row = BUF(RECORD_MAX);
	record_text(&p->row, "list", "different");
	record_bytes(&p->row, "path", bytes_str(full));
	record_text(&p->row, "what", what);
	loop_post(v->en->loop, send_row, p);
}

/* PATH in the share, or beneath (or equal to) ROOT's directory, as a path inside it. */
static bool
inside(const struct root *root, const char *path, struct relpath *ret)
{
	size_t n = strlen(root->path);

	if (path[0] != '/')
		return relpath_parse(path, strlen(path), ret, NULL) == OK;
	if (strncmp(root->path, path, n) != 0 || (path[n] != 0 && path[n] != '/'))
		return false;
	const char *rest = path[n] == '/' ? path + n + 1 : path + n;
	return relpath_parse(rest, strlen(rest), ret, NULL) == OK;
}

static enum err
verify_root(void *ctx, const struct root *root, struct error *e)
{
	struct verify *v = ctx;
	struct relpath path;
	uint64_t files = 0, bytes = 0, differences = 0;

	if (strcmp(root->share_name, v->share) != 0 || hash_id_is_none(&root->snapshot) ||
	    !inside(root, v->path, &path))
		return OK;
	v->root = root;
	const struct dest_verify_opts o = {
		.root = root,
		.nodes = engine_nodes(v->en),
		.path = path,
		.cancel = &v->cancel,
		.on_difference = on_difference,
		.ctx = v,
	};
	struct error why;
	enum err r = dest_verify(&o, &files, &bytes, &differences, &why);
	if (r == ERR_NOTFOUND) {
		/* One of several may have been published or received without it. */
		v->why = why;
		return OK;
	}
	if (r != OK) {
		*e = why;
		return r;
	}
	v->roots++;
	v->files += files;
	v->bytes += bytes;
	v->differences += differences;
	return OK;
}

static enum err
work_verify(struct engine_work *w, struct error *e)
{
	struct verify *v = (struct verify *)w;
	enum err r = state_roots(v->en->state, verify_root, v, e);

	if (r == OK && v->roots == 0 && v->why.code != OK) {
		*e = v->why;
		return e->code;
	}
	if (r == OK && v->roots == 0)
		return fail(e, ERR_NOTFOUND, "nothing of %s%s%s is on this machine", v->share,
		    v->path[0] ? " under " : "", v->path);
	return r;
}

static void
answer(struct verify *v)
{
	auto_buf struct buf row = BUF(RECORD_MAX);
	struct error e;

	record_text(&row, "share", v->share);
	if (v->path[0] != 0)
		record_text(&row, "path", v->path);
	record_int(&row, "files", v->files);
	record_size(&row, "bytes", v->bytes);
	record_int(&row, "differences", v->differences);
	record_duration(&row, "duration", loop_now_ms(v->en->loop) - v->started_ms);
	control_call_row(v->call, buf_bytes(&row));
	if (v->differences == 0) {
		control_call_done(v->call, NULL, -1);
		return;
	}
	(void)fail(&e, ERR_CORRUPT, "%llu differences between what is on the disk and the snapshot",
	    (unsigned long long)v->differences);
	control_call_done(v->call, &e, EXIT_CONFLICTS);
}

/* After the rows that were posted before it. */
static void
finish(void *arg)
{
	struct verify *v = arg;

	if (v->call != NULL) {
		control_call_on_gone(v->call, NULL, NULL);
		answer(v);
	}
	free(v->path);
	free(v);
}

static void
done_verify(struct engine_work *w, enum err r, const struct error *e)
{
	struct verify *v = (struct verify *)w;

	if (r == OK) {
		loop_post(v->en->loop, finish, v);
		return;
	}
	if (v->call != NULL) {
		control_call_on_gone(v->call, NULL, NULL);
		control_call_done(v->call, e, -1);
	}
	v->call = NULL;
	loop_post(v->en->loop, finish, v);
}

void
engine_verify(struct engine *en, struct control_call *call, const struct control_request *r)
{
	struct verify *v = mem_new(struct verify);
	const char *share = control_arg(r, "share"), *path = control_arg(r, "path");

	v->work = (struct engine_work){ .work = work_verify, .done = done_verify };
	v->en = en;
	v->call = call;
	v->started_ms = loop_now_ms(en->loop);
	snprintf(v->share, sizeof v->share, "%s", share != NULL ? share : "");
	v->path = str_dup(path != NULL ? path : "");
	control_call_on_gone(call, on_gone, v);
	engine_work(en, &v->work);
}
