/* Bytes to a record: refused, or every reader and the JSON writer agree on its fields. */
#include "base/mem.h"
#include "base/text.h"
#include "control/record.h"
#include "fuzz/fuzz.h"

static void
write_again(struct buf *out, const char *name, const struct record_field *f)
{
	switch (f->type) {
	case RECORD_TEXT:
		record_bytes(out, name, f->text);
		break;
	case RECORD_INT:
		record_int(out, name, f->num);
		break;
	case RECORD_SIZE:
		record_size(out, name, f->num);
		break;
	case RECORD_TIME:
		record_time(out, name, (int64_t)f->num);
		break;
	case RECORD_DURATION:
		record_duration(out, name, f->num);
		break;
	case RECORD_RATE:
		record_rate(out, name, f->num);
		break;
	case RECORD_BOOL:
		record_bool(out, name, f->num != 0);
		break;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes in = BYTES(data, size), rest = in;
	struct record_field f, found;
	auto_buf struct buf again = BUF(RECORD_MAX), text = BUF(8 * RECORD_MAX + 4096);
	struct json j;
	bool is_good = record_check(in, NULL) == OK, bad = false;

	while (record_next(&rest, &f, &bad)) {
		char name[RECORD_NAME_MAX + 1], shown[64];
		fuzz_require(f.name.len > 0 && f.name.len < sizeof name);
		memcpy(name, f.name.at, f.name.len);
		name[f.name.len] = '\0';
		fuzz_require(record_find(in, name, &found));
		fuzz_require(strlen(record_str(in, name, shown, sizeof shown)) < sizeof shown);
		if (is_good)
			write_again(&again, name, &f);
	}
	fuzz_require(!is_good || !bad);
	fuzz_require(!is_good || bytes_equal(buf_bytes(&again), in));
	json_init(&j, &text);
	record_json(in, NULL, &j);
	fuzz_require(j.depth == 0);
	if (!text.full)
		fuzz_require(text.len >= 2 && text.at[0] == '{' && text_is_utf8(buf_bytes(&text)));
	return 0;
}
