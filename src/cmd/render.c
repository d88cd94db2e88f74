#include "cmd/render.h"

#include "cmd/cell.h"
#include "cmd/summary.h"
#include "cmd/table.h"

bool
render_may_color(FILE *f)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(fileno(f)) && (no == NULL || *no == '\0') &&
	       (term == NULL || strcmp(term, "dumb") != 0);
}

void
render_init(struct render *r, const char *verb, FILE *out)
{
	*r = (struct render){
		.verb = verb,
		.out = out,
		.text = BUF(16 * RECORD_MAX),
		.object = BUF(RECORD_MAX),
	};
	json_init(&r->writer, &r->text);
}

void
render_clear(struct render *r)
{
	buf_clear(&r->text);
	buf_clear(&r->object);
	rows_clear(&r->rows);
	rows_clear(&r->lists);
}

/* -- JSON -- */

static void
json_flush(struct render *r)
{
	fwrite(r->text.at, 1, r->text.len, r->out);
	fflush(r->out); /* the next row may be hours away */
	buf_reset(&r->text);
}

static void
json_begin(struct render *r)
{
	if (r->begun)
		return;
	r->begun = true;
	if (view_is_array(r->verb))
		json_array(&r->writer, NULL);
	else
		json_object(&r->writer, NULL);
}

static void
json_open_list(struct render *r, const char *list)
{
	if (strcmp(r->list, list) == 0)
		return;
	if (r->list[0] != '\0')
		json_end(&r->writer);
	snprintf(r->list, sizeof r->list, "%s", list);
	if (list[0] == '\0')
		return;
	json_array(&r->writer, list);
	for (size_t i = 0; view_list(r->verb, i) != NULL; i++)
		if (strcmp(view_list(r->verb, i), list) == 0)
			r->shown[i] = true;
}

/* Who reads JSON finds every list that belongs to the object, if only an empty one. */
static void
json_empty_lists(struct render *r)
{
	for (size_t i = 0; view_list(r->verb, i) != NULL; i++)
		if (!r->shown[i])
			json_open_list(r, view_list(r->verb, i));
}

static void
json_row(struct render *r, struct bytes record, const char *list)
{
	json_begin(r);
	if (view_is_array(r->verb)) {
		record_json(record, NULL, &r->writer);
	} else {
		json_open_list(r, list);
		if (list[0] != '\0')
			record_json(record, NULL, &r->writer);
		else
			record_json_fields(record, &r->writer);
	}
	json_flush(r);
}

static void
json_finish(struct render *r, bool ok)
{
	if (!ok && !r->begun)
		return;
	json_begin(r);
	json_empty_lists(r);
	json_open_list(r, "");
	json_end(&r->writer);
	json_flush(r);
	fputc('\n', r->out);
}

/* -- for people -- */

static struct table_opts
table_opts(const struct render *r, const char *list)
{
	return (struct table_opts){ .verb = r->verb,
		.list = list,
		.all = r->verbose,
		.color = r->color,
		.names = r->quiet };
}

/* "ok    disk: 41 GiB free", and beneath it what to do. */
static void
print_check(const struct render *r, struct bytes row)
{
	static const struct {
		const char *state, *color;
	} colors[] = { { "ok", "\033[32m" }, { "warn", "\033[33m" }, { "fail", "\033[31m" } };
	char state[CELL_MAX], check[CELL_MAX], text[CELL_MAX], advice[CELL_MAX];
	const char *color = "";

	cell_of(row, "state", state);
	if (r->quiet && strcmp(state, "ok") == 0)
		return;
	for (size_t i = 0; r->color && i < lengthof(colors); i++)
		if (strcmp(colors[i].state, state) == 0)
			color = colors[i].color;
	fprintf(r->out, "%s%-4s%s  %s: %s\n", color, state, *color != '\0' ? "\033[0m" : "",
	    cell_of(row, "check", check), cell_of(row, "text", text));
	if (cell_of(row, "advice", advice)[0] != '\0')
		fprintf(r->out, "      %s\n", advice);
}

/* "path: content differs" */
static void
print_line(const struct render *r, struct bytes row)
{
	const char *between = "";
	char text[CELL_MAX];

	for (const struct view_column *v = NULL; (v = view_next(r->verb, r->list, v)) != NULL;
	     between = ": ")
		fprintf(r->out, "%s%s", between, cell_of(row, v->field, text));
	fputc('\n', r->out);
}

/* What came while a get stays is told as it comes. */
static void
print_snapshot(const struct render *r, struct bytes row)
{
	const struct rows none = { 0 };

	if (!r->quiet)
		summary_print(r->out, r->verb, row, &none);
	fflush(r->out);
}

static void
text_row(struct render *r, struct bytes record, const char *list)
{
	switch (view_kind(r->verb)) {
	case VIEW_TABLE:
		rows_add(&r->rows, record);
		return;
	case VIEW_CHECKS:
		print_check(r, record);
		fflush(r->out);
		return;
	case VIEW_LINES:
		if (list[0] != '\0') {
			snprintf(r->list, sizeof r->list, "%s", list);
			print_line(r, record);
			return;
		}
		break;
	case VIEW_OBJECT:
		break;
	}
	if (strcmp(list, "snapshots") == 0) {
		print_snapshot(r, record);
		return;
	}
	if (list[0] != '\0')
		rows_add(&r->lists, record);
	else
		buf_add_bytes(&r->object, record);
}

/* The rows of each list under a line of titles, in the order in which the lists came. */
static void
print_lists(const struct render *r)
{
	const struct rows *all = &r->lists;

	for (size_t i = 0, n; i < all->all.len; i += n) {
		char list[RECORD_NAME_MAX + 1], other[RECORD_NAME_MAX + 1];
		record_str(all->all.at[i], "list", list, sizeof list);
		for (n = 1; i + n < all->all.len; n++)
			if (strcmp(record_str(all->all.at[i + n], "list", other, sizeof other),
				list) != 0)
				break;
		const struct rows part = { .all = { .at = all->all.at + i, .len = n, .room = n } };
		const struct table_opts o = table_opts(r, list);
		fputc('\n', r->out);
		table_print(r->out, &o, &part);
	}
}

static void
text_finish(struct render *r, bool ok)
{
	const struct table_opts o = table_opts(r, "");
	struct bytes object = buf_bytes(&r->object);
	bool is_invite = strcmp(r->verb, "invite") == 0;

	if (view_is_array(r->verb)) {
		table_print(r->out, &o, &r->rows);
		if (ok && view_kind(r->verb) == VIEW_TABLE && r->rows.all.len == 0 && !r->quiet)
			fprintf(stderr, "no %s\n", r->verb);
		return;
	}
	if (object.len == 0 || (r->quiet && !is_invite))
		return;
	if (!summary_print(r->out, r->verb, object, &r->lists)) {
		table_print_object(r->out, &o, object);
		print_lists(r);
	}
}

void
render_row(struct render *r, struct bytes record)
{
	char list[RECORD_NAME_MAX + 1];
	auto_buf struct buf plain = BUF(RECORD_MAX);
	struct record_field f;

	record_str(record, "list", list, sizeof list);
	if (!r->json) {
		text_row(r, record, list);
		return;
	}
	/* The list is said by the array that the row is in. */
	if (list[0] != '\0' && record_find(record, "list", &f)) {
		size_t begin = (size_t)(f.name.at - record.at) - 1;
		size_t end = (size_t)(f.text.at - record.at) + f.text.len;
		buf_add_bytes(&plain, bytes_slice(record, 0, begin));
		buf_add_bytes(&plain, bytes_slice(record, end, record.len - end));
		record = buf_bytes(&plain);
	}
	json_row(r, record, list);
}

void
render_end(struct render *r, bool ok)
{
	if (r->json)
		json_finish(r, ok);
	else
		text_finish(r, ok);
	fflush(r->out);
}
