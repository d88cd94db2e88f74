/*
 * state.db with changed rows to a state that opens: every reader ends in an answer or an error, and
 * what it gives is of the kind that its header says: paths that stay beneath their root, ids of
 * known algorithms, names and texts that end.
 */
#include "engine/state.h"
#include "fuzz/fuzz_rows.h"

static struct hash_id
id_of(const char *what)
{
	struct hash_id id;

	hash_object(HASH_DEFAULT, HASH_TREE, bytes_str(what), &id);
	return id;
}

static void
fill(const char *path)
{
	struct hash_id share = id_of("share"), node = id_of("node"), chunk = id_of("chunk");
	struct state *s = NULL;
	struct root root = { 0 };
	struct job_row job = {
		.kind = ROOT_GET, .state = JOB_RUNNING, .share = share, .spec = BUF(JOB_SPEC_MAX)
	};
	int64_t dir = 0, top = 0;

	fuzz_require(state_open(path, &s, NULL) == OK && state_begin(s, NULL) == OK);
	bool ok = state_set(s, "name", BYTES_LIT("node"), NULL) == OK &&
		  state_statement_put(s, BYTES_LIT("statement"), &node, NULL) == OK &&
		  state_root_get(s, ROOT_GET, &share, "plans", "/srv/a", "", &root, NULL) == OK &&
		  state_dir_id(s, root.id, (struct relpath){ "", 0 }, &top, NULL) == OK &&
		  state_dir_id(s, root.id, REL("a/b"), &dir, NULL) == OK;
	struct state_file f = { .name = "file", .name_len = 4, .size = 9, .ours = true };
	ok = ok && state_file_put(s, dir, &f, NULL) == OK &&
	     state_place_add(s, &chunk, f.id, 0, NULL) == OK &&
	     state_share_node_add(s, &share, &node, NULL) == OK;
	job.root = root.id;
	ok = ok && state_job_put(s, &job, NULL) == OK && state_commit(s, NULL) == OK;
	fuzz_require(ok);
	root_clear(&root);
	job_row_clear(&job);
	state_close(s);
}

static void
require_id(const struct hash_id *id)
{
	fuzz_require(hash_id_is_none(id) || hash_alg_known(id->alg));
}

static enum err
on_root(void *ctx, const struct root *r, struct error *e)
{
	(void)ctx;
	(void)e;
	require_id(&r->share);
	require_id(&r->snapshot);
	require_id(&r->content);
	fuzz_require(strlen(r->share_name) <= STATEMENT_NAME_MAX);
	fuzz_require(strlen(r->path) + strlen(r->subpath) < SIZE_MAX);
	return OK;
}

static void
require_file(const struct state_file *f)
{
	fuzz_require(f->name_len <= RELPATH_NAME_MAX);
	fuzz_require(relpath_is_name(BYTES(f->name, f->name_len)));
}

static enum err
on_dir(void *ctx, int64_t id, struct relpath path, uint64_t ino, struct error *e)
{
	struct relpath again;
	state_file_array files = { 0 };

	(void)ino;
	(void)e;
	fuzz_require(relpath_parse(path.text, path.len, &again, NULL) == OK);
	if (state_files(ctx, id, &files, NULL) == OK)
		array_each (f, &files)
			require_file(f);
	array_clear(&files);
	return OK;
}

static enum err
on_job(void *ctx, const struct job_row *j, struct error *e)
{
	(void)ctx;
	(void)e;
	require_id(&j->share);
	require_id(&j->snapshot);
	fuzz_require(strlen(j->text) < sizeof j->text && j->spec.len <= JOB_SPEC_MAX);
	return OK;
}

static enum err
on_statement(void *ctx, struct bytes b, struct error *e)
{
	(void)ctx;
	(void)e;
	fuzz_require(b.len == 0 || b.at != NULL);
	return OK;
}

static void
read_places(struct state *s)
{
	struct hash_id chunk = id_of("chunk"), share = id_of("share"), node = id_of("node");
	struct state_place places[4];
	auto_buf struct buf path = BUF(2 * RELPATH_MAX);
	size_t n = 0;

	if (state_places(s, NULL, &chunk, places, lengthof(places), &n, NULL) != OK)
		n = 0;
	for (size_t i = 0; i < n; i++) {
		struct state_file f;
		struct relpath p;
		int64_t root = 0;
		buf_reset(&path);
		if (state_file_path(s, places[i].file, &root, &path, &f, NULL) != OK)
			continue;
		require_file(&f);
		/* A directory's row may say anything; who opens the path parses it first. */
		if (relpath_parse(buf_text(&path), path.len, &p, NULL) == OK)
			fuzz_require(p.len == path.len && p.len <= RELPATH_MAX);
	}
	(void)state_share_has_node(s, &share, &node);
}

static void
read_all(struct state *s)
{
	auto_buf struct buf value = BUF(64 * 1024);

	(void)!state_get(s, "name", &value, NULL);
	(void)!state_statements(s, on_statement, NULL, NULL);
	(void)!state_roots(s, on_root, NULL, NULL);
	for (int64_t root = -1; root < 3; root++)
		(void)!state_dirs(s, root, on_dir, s, NULL);
	(void)!state_jobs(s, on_job, NULL, NULL);
	read_places(s);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_rows_dir dir = fuzz_rows_dir_make();
	auto_free char *path = str_printf("%s/state.db", dir.path);
	struct state *s = NULL;

	fill(path);
	fuzz_rows_change(path, BYTES(data, size));
	if (state_open(path, &s, NULL) == OK) {
		read_all(s);
		state_close(s);
	}
	fuzz_rows_dir_remove(&dir);
	return 0;
}
