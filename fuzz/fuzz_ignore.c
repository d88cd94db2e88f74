/* Rules, a zero byte, a path: every path has a verdict, which what does not speak of it leaves
 * alone. */
#include "base/buf.h"
#include "engine/ignore.h"
#include "fuzz/fuzz.h"

/* The verdict under TEXT between BEFORE and BEHIND; -1 when the rules are refused. */
static int
verdict(const char *before, struct bytes text, const char *behind, struct bytes path, bool is_dir)
{
	auto_buf struct buf all = BUF(2 * IGNORE_FILE_MAX);
	struct ignore_rules *r = NULL;

	buf_addf(&all, "%s", before);
	buf_add_bytes(&all, text);
	buf_addf(&all, "%s", behind);
	if (ignore_rules_parse(buf_bytes(&all), &r, NULL) != OK)
		return -1;
	int v = (int)ignore_rules_match(r, path, is_dir);
	ignore_rules_free(r);
	return v;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = size > 0 ? memchr(data, '\0', size) : NULL;
	size_t n = nul != NULL ? (size_t)(nul - data) : size;
	struct bytes text = BYTES(data, n), path = BYTES(data, 0);

	if (nul != NULL)
		path = BYTES(nul + 1, size - n - 1);
	if (n > IGNORE_FILE_MAX - 64)
		return 0;
	for (int is_dir = 0; is_dir < 2; is_dir++) {
		int v = verdict("", text, "", path, is_dir);
		/* a byte order mark is one only at the start */
		bool marked = n >= 3 && data[0] == 0xef && data[1] == 0xbb && data[2] == 0xbf;
		if (v < 0)
			continue;
		fuzz_require(verdict("", text, "\n\n#x\n", path, is_dir) == v);
		if (!marked)
			fuzz_require(verdict("#\n\n", text, "", path, is_dir) == v);
		int all = verdict("", text, "\n*\n", path, is_dir),
		    none = verdict("", text, "\n!*\n", path, is_dir);
		fuzz_require(all < 0 || all == IGNORE_YES);
		fuzz_require(none < 0 || none == IGNORE_NO);
	}
	return 0;
}
