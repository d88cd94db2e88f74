/* Bytes to frames: each header is refused, or encodes to the same bytes; each raw payload is split
 * without a gap. */
#include "base/mem.h"
#include "base/reader.h"
#include "fuzz/fuzz.h"
#include "proto/frame.h"

static void
try_data(struct bytes payload)
{
	struct bytes lists, leaves;
	struct data_prefix p;
	struct error e;
	uint8_t again[LIMIT_DATA_PREFIX];

	if (frame_data_decode(payload, &p, &lists, &leaves, &e) != OK)
		return;
	frame_data_encode(&p, again);
	fuzz_require(memcmp(again, payload.at, sizeof again) == 0);
	fuzz_require(
	    lists.at == payload.at + LIMIT_DATA_PREFIX && leaves.at == lists.at + lists.len);
	fuzz_require(LIMIT_DATA_PREFIX + lists.len + leaves.len == payload.len);
	fuzz_require(lists.len <= LIMIT_DATA_LISTS && leaves.len <= LIMIT_DATA_RAW &&
		     leaves.len >= p.n_leaves);
}

static void
try_node(struct bytes payload)
{
	struct bytes node;
	struct error e;
	uint16_t index;
	uint8_t again[FRAME_NODE_PREFIX];

	if (frame_node_decode(payload, &index, &node, &e) != OK)
		return;
	frame_node_encode(index, again);
	fuzz_require(memcmp(again, payload.at, sizeof again) == 0);
	fuzz_require(node.at == payload.at + FRAME_NODE_PREFIX &&
		     node.len + FRAME_NODE_PREFIX == payload.len);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader r = reader_over(BYTES(data, size));
	bool guest = (reader_u8(&r) & 1) != 0;

	while (reader_left(&r) >= LIMIT_FRAME_HEADER) {
		struct bytes head = reader_take(&r, LIMIT_FRAME_HEADER);
		uint8_t again[LIMIT_FRAME_HEADER];
		struct frame_header h;
		struct error e;

		if (frame_header_decode(head.at, guest, &h, &e) != OK)
			return 0;
		fuzz_require(!guest || h.length <= LIMIT_FRAME_GUEST);
		frame_header_encode(&h, again);
		fuzz_require(memcmp(again, head.at, sizeof again) == 0);
		struct bytes payload = reader_take(&r, min_of((size_t)h.length, reader_left(&r)));
		try_data(payload);
		try_node(payload);
	}
	return 0;
}
