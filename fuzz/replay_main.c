/*
 * Runs one target over files, and over the files of directories.  usage: fuzz_NAME_replay PATH...
 * Every path is printed before it is run, so the last line names the one that broke something.
 */
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/mem.h"
#include "fuzz/fuzz.h"

enum { INPUT_MAX = 16 << 20 };

static int
run_file(const char *path)
{
	auto_buf struct buf in = BUF(INPUT_MAX);
	FILE *f = fopen(path, "rb");
	size_t n;

	if (f == NULL) {
		perror(path);
		return 1;
	}
	puts(path);
	fflush(stdout);
	do {
		uint8_t block[4096];
		n = fread(block, 1, sizeof block, f);
		buf_add(&in, block, n);
	} while (n > 0);
	fclose(f);
	/* A copy of exactly this size, so that reading one byte too many is seen. */
	auto_free uint8_t *exact = mem_dup(in.at, in.len);
	LLVMFuzzerTestOneInput(exact, in.len);
	return 0;
}

static int
run_dir(const char *path)
{
	struct dirent **names = NULL;
	int n = scandir(path, &names, NULL, alphasort), bad = n < 0, files = 0;

	for (int i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.') {
			auto_free char *file = str_printf("%s/%s", path, names[i]->d_name);
			bad |= run_file(file);
			files++;
		}
		free(names[i]);
	}
	free(names);
	if (files == 0) {
		fprintf(stderr, "%s: no inputs\n", path);
		bad = 1;
	}
	return bad;
}

int
main(int argc, char **argv)
{
	int bad = argc < 2;

	for (int i = 1; i < argc; i++) {
		struct stat st;
		bool is_dir = stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode);
		bad |= is_dir ? run_dir(argv[i]) : run_file(argv[i]);
	}
	return bad;
}
