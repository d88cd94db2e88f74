#include "cmd/table.h"

#include "cmd/cell.h"
#include "cmd/view.h"

enum { COLUMNS_MAX = RECORD_FIELDS_MAX, SHORT_ID = 13 /* the first group of a device id */ };

struct column {
	char field[RECORD_NAME_MAX + 1];
	const char *title;
	unsigned width;
	bool is_number; /* in every row that has it */
	bool is_short;  /* only the beginning of an id */
};
struct columns {
	struct column at[COLUMNS_MAX];
	size_t n;
};

static struct column *
column_find(struct columns *cs, struct bytes field)
{
	for (size_t i = 0; i < cs->n; i++)
		if (bytes_equal(bytes_str(cs->at[i].field), field))
			return &cs->at[i];
	return NULL;
}

static void
column_add(struct columns *cs, struct bytes field, const char *title)
{
	struct column *c = &cs->at[cs->n];

	if (cs->n == COLUMNS_MAX || bytes_equal(field, BYTES_LIT("list")))
		return;
	cs->n++;
	*c = (struct column){ .is_number = true };
	memcpy(c->field, field.at, min_of(field.len, (size_t)RECORD_NAME_MAX));
	c->title = title != NULL ? title : c->field;
}

/* The columns of the view whose field occurs, in its order; with O->all then the others. */
static void
choose_columns(struct columns *cs, const struct table_opts *o, const struct rows *rows)
{
	const struct view_column *v = view_next(o->verb, o->list, NULL);
	bool all = o->all || v == NULL;
	struct record_field f;

	for (; v != NULL; v = view_next(o->verb, o->list, v)) {
		bool occurs = false;
		array_each (row, &rows->all)
			occurs = occurs || record_find(*row, v->field, &f);
		if (!occurs)
			continue;
		column_add(cs, bytes_str(v->field), v->title);
		cs->at[cs->n - 1].is_short = v->is_short && !o->all;
	}
	array_each (row, &rows->all) {
		struct bytes rest = *row;
		while (all && record_next(&rest, &f, NULL))
			if (column_find(cs, f.name) == NULL)
				column_add(cs, f.name, NULL);
	}
}

/* The cell of column C in ROW, "" when it has none. */
static const char *
cell(const struct column *c, struct bytes row, char text[static CELL_MAX])
{
	cell_of(row, c->field, text);
	if (c->is_short && strlen(text) > SHORT_ID)
		text[SHORT_ID] = '\0';
	return text;
}

static void
measure(struct columns *cs, const struct rows *rows)
{
	for (size_t i = 0; i < cs->n; i++)
		cs->at[i].width = cell_width(cs->at[i].title);
	array_each (row, &rows->all) {
		struct bytes rest = *row;
		struct record_field f;
		char text[CELL_MAX];
		while (record_next(&rest, &f, NULL)) {
			struct column *c = column_find(cs, f.name);
			if (c == NULL)
				continue;
			c->width = max_of(c->width, cell_width(cell(c, *row, text)));
			c->is_number = c->is_number && cell_is_number(f.type);
		}
	}
}

/* TEXT in its column; nothing behind the last one. */
static void
print_cell(FILE *out, const struct column *c, const char *text, bool is_last)
{
	unsigned blanks = c->width - cell_width(text);

	if (c->is_number)
		fprintf(out, "%*s%s", (int)blanks, "", text);
	else
		fprintf(out, "%s%*s", text, is_last ? 0 : (int)blanks, "");
	if (!is_last)
		fputs("  ", out);
}

static void
print_row(FILE *out, const struct columns *cs, struct bytes row)
{
	char text[CELL_MAX];
	size_t last = cs->n;

	/* Empty cells at the end are left out, so that no line ends in blanks. */
	while (last > 0 && cell(&cs->at[last - 1], row, text)[0] == '\0')
		last--;
	for (size_t i = 0; i < last; i++)
		print_cell(out, &cs->at[i], cell(&cs->at[i], row, text), i + 1 == last);
	fputc('\n', out);
}

static void
print_titles(FILE *out, const struct columns *cs, bool color)
{
	size_t last = cs->n;

	while (last > 0 && cs->at[last - 1].title[0] == '\0')
		last--;
	fputs(color ? "\033[1m" : "", out);
	for (size_t i = 0; i < last; i++)
		print_cell(out, &cs->at[i], cs->at[i].title, i + 1 == last);
	fputs(color ? "\033[0m\n" : "\n", out);
}

void
table_print(FILE *out, const struct table_opts *o, const struct rows *rows)
{
	struct columns cs = { .n = 0 };
	char text[CELL_MAX];

	choose_columns(&cs, o, rows);
	if (cs.n == 0)
		return;
	if (o->names) {
		array_each (row, &rows->all)
			fprintf(out, "%s\n", cell_of(*row, cs.at[0].field, text));
		return;
	}
	measure(&cs, rows);
	print_titles(out, &cs, o->color);
	array_each (row, &rows->all)
		print_row(out, &cs, *row);
}

void
table_print_object(FILE *out, const struct table_opts *o, struct bytes record)
{
	struct columns cs = { .n = 0 };
	struct rows one = { .all = { .at = &record, .len = 1, .room = 1 } };
	char text[CELL_MAX];
	unsigned width = 0;

	choose_columns(&cs, o, &one);
	for (size_t i = 0; i < cs.n; i++)
		width = max_of(width, cell_width(cs.at[i].title));
	for (size_t i = 0; i < cs.n; i++)
		fprintf(out, "%s%*s  %s\n", cs.at[i].title,
		    (int)(width - cell_width(cs.at[i].title)), "",
		    cell_of(record, cs.at[i].field, text));
}
