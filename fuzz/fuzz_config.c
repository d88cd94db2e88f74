/* Text to a configuration: accepted, or one error that names file and line; what is accepted is of
 * the table's keys. */
#include "cmd/config.h"
#include "fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config c = { 0 };
	struct error e = { 0 };

	if (size > CONFIG_FILE_MAX)
		return 0;
	enum err r = config_parse(&c, "f", BYTES(data, size), COMMAND_FOR_SERVER, &e);
	if (r != OK) {
		unsigned line = 0;
		fuzz_require(r == ERR_USAGE && e.code == r);
		fuzz_require(sscanf(e.text, "f:%u: ", &line) == 1 && line > 0);
		fuzz_require(strchr(e.text, '\n') == NULL);
	}
	array_each (v, &c.values) {
		fuzz_require(command_key_find(v->key->name) == v->key);
		fuzz_require(*v->value != '\0');
	}
	config_clear(&c);
	return 0;
}
