/*
 * The line is made of parts; when it is too long the least important one goes, until it fits:
 * name, percent, bar, bytes, rate, time left, sources, files.  The bar takes what is left over.
 */
#include "cmd/progress.h"

#include <assert.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "cmd/cell.h"
#include "control/record.h"

enum {
	PARTS = 8,
	PART_MAX = 256,
	NAME_BYTES = 80,
	WHY_BYTES = 128,
	BAR_MIN = 10,
	BAR_MAX = 40,
	NAME_MAX_COLUMNS = 24,
	DEFAULT_COLUMNS = 80,
	BETWEEN = 2
};
enum part { NAME, PERCENT, BAR, BYTES_DONE, RATE, LEFT, SOURCES, FILES };

struct line {
	char text[PARTS][PART_MAX]; /* "" when there is nothing to say */
	unsigned permille;
	bool has_bar;
};

/* At most N bytes, whole characters: combining ones take no column, but room. */
static void
keep_bytes(char *text, size_t n)
{
	size_t at = 0, step;
	uint32_t c;

	while (
	    text[at] != '\0' && (step = text_utf8(bytes_str(text + at), &c)) > 0 && at + step <= n)
		at += step;
	text[at] = '\0';
}

/* "photos", "photos scan", "photos waiting: the disk is full" */
static void
fill_name(struct line *l, struct bytes r)
{
	auto_buf struct buf out = BUF(PART_MAX - 1);
	char share[CELL_MAX], phase[CELL_MAX], why[CELL_MAX];

	cell_of(r, "share", share);
	cell_cut(share, NAME_MAX_COLUMNS);
	keep_bytes(share, NAME_BYTES);
	cell_of(r, "text", why);
	cell_cut(why, 2 * NAME_MAX_COLUMNS);
	keep_bytes(why, WHY_BYTES);
	cell_of(r, "phase", phase);
	cell_cut(phase, 16);
	keep_bytes(phase, 16);
	buf_addf(&out, "%s", share);
	/* While bytes flow the amounts say it. */
	if (phase[0] != '\0' && strcmp(phase, "fetch") != 0 && strcmp(phase, "upload") != 0)
		buf_addf(&out, " %s", phase);
	if (why[0] != '\0')
		buf_addf(&out, ": %s", why);
	snprintf(l->text[NAME], PART_MAX, "%s", buf_text(&out));
}

static void
fill_amounts(struct line *l, struct bytes r)
{
	uint64_t done = record_num(r, "done"), total = record_num(r, "total");
	char a[TEXT_SIZE], b[TEXT_SIZE];

	if (total == 0) {
		if (done > 0)
			snprintf(l->text[BYTES_DONE], PART_MAX, "%s", text_size(done, a));
		return;
	}
	done = min_of(done, total);
	l->permille = (unsigned)((double)done * 1000 / (double)total);
	l->has_bar = true;
	snprintf(l->text[PERCENT], PART_MAX, "%3u %%", l->permille / 10);
	snprintf(
	    l->text[BYTES_DONE], PART_MAX, "%s of %s", text_size(done, a), text_size(total, b));
}

static void
fill_rest(struct line *l, struct bytes r)
{
	char a[CELL_COUNT], b[CELL_COUNT], text[CELL_MAX];
	struct record_field f;
	uint64_t sources = record_num(r, "sources"), files = record_num(r, "files_total");

	if (record_num(r, "rate") > 0)
		snprintf(l->text[RATE], PART_MAX, "%.60s", cell_of(r, "rate", text));
	if (record_find(r, "eta", &f) && f.type == RECORD_DURATION)
		snprintf(l->text[LEFT], PART_MAX, "%.60s left", cell_text(&f, text));
	if (sources > 0)
		snprintf(l->text[SOURCES], PART_MAX, "%s source%s", cell_count(sources, a),
		    sources == 1 ? "" : "s");
	if (files > 0)
		snprintf(l->text[FILES], PART_MAX, "%s of %s files",
		    cell_count(record_num(r, "files_done"), a), cell_count(files, b));
}

/* Columns of all parts but the bar, with the blanks between them. */
static unsigned
width_of(const struct line *l)
{
	unsigned sum = 0;

	for (int i = 0; i < PARTS; i++)
		if (l->text[i][0] != '\0')
			sum += cell_width(l->text[i]) + (sum > 0 ? BETWEEN : 0);
	return sum;
}

/* Leaves parts out until the line fits into COLUMNS; how wide the bar may be, 0: none. */
static unsigned
fit(struct line *l, unsigned columns)
{
	static const enum part dispensable[] = { FILES, SOURCES, LEFT, BYTES_DONE, RATE, PERCENT };
	unsigned least = l->has_bar ? BAR_MIN + BETWEEN : 0;

	for (size_t i = 0; i < lengthof(dispensable) && width_of(l) + least > columns; i++) {
		/* The bar itself matters less than how fast it is. */
		if (dispensable[i] == BYTES_DONE)
			least = 0;
		if (width_of(l) + least > columns)
			l->text[dispensable[i]][0] = '\0';
	}
	cell_cut(l->text[NAME], columns);
	unsigned left = columns - min_of(columns, width_of(l));
	return l->has_bar && left >= BAR_MIN + BETWEEN ? min_of(left - BETWEEN, (unsigned)BAR_MAX)
						       : 0;
}

static void
add_bar(struct buf *out, unsigned width, unsigned permille, bool color)
{
	unsigned inside = width - 2, full = inside * permille / 1000;

	buf_addf(out, "[%s", color ? "\033[32m" : "");
	for (unsigned i = 0; i < full; i++)
		buf_u8(out, '#');
	buf_addf(out, "%s", color ? "\033[0m" : "");
	for (unsigned i = full; i < inside; i++)
		buf_u8(out, '.');
	buf_u8(out, ']');
}

const char *
progress_line(struct bytes record, unsigned columns, bool color, char out[static PROGRESS_LINE_MAX])
{
	auto_buf struct buf line = BUF(PROGRESS_LINE_MAX - 1);
	struct line l = { 0 };

	fill_name(&l, record);
	fill_amounts(&l, record);
	fill_rest(&l, record);
	unsigned bar = fit(&l, columns);
	for (int i = 0; i < PARTS; i++) {
		bool is_bar = i == BAR && bar > 0;
		if (l.text[i][0] == '\0' && !is_bar)
			continue;
		if (line.len > 0)
			buf_addf(&line, "%*s", BETWEEN, "");
		if (is_bar)
			add_bar(&line, bar, l.permille, color);
		else
			buf_addf(&line, "%s", l.text[i]);
	}
	assert(!line.full);
	snprintf(out, PROGRESS_LINE_MAX, "%s", buf_text(&line));
	return out;
}

void
progress_init(struct progress *p, FILE *out, uint64_t now_ms)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	bool is_smart = isatty(fileno(out)) && term != NULL && strcmp(term, "dumb") != 0;

	*p = (struct progress){
		.out = out,
		.on_terminal = is_smart,
		.color = is_smart && (no_color == NULL || *no_color == '\0'),
		.next_ms = now_ms + PROGRESS_PLAIN_MS,
	};
}

/* Of the terminal, now: it may have been resized.  One less, so that the cursor does not go to the
 * next line. */
static unsigned
columns_of(FILE *f)
{
	struct winsize w = { 0 };

	if (ioctl(fileno(f), TIOCGWINSZ, &w) != 0 || w.ws_col < 2)
		return DEFAULT_COLUMNS - 1;
	return min_of((unsigned)w.ws_col - 1, 200u);
}

void
progress_update(struct progress *p, struct bytes record, uint64_t now_ms)
{
	char line[PROGRESS_LINE_MAX];

	if (p->on_terminal) {
		fprintf(p->out, "\r%s\033[K",
		    progress_line(record, columns_of(p->out), p->color, line));
		p->is_shown = true;
	} else if (now_ms >= p->next_ms) {
		p->next_ms = now_ms + PROGRESS_PLAIN_MS;
		fprintf(p->out, "%s\n", progress_line(record, DEFAULT_COLUMNS, false, line));
	}
	fflush(p->out);
}

void
progress_hide(struct progress *p)
{
	if (!p->is_shown)
		return;
	p->is_shown = false;
	fputs("\r\033[K", p->out);
	fflush(p->out);
}
