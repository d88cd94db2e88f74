#include "control/control_message.h"

#include <assert.h>

#include "base/mem.h"
#include "base/reader.h"
#include "base/text.h"

static bool
is_name(struct bytes name)
{
	if (name.len == 0 || name.len > CONTROL_NAME_MAX)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.at[i];
		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-')
			return false;
	}
	return true;
}

enum err
control_request_add(struct control_request *r, const char *name, const char *value, struct error *e)
{
	size_t sum = CONTROL_NAME_MAX + 3;

	assert(is_name(bytes_str(name)));
	if (r->n_args == CONTROL_ARGS_MAX)
		return fail(e, ERR_LIMIT, "more than %d arguments", CONTROL_ARGS_MAX);
	for (uint32_t i = 0; i < r->n_args; i++)
		sum += 5 + r->args[i].name.len + r->args[i].value.len;
	if (strlen(value) > CONTROL_FRAME_MAX - sum - 5 - strlen(name))
		return fail(e, ERR_LIMIT, "arguments of more than %d bytes", CONTROL_FRAME_MAX);
	r->args[r->n_args++] = (struct control_arg){ bytes_str(name), bytes_str(value) };
	return OK;
}

const char *
control_arg_next(const struct control_request *r, const char *name, uint32_t *at)
{
	while (*at < r->n_args) {
		const struct control_arg *a = &r->args[(*at)++];
		if (bytes_equal(a->name, bytes_str(name)))
			return (const char *)a->value.at;
	}
	return NULL;
}

const char *
control_arg(const struct control_request *r, const char *name)
{
	uint32_t at = 0;

	return control_arg_next(r, name, &at);
}

bool
control_flag(const struct control_request *r, const char *name)
{
	return control_arg(r, name) != NULL;
}

void
control_frame(struct buf *out, enum control_kind kind, struct bytes body)
{
	if (body.len > CONTROL_FRAME_MAX || buf_reserve(out, CONTROL_HEADER + body.len) == NULL) {
		out->full = true;
		return;
	}
	buf_u32(out, (uint32_t)body.len);
	buf_u8(out, (uint8_t)kind);
	buf_add_bytes(out, body);
}

enum err
control_frame_next(struct bytes in, enum control_kind *ret_kind, struct bytes *ret_body,
    size_t *ret_used, struct error *e)
{
	struct reader r = reader_over(in);
	uint32_t len = reader_u32(&r);
	uint8_t kind = reader_u8(&r);

	if (r.bad)
		return fail(e, ERR_AGAIN, "more bytes needed");
	if (kind < CONTROL_REQUEST || kind > CONTROL_DONE)
		return fail(e, ERR_PROTO, "control frame of unknown kind %u", kind);
	if (len > CONTROL_FRAME_MAX)
		return fail(
		    e, ERR_LIMIT, "control frame of %u bytes, limit %d", len, CONTROL_FRAME_MAX);
	struct bytes body = reader_take(&r, len);
	if (r.bad)
		return fail(e, ERR_AGAIN, "more bytes needed");
	*ret_kind = (enum control_kind)kind;
	*ret_body = body;
	*ret_used = CONTROL_HEADER + body.len;
	return OK;
}

void
control_request_encode(const struct control_request *r, struct buf *body)
{
	struct bytes verb = bytes_str(r->verb);

	assert(is_name(verb) && r->n_args <= CONTROL_ARGS_MAX);
	buf_u8(body, CONTROL_VERSION);
	buf_u8(body, (uint8_t)verb.len);
	buf_add_bytes(body, verb);
	buf_u8(body, (uint8_t)r->n_args);
	for (uint32_t i = 0; i < r->n_args; i++) {
		buf_u8(body, (uint8_t)r->args[i].name.len);
		buf_add_bytes(body, r->args[i].name);
		buf_u32(body, (uint32_t)r->args[i].value.len);
		buf_add_bytes(body, r->args[i].value);
	}
}

/* Copies V with a NUL to STORE, whose memory is already there and does not move. */
static struct bytes
keep(struct buf *store, struct bytes v)
{
	size_t from = store->len;

	buf_add_bytes(store, v);
	buf_u8(store, 0);
	return BYTES(store->at + from, v.len);
}

static enum err
decode_arg(struct reader *r, struct buf *store, struct control_arg *ret, struct error *e)
{
	struct bytes name = reader_take(r, reader_u8(r));
	struct bytes value = reader_take(r, reader_u32(r));

	if (r->bad || !is_name(name))
		return fail(e, ERR_PROTO, "malformed argument in a request");
	if (value.len > 0 && memchr(value.at, '\0', value.len) != NULL)
		return fail(
		    e, ERR_PROTO, "NUL in argument %.*s of a request", (int)name.len, name.at);
	*ret = (struct control_arg){ keep(store, name), keep(store, value) };
	return OK;
}

enum err
control_request_decode(
    struct bytes body, struct buf *store, struct control_request *ret, struct error *e)
{
	struct reader r = reader_over(body);
	struct control_request q = { 0 };
	uint8_t version = reader_u8(&r);

	if (!r.bad && version != CONTROL_VERSION)
		return fail(e, ERR_USAGE,
		    "command line and daemon are of different versions: restart the daemon");
	struct bytes verb = reader_take(&r, reader_u8(&r));
	uint8_t n = reader_u8(&r);
	if (r.bad || !is_name(verb) || n > CONTROL_ARGS_MAX)
		return fail(e, ERR_PROTO, "malformed request");
	memcpy(q.verb, verb.at, verb.len);

	/* Copies are at most as long as the body and two NULs for each argument. */
	buf_reset(store);
	if (buf_reserve(store, body.len + 2 * (size_t)n) == NULL)
		return fail(e, ERR_LIMIT, "request of %zu bytes", body.len);
	for (; q.n_args < n; q.n_args++) {
		enum err c = decode_arg(&r, store, &q.args[q.n_args], e);
		if (c != OK)
			return c;
	}
	if (!reader_done(&r))
		return fail(e, ERR_PROTO, "request with %zu bytes too many", reader_left(&r));
	*ret = q;
	return OK;
}

void
control_done_encode(const struct error *e, int status, struct buf *body)
{
	enum err code = e == NULL ? OK : e->code;

	record_int(body, "code", code);
	if (code != OK)
		record_text(body, "text", e->text);
	record_int(body, "status", (uint64_t)(status >= 0 ? status : control_exit_status(code)));
}

const char *
control_text(struct bytes record, const char *name, char *out, size_t n)
{
	struct record_field f = { 0 };
	size_t len = 0;

	(void)record_find(record, name, &f);
	for (size_t i = 0, step; i < f.text.len; i += step) {
		uint32_t c = 0;
		step = text_utf8(bytes_slice(f.text, i, f.text.len - i), &c);
		bool shows = step > 0 && text_is_visible(c);
		if (len + max_of(step, (size_t)1) >= n)
			break;
		if (shows) {
			memcpy(out + len, f.text.at + i, step);
			len += step;
		} else {
			out[len++] = '?';
			step = max_of(step, (size_t)1);
		}
	}
	out[len] = '\0';
	return out;
}

enum err
control_done_decode(struct bytes body, struct error *ret, int *ret_status, struct error *e)
{
	enum err r = record_check(body, e);

	if (r != OK)
		return r;
	uint64_t code = record_num(body, "code"), status = record_num(body, "status");
	if (code >= ERR_COUNT || status > 255)
		return fail(e, ERR_PROTO, "the daemon's answer is not to be understood");
	*ret = (struct error){ .code = (enum err)code, .where = "daemon" };
	control_text(body, "text", ret->text, sizeof ret->text);
	*ret_status = (int)status;
	return OK;
}

int
control_exit_status(enum err code)
{
	switch (code) {
	case OK:
		return EXIT_DONE;
	case ERR_USAGE:
		return EXIT_USAGE;
	case ERR_DENIED:
		return EXIT_DENIED;
	case ERR_CANCELED:
		return EXIT_INTERRUPTED;
	default:
		return EXIT_FAILED;
	}
}
