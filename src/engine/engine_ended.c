/*
 * Jobs that are over.  The last few are kept, for whoever went away before the end: `weft jobs`
 * shows how it came out.
 *
 * A job's row says that it is over before its files are removed, and its directory goes last; so a
 * crash in between is seen at the next start, and what was left is removed then.
 */
#include <stdio.h>

#include "base/mem.h"
#include "engine/engine_internal.h"

void
engine_ended_add(struct engine *en, const struct job_row *row)
{
	struct job_row mine = *row;

	if (en->ended.len == ENGINE_ENDED_KEPT) {
		job_row_clear(&en->ended.at[0]);
		en->ended.len--;
		memmove(en->ended.at, en->ended.at + 1, en->ended.len * sizeof *en->ended.at);
	}
	mine.spec = BUF(JOB_SPEC_MAX);
	buf_add_bytes(&mine.spec, buf_bytes(&row->spec));
	array_push(&en->ended, mine);
}

bool
engine_ended_left_something(struct engine *en, const struct job_row *row)
{
	struct fs_stat st;
	char name[24];

	snprintf(name, sizeof name, "%lld", (long long)row->id);
	return row->state == JOB_CANCELED ||
	       fs_stat_at(en->jobs_dir, fs_rel(name), &st, NULL) == OK;
}

void
engine_ended_load(struct engine *en, const struct job_row *row, struct engine_job *j)
{
	if (j == NULL) {
		engine_ended_add(en, row);
		return;
	}
	j->engine = en;
	j->over = true;
	array_push(&en->jobs, j);
	engine_job_discard(j);
}

void
engine_ended_clear(struct engine *en)
{
	array_each (row, &en->ended)
		job_row_clear(row);
	array_clear(&en->ended);
}
