/* Bytes on the control socket, either end: frames are cut within bounds, an accepted request
 * encodes to the same bytes. */
#include "control/control_message.h"
#include "fuzz/fuzz.h"

static void
on_request(struct bytes body)
{
	auto_buf struct buf store = BUF(2 * CONTROL_FRAME_MAX), again = BUF(CONTROL_FRAME_MAX);
	struct control_request r;

	if (control_request_decode(body, &store, &r, NULL) != OK)
		return;
	for (uint32_t i = 0; i < r.n_args; i++) {
		const char *name = (const char *)r.args[i].name.at,
			   *value = (const char *)r.args[i].value.at;
		fuzz_require(
		    strlen(name) == r.args[i].name.len && strlen(value) == r.args[i].value.len);
		fuzz_require(control_arg(&r, name) != NULL);
	}
	control_request_encode(&r, &again);
	fuzz_require(bytes_equal(buf_bytes(&again), body));
}

static void
on_done(struct bytes body)
{
	struct error e = { 0 };
	int status = -1;

	if (control_done_decode(body, &e, &status, NULL) != OK)
		return;
	fuzz_require(e.code < ERR_COUNT && status >= 0 && status <= 255);
	for (const char *at = e.text; *at != '\0'; at++)
		fuzz_require((unsigned char)*at >= 0x20 && *at != 0x7f);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes in = BYTES(data, size), body;
	enum control_kind kind;
	size_t used;

	while (control_frame_next(in, &kind, &body, &used, NULL) == OK) {
		fuzz_require(used == CONTROL_HEADER + body.len && used <= in.len);
		if (kind == CONTROL_REQUEST)
			on_request(body);
		else if (kind == CONTROL_DONE)
			on_done(body);
		in = bytes_slice(in, used, in.len - used);
	}
	return 0;
}
