/* A type and a payload: refused, or it encodes to a payload that means the same, and that one to
 * itself. */
#include "base/mem.h"
#include "base/reader.h"
#include "fuzz/fuzz.h"
#include "proto/message.h"

static void
encode(const struct message *m, struct buf *out)
{
	struct error e;

	fuzz_require(message_encode(m, out, &e) == OK);
}

static enum err
decode(uint16_t type, struct bytes payload, struct message *ret)
{
	const struct frame_header h = { .length = (uint32_t)payload.len,
		.type = type,
		.stream = 1,
		.flags = frame_type_ends(type) ? FRAME_END : 0 };
	struct error e;

	return message_decode(&h, payload, ret, &e);
}

static struct bytes
payload_of(const struct buf *frame)
{
	return bytes_slice(buf_bytes(frame), LIMIT_FRAME_HEADER, frame->len - LIMIT_FRAME_HEADER);
}

/* Whoever uses a message walks its lists and ids. */
static void
walk(const struct message *m)
{
	const struct fields *f = message_fields(m->type);
	bool ok = true;

	for (size_t i = 0; i < f->n; i++) {
		if (f->at[i].kind != FIELD_LIST && f->at[i].kind != FIELD_ADDRESSES)
			continue;
		struct message_list l;
		struct bytes item;
		memcpy(&l, (const uint8_t *)&m->hello + f->at[i].offset, sizeof l);
		uint32_t n = 0;
		for (uint32_t want = l.n; message_list_next(&l, &item); n++)
			fuzz_require(item.len > 0 && item.len <= f->at[i].item && n < want);
		fuzz_require(l.raw.len == 0 && n <= f->at[i].max);
	}
	if (m->type == FRAME_GET_NODES)
		for (uint32_t i = 0; ok; i++)
			fuzz_require(!hash_id_is_none((struct hash_id[]){
					 message_node_id(&m->get_nodes, i, &ok) }) ||
				     !ok);
}

static void
try_rows(struct bytes b)
{
	struct row_share share;
	struct row_snapshot snapshot;
	struct row_device device;
	struct row_member member;
	struct buf out = BUF(1 << 20);
	struct error e;

	if (row_share_decode(b, &share, &e) == OK) {
		row_share_encode(&share, &out);
		fuzz_require(row_share_decode(buf_bytes(&out), &share, &e) == OK);
	}
	buf_reset(&out);
	if (row_snapshot_decode(b, &snapshot, &e) == OK) {
		row_snapshot_encode(&snapshot, &out);
		fuzz_require(row_snapshot_decode(buf_bytes(&out), &snapshot, &e) == OK);
	}
	buf_reset(&out);
	if (row_device_decode(b, &device, &e) == OK) {
		row_device_encode(&device, &out);
		fuzz_require(row_device_decode(buf_bytes(&out), &device, &e) == OK);
	}
	buf_reset(&out);
	if (row_member_decode(b, &member, &e) == OK) {
		row_member_encode(&member, &out);
		fuzz_require(row_member_decode(buf_bytes(&out), &member, &e) == OK);
	}
	buf_clear(&out);
}

/* A list of units says the same when it is written anew, run by run, in no more bytes. */
static void
try_units(struct bytes b)
{
	struct buf out = BUF(1 << 20);
	struct bytes rest = b;
	uint32_t first = 0, n = 0, next = 0;
	uint64_t beyond = 0;

	while (message_units_next(&rest, &first, &n)) {
		fuzz_require(n > 0 && first >= beyond);
		beyond = (uint64_t)first + n;
		fuzz_require(beyond <= UINT32_MAX);
		message_units_add(&out, &next, first, n);
	}
	fuzz_require(rest.len <= b.len);
	fuzz_require(bytes_equal(buf_bytes(&out), bytes_slice(b, 0, b.len - rest.len)));
	buf_clear(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf once = BUF(1 << 20), twice = BUF(1 << 20);
	struct message m;

	if (size < 1 || size > LIMIT_FRAME_MESSAGE)
		return 0;
	struct bytes payload = BYTES(data + 1, size - 1);
	try_rows(payload);
	try_units(payload);
	if (decode(data[0], payload, &m) != OK)
		return 0;
	walk(&m);
	encode(&m, &once);
	fuzz_require(payload_of(&once).len <= payload.len); /* what was not known is gone */
	fuzz_require(decode(data[0], payload_of(&once), &m) == OK);
	encode(&m, &twice);
	fuzz_require(bytes_equal(buf_bytes(&once), buf_bytes(&twice)));
	buf_clear(&once);
	buf_clear(&twice);
	return 0;
}
