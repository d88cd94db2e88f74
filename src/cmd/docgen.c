/*
 * Prints what is made from the table of commands. usage: weft-docgen man | conf | bash SCRIPT
 * (which is appended)
 */
#include <stdio.h>

#include "cmd/completion.h"
#include "cmd/manual.h"

static bool
append_file(struct buf *out, const char *path)
{
	FILE *f = fopen(path, "rb");
	size_t n = 0;

	if (f == NULL)
		return false;
	do {
		uint8_t block[4096];
		n = fread(block, 1, sizeof block, f);
		buf_add(out, block, n);
	} while (n > 0);
	bool ok = ferror(f) == 0;
	fclose(f);
	return ok;
}

int
main(int argc, char **argv)
{
	auto_buf struct buf out = BUF(MANUAL_MAX);
	bool ok = false;

	if (argc == 2 && strcmp(argv[1], "man") == 0) {
		manual_write(&out);
		ok = true;
	} else if (argc == 2 && strcmp(argv[1], "conf") == 0) {
		manual_write_config(&out);
		ok = true;
	} else if (argc == 3 && strcmp(argv[1], "bash") == 0) {
		completion_write(&out);
		ok = append_file(&out, argv[2]);
	}
	ok =
	    ok && !out.full && fwrite(out.at, 1, out.len, stdout) == out.len && fflush(stdout) == 0;
	if (!ok)
		fprintf(stderr, "usage: weft-docgen man | conf | bash SCRIPT\n");
	return ok ? 0 : 1;
}
