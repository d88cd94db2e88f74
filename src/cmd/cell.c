#include "cmd/cell.h"

#include <inttypes.h>

#include "base/mem.h"
#include "base/text.h"

const char *
cell_text(const struct record_field *f, char out[static CELL_MAX])
{
	char text[TEXT_TIME]; /* the longest of the three */
	_Static_assert(TEXT_TIME >= TEXT_SIZE && TEXT_TIME >= TEXT_DURATION, "");

	switch (f->type) {
	case RECORD_TEXT:
		text_escape(f->text, out, CELL_MAX);
		break;
	case RECORD_INT:
		snprintf(out, CELL_MAX, "%" PRIu64, f->num);
		break;
	case RECORD_SIZE:
		snprintf(out, CELL_MAX, "%s", text_size(f->num, text));
		break;
	case RECORD_TIME:
		snprintf(out, CELL_MAX, "%s", f->num == 0 ? "-" : text_time((int64_t)f->num, text));
		break;
	case RECORD_DURATION:
		snprintf(out, CELL_MAX, "%s", text_duration(f->num, text));
		break;
	case RECORD_BOOL:
		snprintf(out, CELL_MAX, "%s", f->num != 0 ? "yes" : "no");
		break;
	case RECORD_RATE:
		snprintf(out, CELL_MAX, "%s/s", text_size(f->num, text));
		break;
	}
	return out;
}

const char *
cell_of(struct bytes record, const char *name, char out[static CELL_MAX])
{
	struct record_field f;

	out[0] = '\0';
	return record_find(record, name, &f) ? cell_text(&f, out) : out;
}

bool
cell_is_number(enum record_type type)
{
	return type == RECORD_INT || type == RECORD_SIZE || type == RECORD_DURATION ||
	       type == RECORD_RATE;
}

/* Wide and without width, coarsely, by blocks of Unicode. */
static unsigned
char_width(uint32_t c)
{
	static const struct {
		uint32_t from, to;
		unsigned width;
	} blocks[] = {
		{ 0x300, 0x36f, 0 },
		{ 0x1100, 0x115f, 2 },
		{ 0x1ab0, 0x1aff, 0 },
		{ 0x1dc0, 0x1dff, 0 },
		{ 0x20d0, 0x20ff, 0 },
		{ 0x2e80, 0xa4cf, 2 },
		{ 0xac00, 0xd7a3, 2 },
		{ 0xf900, 0xfaff, 2 },
		{ 0xfe00, 0xfe0f, 0 },
		{ 0xfe20, 0xfe2f, 0 },
		{ 0xfe30, 0xfe6f, 2 },
		{ 0xff00, 0xff60, 2 },
		{ 0xffe0, 0xffe6, 2 },
		{ 0x1f300, 0x1faff, 2 },
		{ 0x20000, 0x3fffd, 2 },
	};

	for (size_t i = 0; i < lengthof(blocks); i++)
		if (c >= blocks[i].from && c <= blocks[i].to)
			return blocks[i].width;
	return 1;
}

/* Bytes of the first character of TEXT, which is not empty, and its columns. */
static size_t
first_char(const char *text, unsigned *ret_width)
{
	uint32_t c = 0;
	size_t n = text_utf8(bytes_str(text), &c);

	*ret_width = n == 0 ? 1 : char_width(c);
	return n == 0 ? 1 : n;
}

unsigned
cell_width(const char *text)
{
	unsigned sum = 0, width;

	for (; *text != '\0'; sum += width)
		text += first_char(text, &width);
	return sum;
}

void
cell_cut(char *text, unsigned columns)
{
	unsigned dots = columns >= 6 ? 3 : 0, at = 0, width;
	size_t i = 0;

	if (cell_width(text) <= columns)
		return;
	while (text[i] != '\0') {
		size_t n = first_char(text + i, &width);
		if (at + width > columns - dots)
			break;
		at += width;
		i += n;
	}
	/* What is cut away took more columns than the dots do, hence as many bytes. */
	memcpy(text + i, "...", dots);
	text[i + dots] = '\0';
}

const char *
cell_count(uint64_t n, char out[static CELL_COUNT])
{
	char digits[CELL_COUNT];
	int len = snprintf(digits, sizeof digits, "%" PRIu64, n), to = 0;

	for (int i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			out[to++] = ',';
		out[to++] = digits[i];
	}
	out[to] = '\0';
	return out;
}
