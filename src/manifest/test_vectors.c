/*
 * The vectors in tests/vectors/manifest: made again from their descriptions and compared.  usage:
 * test_vectors DIR WEFT_VECTORS=write writes them instead; what is published stays as it is, and a
 * new format gets new files.
 */
#include "manifest/test_nodes.h"

#include "base/text.h"
#include "manifest/commit.h"
#include "manifest/node_cut.h"
#include "manifest/unit_map.h"

static const char *dir;

static void
read_file(const char *name, struct buf *ret)
{
	auto_free char *path = str_printf("%s/%s", dir, name);
	FILE *f = fopen(path, "rb");
	uint8_t block[4096];
	size_t got;

	if (f == NULL)
		unit_fail("cannot read %s", path);
	while ((got = fread(block, 1, sizeof block, f)) > 0)
		buf_add(ret, block, got);
	fclose(f);
}

static bool
is_writing(void)
{
	const char *how = getenv("WEFT_VECTORS");

	return how != NULL && strcmp(how, "write") == 0;
}

static void
write_file(const char *name, struct buf *text)
{
	auto_free char *path = str_printf("%s/%s", dir, name);
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(text->at, 1, text->len, f), text->len);
	assert_int_equal(fclose(f), 0);
}

static void
compare(const char *name, struct buf *text)
{
	auto_buf struct buf want = BUF(1 << 20);

	if (is_writing())
		write_file(name, text);
	read_file(name, &want);
	assert_string_equal(buf_text(text), buf_text(&want));
}

static void
add_hex(struct buf *to, const char *label, struct bytes b)
{
	for (size_t at = 0; at < b.len; at += 32) {
		char hex[65];
		size_t n = min_of(b.len - at, (size_t)32);
		buf_addf(to, "%s %s\n", label, text_hex(bytes_slice(b, at, n), hex));
	}
}

static void
add_id(struct buf *to, const struct hash_id *id)
{
	add_hex(to, "id", BYTES(id, 1));
	to->len--; /* the algorithm and the hash in one line */
	char hex[65];
	buf_addf(to, "%s\n", text_hex(BYTES(id->bytes, HASH_BYTES), hex));
}

/* One node with its name. */
static void
compare_node(const char *file, const char *about, struct nodes *n, enum hash_kind kind,
    const struct hash_id *id)
{
	auto_buf struct buf text = BUF(1 << 20);

	buf_addf(&text, "# %s\nkind %d\n", about, (int)kind);
	add_id(&text, id);
	add_hex(&text, "node", nodes_bytes(n, kind, id));
	compare(file, &text);
}

/* An id that is the byte N, 32 times. */
static struct hash_id
id_of(uint8_t n)
{
	struct hash_id id = { .alg = HASH_SHA256 };

	memset(id.bytes, n, HASH_BYTES);
	return id;
}

static void
directories(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	struct hash_id empty = make_dir(&n, NULL, 0);
	struct tree_item one[] = { { id_of(0xc1), 5 } };
	struct tree_item holes[] = { { .len = 65536 }, { id_of(0xc2), 131072 }, { .len = 7 } };
	struct tree_entry all[] = {
		{ .name = BYTES_LIT("\x01\xff"), .type = TREE_FILE, .mode = 0, .mtime_ns = -1 },
		{ .name = BYTES_LIT("dir"),
		    .type = TREE_DIR,
		    .mode = 0755,
		    .mtime_ns = 1700000000123456789,
		    .root = empty },
		{ .name = BYTES_LIT("exec"),
		    .type = TREE_FILE,
		    .mode = 0755,
		    .mtime_ns = 1,
		    .size = 5,
		    .items = one,
		    .n_items = 1 },
		{ .name = BYTES_LIT("holes"),
		    .type = TREE_FILE,
		    .mode = 0600,
		    .size = 196615,
		    .items = holes,
		    .n_items = 3 },
		{ .name = BYTES_LIT("large"),
		    .type = TREE_FILE,
		    .mode = 0644,
		    .size = 68157440,
		    .root = id_of(0xf1) },
		{ .name = BYTES_LIT("link"),
		    .type = TREE_SYMLINK,
		    .mode = 0777,
		    .size = 6,
		    .target = BYTES_LIT("../dir") },
	};
	struct hash_id root = make_dir(&n, all, lengthof(all));

	compare_node("dir-empty.txt", "a directory without entries", &n, HASH_TREE, &empty);
	compare_node("dir-all.txt", "an entry of each form", &n, HASH_TREE, &root);
}

struct listing {
	struct nodes *n;
	struct buf *to;
};

static enum err
list_node(void *ctx, enum hash_kind kind, const struct hash_id *id, struct error *e)
{
	struct listing *l = ctx;
	uint8_t key[HASH_ID_BYTES + 1];

	nodes_key(kind, id, key);
	if (map_find(&l->n->kept, BYTES_OF(key)) == NULL)
		return OK; /* an id that stands for something: chunks of no file */
	struct bytes node = nodes_bytes(l->n, kind, id);
	char hex[65];
	buf_addf(l->to, "node level %u bytes %zu id 01%s\n", node.at[1], node.len,
	    text_hex(BYTES(id->bytes, HASH_BYTES), hex));
	return node_children(kind, node, list_node, ctx, e);
}

static void
compare_tree(const char *file, const char *about, struct nodes *n, enum hash_kind kind,
    const struct hash_id *root)
{
	auto_buf struct buf text = BUF(1 << 20);
	struct listing l = { n, &text };

	buf_addf(&text, "# %s\n", about);
	assert_ok(list_node(&l, kind, root, &unit_error));
	compare(file, &text);
}

static void
a_directory_of_several_nodes(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	auto_(prolly_builder_free_p) struct prolly_builder *b =
	    prolly_builder_new(HASH_TREE, HASH_DEFAULT, nodes_sink(&n));
	struct hash_id root;

	for (uint32_t i = 0; i < 1000; i++) {
		char name[8];
		snprintf(name, sizeof name, "%06u", i);
		struct tree_item item = { id_of((uint8_t)i), i + 1 };
		struct tree_entry en = {
			.name = bytes_str(name),
			.type = TREE_FILE,
			.mode = 0644,
			.mtime_ns = (int64_t)i * 1000000000,
			.size = item.len,
			.items = &item,
			.n_items = 1,
		};
		add_entry(b, &en);
	}
	assert_ok(prolly_builder_finish(b, &root, &unit_error));
	compare_tree("dir-1000.txt",
	    "1000 files, i from 0: name \"%06d\", mode 0644, mtime i seconds, one chunk: length i "
	    "+ 1, id (i & 255) 32 times",
	    &n, HASH_TREE, &root);
}

static void
lists_of_chunks(void **state)
{
	(void)state;
	static const uint32_t counts[] = { 65, 3000 };

	for (size_t k = 0; k < lengthof(counts); k++) {
		auto_(nodes_clear) struct nodes n = { 0 };
		auto_(tree_file_builder_free_p) struct tree_file_builder *b =
		    tree_file_builder_new(HASH_DEFAULT, nodes_sink(&n));
		struct tree_entry en = { 0 };
		for (uint32_t i = 0; i < counts[k]; i++) {
			struct tree_item item = { .len = 65536 };
			if (i % 8 != 7)
				hash_object(HASH_DEFAULT, HASH_CHUNK,
				    BYTES_OF(((uint8_t[]){ (uint8_t)i, (uint8_t)(i >> 8) })),
				    &item.id);
			assert_ok(tree_file_builder_add(b, &item, &unit_error));
		}
		assert_ok(tree_file_builder_finish(b, &en, &unit_error));
		static const char about[] =
		    "items, i from 0: 64 KiB each; a hole if i mod 8 is 7, "
		    "else a chunk with id SHA-256(1 | i as u16, little-endian)";
		auto_free char *said = str_printf("%u %s", counts[k], about);
		if (k == 0)
			compare_node("list-65.txt", said, &n, HASH_FILE, &en.root);
		else
			compare_tree("list-3000.txt", said, &n, HASH_FILE, &en.root);
	}
}

static struct dot
dot(uint8_t device, uint64_t seq)
{
	struct dot d = { .seq = seq };

	memset(&d.device, device, sizeof d.device);
	return d;
}

static void
causal_nodes(void **state)
{
	(void)state;
	auto_(nodes_clear) struct nodes n = { 0 };
	auto_(prolly_builder_free_p) struct prolly_builder *b =
	    prolly_builder_new(HASH_CAUSAL, HASH_DEFAULT, nodes_sink(&n));
	static const uint8_t empty_file[11] = { 1, 0xa4, 1 };
	struct causal_entry en[] = {
		{ .name = BYTES_LIT("a"),
		    .id = { 1 },
		    .content = dot(0xd1, 1),
		    .name_dot = dot(0xd1, 1) },
		{ .name = BYTES_LIT("b"),
		    .id = { 2 },
		    .content = dot(0xd2, 300),
		    .name_dot = dot(0xd1, 2) },
		{ .name = BYTES_LIT("c"),
		    .id = { 3 },
		    .content = dot(0xd1, 3),
		    .name_dot = dot(0xd1, 3),
		    .dir = id_of(0xca) },
		{ .name = BYTES_LIT("d"),
		    .id = { 4 },
		    .content = dot(0xd1, 4),
		    .name_dot = dot(0xd1, 4),
		    .n_siblings = 1,
		    .siblings = { { dot(0xd3, 9), BYTES_OF(empty_file) } } },
	};
	struct hash_id root;

	for (size_t i = 0; i < lengthof(en); i++) {
		auto_buf struct buf value = BUF(NODE_ENTRY_MAX);
		assert_ok(causal_entry_encode(&en[i], &value, &unit_error));
		assert_ok(prolly_builder_add(b, en[i].name, buf_bytes(&value), &unit_error));
	}
	assert_ok(prolly_builder_finish(b, &root, &unit_error));
	compare_node(
	    "causal-all.txt", "an entry of each form, by three devices", &n, HASH_CAUSAL, &root);
}

static void
boundaries(void **state)
{
	(void)state;
	static const char *const keys[] = { "a", "b", "README.md", "000000", "000001", "\xff" };
	auto_buf struct buf text = BUF(1 << 16);

	buf_addf(&text, "# the smallest entry that ends a node of 4096 bytes or more\n");
	for (uint8_t level = 0; level < 3; level++)
		for (size_t i = 0; i < lengthof(keys); i++) {
			size_t entry = 1;
			char hex[64];
			while (!node_cut(level, bytes_str(keys[i]), entry, NODE_MIN))
				entry++;
			buf_addf(&text, "level %u key %s entry %zu\n", level,
			    text_hex(bytes_str(keys[i]), hex), entry);
		}
	compare("boundaries.txt", &text);
}

static void
units(void **state)
{
	(void)state;
	static const uint32_t lens[] = { 10, 20, 65536, 1, 300000, 1048576, 5, 65535, 70000 };
	static const uint32_t sizes[] = { 65536, 262144, 4194304 };
	auto_buf struct buf text = BUF(1 << 16);

	buf_addf(&text, "# units of chunks of these lengths, for three unit sizes: first chunk, "
			"first leaf, leaves, bytes\nchunks");
	for (size_t i = 0; i < lengthof(lens); i++)
		buf_addf(&text, " %u", lens[i]);
	buf_addf(&text, "\n");
	for (size_t k = 0; k < lengthof(sizes); k++) {
		struct unit_cutter c;
		struct unit out[CHUNK_LEAVES_MAX + 1];
		unit_cutter_init(&c, sizes[k]);
		for (size_t i = 0; i <= lengthof(lens); i++) {
			size_t n = i < lengthof(lens) ? unit_cutter_add(&c, lens[i], out)
						      : unit_cutter_end(&c, out);
			for (size_t j = 0; j < n; j++)
				buf_addf(&text, "size %u unit %u %u %u %u\n", sizes[k],
				    out[j].first_chunk, out[j].first_leaf, out[j].n_leaves,
				    out[j].bytes);
		}
	}
	compare("units.txt", &text);
}

/* The value of each line "LABEL value", put together. */
static void
gather(struct buf *text, const char *label, struct buf *ret)
{
	size_t n = strlen(label);

	for (const char *line = buf_text(text); *line != 0;) {
		const char *end = strchr(line, '\n');
		assert_non_null(end);
		if (strncmp(line, label, n) == 0 && line[n] == ' ')
			buf_add(ret, line + n + 1, (size_t)(end - line) - n - 1);
		line = end + 1;
	}
}

/* A signature is another one each time, so a commit is not made again but read. */
static void
make_commit(void)
{
	auto_(device_key_free_p) struct device_key *key = NULL;
	auto_buf struct buf b = BUF(COMMIT_MAX), text = BUF(1 << 20);
	struct device_id other;
	struct commit c = {
		.share = id_of(0x51),
		.policy = id_of(0x52),
		.epoch = 1,
		.content = id_of(0x53),
		.causal = id_of(0x54),
		.entries = 7,
		.bytes = 600,
		.chunks = 2,
		.chunk_bytes = 500,
		.seq = 3,
		.hlc = (uint64_t)1700000000000 << 16,
		.label = "v1 \xe2\x9c\x93",
		.n_parents = 2,
		.parents = { id_of(0x55), id_of(0x56) },
	};

	memset(&other, 0xd9, sizeof other);
	version_vector_raise(&c.vv, &other, 300);
	assert_ok(device_key_generate(&key, &unit_error));
	assert_ok(commit_sign(&c, key, &b, &unit_error));
	buf_addf(&text, "# share 51.., policy 52.., epoch 1, content 53.., causal 54.., 7 entries, "
			"600 bytes, 2 chunks of 500,\n"
			"# parents 55.. and 56.., vv d9..: 300 and the author: 3, hlc "
			"1700000000000 << 16, label \"v1 \xe2\x9c\x93\"\n");
	add_id(&text, &c.id);
	add_hex(&text, "commit", buf_bytes(&b));
	write_file("commit.txt", &text);
	commit_clear(&c);
}

static void
commits(void **state)
{
	(void)state;
	auto_(commit_clear) struct commit c = { 0 };
	auto_buf struct buf text = BUF(1 << 20), hex = BUF(1 << 20), id = BUF(100);
	struct device_id other;
	char got[65];

	if (is_writing())
		make_commit();
	read_file("commit.txt", &text);
	gather(&text, "commit", &hex);
	gather(&text, "id", &id);
	auto_free uint8_t *b = mem_zalloc(hex.len / 2);
	assert_true(text_parse_hex(buf_text(&hex), b, hex.len / 2));
	struct bytes bytes = BYTES(b, hex.len / 2);
	assert_ok(commit_decode(bytes, &c, &unit_error));
	assert_ok(commit_verify(bytes, &c, &unit_error));
	assert_int_equal(c.id.alg, 1);
	assert_string_equal(buf_text(&id) + 2, text_hex(BYTES(c.id.bytes, HASH_BYTES), got));
	memset(&other, 0xd9, sizeof other);
	struct device_id author = device_id_of(&c.author);
	assert_int_equal(version_vector_get(&c.vv, &other), 300);
	assert_int_equal(version_vector_get(&c.vv, &author), 3);
	assert_memory_equal(&c.parents[1], &(struct hash_id[]){ id_of(0x56) }[0], HASH_ID_BYTES);
	assert_memory_equal(&c.causal, &(struct hash_id[]){ id_of(0x54) }[0], HASH_ID_BYTES);
	assert_int_equal(c.chunk_bytes, 500);
	assert_int_equal(c.hlc, (uint64_t)1700000000000 << 16);
	assert_string_equal(c.label, "v1 \xe2\x9c\x93");
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(directories),
		cmocka_unit_test(a_directory_of_several_nodes),
		cmocka_unit_test(lists_of_chunks),
		cmocka_unit_test(causal_nodes),
		cmocka_unit_test(boundaries),
		cmocka_unit_test(units),
		cmocka_unit_test(commits),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s DIR\n", argv[0]);
		return 2;
	}
	dir = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
