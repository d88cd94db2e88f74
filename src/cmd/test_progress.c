#include "tests/check.h"

#include "base/mem.h"
#include "base/text.h"
#include "cmd/cell.h"
#include "cmd/progress.h"
#include "control/record.h"

/* Three characters of two columns. */
#define NIHONGO "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e"

static void
fill(struct buf *r, const char *share, const char *phase, uint64_t done, uint64_t total)
{
	record_int(r, "job", 3);
	record_text(r, "share", share);
	record_text(r, "phase", phase);
	record_size(r, "done", done);
	record_size(r, "total", total);
}

static void
fill_rest(struct buf *r)
{
	record_int(r, "files_done", 1200);
	record_int(r, "files_total", 10000);
	record_rate(r, "rate", 98 << 20);
	record_duration(r, "eta", 17000);
	record_int(r, "sources", 3);
}

static void
a_wide_line_says_everything(void **state)
{
	auto_buf struct buf r = BUF(RECORD_MAX);
	char line[PROGRESS_LINE_MAX];

	(void)state;
	fill(&r, "photos", "fetch", 400 << 20, 1000 << 20);
	fill_rest(&r);
	assert_string_equal(progress_line(buf_bytes(&r), 140, false, line),
	    "photos   40 %  [###############.......................]  400.0 MiB of 1000.0 MiB  "
	    "98.0 MiB/s  17 s left  "
	    "3 sources  1,200 of 10,000 files");
}

static void
a_narrow_line_keeps_what_matters(void **state)
{
	static const struct {
		unsigned columns;
		const char *want;
	} cases[] = {
		{ 100, "photos   40 %  [#########...............]  400.0 MiB of 1000.0 MiB  98.0 "
		       "MiB/s  17 s left  3 sources" },
		{ 79, "photos   40 %  [#####.........]  400.0 MiB of 1000.0 MiB  98.0 MiB/s  17 s "
		      "left" },
		{ 60, "photos   40 %  400.0 MiB of 1000.0 MiB  98.0 MiB/s" },
		{ 40, "photos   40 %  [####.......]  98.0 MiB/s" },
		{ 14, "photos   40 %" },
		{ 5, "photo" },
	};
	auto_buf struct buf r = BUF(RECORD_MAX);
	char line[PROGRESS_LINE_MAX];

	(void)state;
	fill(&r, "photos", "fetch", 400 << 20, 1000 << 20);
	fill_rest(&r);
	for (size_t i = 0; i < lengthof(cases); i++)
		assert_string_equal(
		    progress_line(buf_bytes(&r), cases[i].columns, false, line), cases[i].want);
}

/* Without the escapes. */
static void
strip(char *line)
{
	char *to = line;

	for (const char *at = line; *at != '\0'; at++) {
		if (*at == '\033')
			at += strcspn(at, "m");
		else
			*to++ = *at;
	}
	*to = '\0';
}

static void
no_line_is_wider_than_the_terminal(void **state)
{
	static const char *const shares[] = {
		"a",
		"a share with quite a long name that nobody would want to read again and again",
		(NIHONGO NIHONGO NIHONGO),
		"\x1b[2J",
	};
	static const char *const phases[] = { "fetch", "scan", "waiting" };
	static const uint64_t dones[] = { 0, 1, 500, 1000, 2000, UINT64_MAX };

	(void)state;
	for (size_t i = 0; i < lengthof(shares) * lengthof(phases) * lengthof(dones) * 4; i++) {
		auto_buf struct buf r = BUF(RECORD_MAX);
		size_t k = i / 4;
		fill(&r, shares[k % 4], phases[k / 4 % 3], dones[k / 12], (i & 1) != 0 ? 1000 : 0);
		if ((i & 2) != 0)
			fill_rest(&r);
		record_text(&r, "text",
		    k % 2 == 0 ? "the disk is full: it goes on when there is room" : NULL);
		for (unsigned columns = 0; columns <= 200; columns += columns < 20 ? 1 : 7) {
			char plain[PROGRESS_LINE_MAX], colored[PROGRESS_LINE_MAX];
			progress_line(buf_bytes(&r), columns, false, plain);
			progress_line(buf_bytes(&r), columns, true, colored);
			strip(colored);
			assert_string_equal(plain, colored);
			if (cell_width(plain) > columns)
				print_error("%u columns: %s\n", columns, plain);
			assert_true(cell_width(plain) <= columns);
			assert_true(text_is_utf8(bytes_str(plain)));
		}
	}
}

static void
the_phase_is_told_unless_bytes_flow(void **state)
{
	auto_buf struct buf r = BUF(RECORD_MAX);
	char line[PROGRESS_LINE_MAX];

	(void)state;
	fill(&r, "photos", "waiting", 0, 0);
	record_text(&r, "text", "the disk is full");
	assert_string_equal(
	    progress_line(buf_bytes(&r), 80, false, line), "photos waiting: the disk is full");
}

static void
without_a_terminal_a_line_comes_every_ten_seconds(void **state)
{
	auto_buf struct buf r = BUF(RECORD_MAX);
	struct progress p;
	char *text = NULL;
	size_t n = 0;
	FILE *out = fopen("/dev/null", "w");

	(void)state;
	assert_non_null(out);
	fill(&r, "photos", "fetch", 1, 2);
	progress_init(&p, out, 1000);
	assert_false(p.on_terminal);
	fclose(out);
	out = open_memstream(&text, &n);
	p.out = out;
	for (uint64_t now = 1000; now < 1000 + 3 * PROGRESS_PLAIN_MS; now += 200)
		progress_update(&p, buf_bytes(&r), now);
	progress_hide(&p);
	fclose(out);
	assert_string_equal(text,
	    "photos   50 %  [###################...................]  1 B of 2 B\n"
	    "photos   50 %  [###################...................]  1 B of 2 B\n");
	free(text);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_wide_line_says_everything),
		cmocka_unit_test(a_narrow_line_keeps_what_matters),
		cmocka_unit_test(no_line_is_wider_than_the_terminal),
		cmocka_unit_test(the_phase_is_told_unless_bytes_flow),
		cmocka_unit_test(without_a_terminal_a_line_comes_every_ten_seconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
