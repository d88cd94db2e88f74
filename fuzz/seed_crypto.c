/*
 * Writes the first inputs of the targets of crypto/.  usage: fuzz_seed_crypto DIRECTORY
 * (fuzz/corpus) Keys are made anew each time, so it is run by hand and the files are kept.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "crypto/statement.h"
#include "crypto/tls.h"
#include "fuzz/fuzz.h"

static void
write_seed(const char *dir, const char *target, const char *name, struct bytes b)
{
	auto_free char *sub = str_printf("%s/%s", dir, target);
	auto_free char *path = str_printf("%s/%s", sub, name);

	(void)mkdir(sub, 0777);
	auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0 || write(fd, b.at, b.len) != (ssize_t)b.len) {
		perror(path);
		exit(1);
	}
}

static void
must(enum err r, const struct error *e)
{
	if (r != OK) {
		fprintf(stderr, "%s: %s\n", e->where, e->text);
		exit(1);
	}
}

static void
write_statements(const char *dir, const struct device_key *key, const struct device_key *other)
{
	struct hash_id share, commit;
	struct error e;

	hash_object(HASH_SHA256, HASH_SHARE, BYTES_LIT("share"), &share);
	hash_object(HASH_SHA512_256, HASH_COMMIT, BYTES_LIT("commit"), &commit);
	struct statement all[] = {
		{ .kind = STATEMENT_AUTHORITY,
		    .key = *device_key_public(key),
		    .recovery = *device_key_public(other) },
		{ .kind = STATEMENT_AUTHORITY, .key = *device_key_public(key) },
		{ .kind = STATEMENT_SHARE,
		    .name = "plans",
		    .policy = POLICY_HYBRID,
		    .nonce = { 1, 2, 3 } },
		{ .kind = STATEMENT_MEMBER,
		    .device = *device_key_id(other),
		    .name = "b\xc3\xbcro",
		    .site = "Oslo" },
		{ .kind = STATEMENT_GRANT,
		    .device = *device_key_id(other),
		    .share = share,
		    .rights = RIGHT_WRITE,
		    .expires_s = 1900000000 },
		{ .kind = STATEMENT_REVOKE, .device = *device_key_id(other) },
		{ .kind = STATEMENT_REVOKE, .device = *device_key_id(other), .share = share },
		{ .kind = STATEMENT_HEAD, .share = share, .commit = commit, .number = 1 },
		{ .kind = STATEMENT_HEAD,
		    .share = share,
		    .commit = commit,
		    .number = 2,
		    .previous = commit },
		{ .kind = STATEMENT_SUCCESSOR,
		    .key = *device_key_public(other),
		    .recovery = *device_key_public(key) },
		{ .kind = STATEMENT_POLICY, .share = share, .policy = POLICY_CENTRAL },
	};
	for (size_t i = 0; i < lengthof(all); i++) {
		auto_buf struct buf b = BUF(STATEMENT_MAX);
		auto_free char *name = str_printf("%s_%zu", statement_kind_name(all[i].kind), i);
		all[i].epoch = i;
		all[i].issued_s = 1700000000;
		must(statement_sign(&all[i], key, &b, &e), &e);
		write_seed(dir, "statement", name, buf_bytes(&b));
	}
}

/* B behind the byte that says how it arrives: 0 at once, n in pieces of 8 n bytes. */
static void
write_stream(const char *dir, const char *name, uint8_t step, struct bytes b)
{
	auto_buf struct buf all = BUF(64 * 1024);

	buf_u8(&all, step);
	buf_add_bytes(&all, b);
	write_seed(dir, "tls_server", name, buf_bytes(&all));
}

/* What a client says first; no seed can go further, as the server's answer is another each time. */
static void
write_streams(const char *dir, const struct device_key *key)
{
	struct tls_ctx *ctx = NULL;
	struct error e;

	must(tls_ctx_new(key, &ctx, &e), &e);
	struct tls *t = tls_new_client(ctx, NULL);
	if (tls_handshake(t, &e) != ERR_AGAIN)
		exit(1);
	struct bytes hello = tls_output(t);
	write_stream(dir, "hello", 0, hello);
	write_stream(dir, "hello_in_pieces", 1, hello);
	write_stream(dir, "hello_cut", 0, BYTES(hello.at, hello.len / 2));
	tls_free(t);
	tls_ctx_free(ctx);
	write_stream(dir, "alert", 0, BYTES_LIT("\x15\x03\x03\x00\x02\x02\x28"));
	write_stream(dir, "http", 0, BYTES_LIT("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
}

int
main(int argc, char **argv)
{
	struct device_key *key = NULL, *other = NULL;
	struct error e;

	if (argc != 2) {
		fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
		return 2;
	}
	must(device_key_generate(&key, &e), &e);
	must(device_key_generate(&other, &e), &e);
	write_statements(argv[1], key, other);
	write_streams(argv[1], key);
	device_key_free(key);
	device_key_free(other);
	return 0;
}
