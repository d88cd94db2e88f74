/*
 * Bytes as a path: refused, or names joined by single slashes of which none is empty, "." or "..",
 * so whatever is opened beneath a directory by it stays there.
 */
#include "base/mem.h"
#include "fuzz/fuzz.h"
#include "manifest/tree.h"

static void
require_name(struct bytes name)
{
	fuzz_require(name.len >= 1 && name.len <= RELPATH_NAME_MAX);
	for (size_t i = 0; i < name.len; i++)
		fuzz_require(name.at[i] != '/' && name.at[i] != '\0');
	fuzz_require(!(name.len == 1 && name.at[0] == '.'));
	fuzz_require(!(name.len == 2 && name.at[0] == '.' && name.at[1] == '.'));
}

static void
require_path(struct relpath p)
{
	size_t from = 0, depth = 0;

	for (size_t i = 0; i <= p.len && p.len > 0; i++) {
		if (i < p.len && p.text[i] != '/')
			continue;
		require_name(BYTES(p.text + from, i - from));
		from = i + 1;
		depth++;
	}
	fuzz_require(p.len <= RELPATH_MAX && depth <= RELPATH_DEPTH_MAX);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = mem_zalloc(size + 1);
	struct bytes name = BYTES(text, size);
	struct relpath p = { 0 };
	struct error e = { 0 };

	if (size > 0)
		memcpy(text, data, size);
	enum err r = relpath_parse(text, size, &p, &e);
	fuzz_require(r == OK || r == ERR_PROTO);
	if (r == OK) {
		fuzz_require(p.text == text && p.len == size && strlen(text) == size);
		require_path(p);
	}
	if (relpath_is_name(name)) {
		require_name(name);
		fuzz_require(r == OK);
	}
	if (tree_entry_name(name, NULL) == OK)
		fuzz_require(relpath_is_name(name) && strncmp(text, ".weft", 5) != 0);
	return 0;
}
