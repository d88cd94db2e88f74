/*
 * server.db with changed rows to a registry that opens: refused as damage, or a registry of which
 * everything that the server builds upon is as it must be: states and unit sizes that exist,
 * snapshots of shares that are there, texts that end.
 */
#include "fuzz/fuzz_rows.h"
#include "manifest/unit_map.h"
#include "server/registry.h"

static struct device_key *key;

static void
add_share(struct registry *r, struct hash_id *ret_id, int64_t *ret_num)
{
	struct statement st = { .kind = STATEMENT_SHARE,
		.name = "plans",
		.policy = POLICY_CENTRAL,
		.issued_s = 1700000000 };
	auto_buf struct buf b = BUF(STATEMENT_MAX);

	fuzz_require(statement_sign(&st, key, &b, NULL) == OK);
	*ret_id = statement_share_id(buf_bytes(&b));
	fuzz_require(
	    registry_store_statement(r->db, buf_bytes(&b), &st, NULL) == OK &&
	    registry_store_share(r->db, ret_id, st.name, buf_bytes(&b), ret_num, NULL) == OK);
}

static void
fill(const char *path)
{
	struct registry *r = NULL;
	bool first = false;
	struct registry_device d = { .name = "node", .site = "Oslo", .address = "[::1]:7470" };
	struct registry_invite in = { .id = { 1 }, .secret = { 2 }, .uses = 1, .expires_s = 9 };
	struct registry_snapshot sn = { .state = SNAPSHOT_HEAD,
		.number = 1,
		.entries = 1,
		.unit_size = UNIT_MIN,
		.label = "first" };
	struct hash_id share;
	int64_t num = 0;

	fuzz_require(registry_open(path, device_key_id(key), &r, &first, NULL) == OK && first);
	add_share(r, &share, &num);
	array_reserve(&in.grants, 1);
	in.grants.at[0].share = num;
	in.grants.at[0].rights = RIGHT_READ;
	in.grants.len = 1;
	hash_object(HASH_DEFAULT, HASH_COMMIT, BYTES_LIT("commit"), &sn.id);
	hash_object(HASH_DEFAULT, HASH_TREE, BYTES_LIT("content"), &sn.content);
	const struct registry_access all = { .all = true, .rights = RIGHT_READ };
	bool ok = registry_store_device(r->db, &d, NULL) == OK &&
		  registry_store_invite(r->db, &in, NULL) == OK &&
		  registry_store_access(r->db, num, &all, NULL) == OK &&
		  registry_store_snapshot(r->db, num, &sn, NULL) == OK &&
		  registry_store_share_node(r->db, num, &sn.content, NULL) == OK;
	fuzz_require(ok);
	array_clear(&in.grants);
	registry_close(r);
}

static void
require_unit_size(uint32_t n)
{
	fuzz_require(n >= UNIT_MIN && n <= UNIT_MAX && (n & (n - 1)) == 0);
}

static void
require_snapshot(
    struct registry *r, const struct registry_share *s, const struct registry_snapshot *sn)
{
	struct hash_id content;
	uint32_t unit_size = 0;

	fuzz_require(sn->state >= SNAPSHOT_ANNOUNCED && sn->state <= SNAPSHOT_WITHDRAWN);
	require_unit_size(sn->unit_size);
	fuzz_require(hash_alg_known(sn->id.alg) && hash_alg_known(sn->content.alg));
	fuzz_require(strlen(sn->label) <= COMMIT_LABEL_MAX && strlen(sn->why) <= LIMIT_TEXT);
	if (registry_share_content(r->db, &s->id, &sn->id, &content, &unit_size, NULL) == OK)
		require_unit_size(unit_size);
}

static void
require_registry(struct registry *r)
{
	struct registry_device *d = NULL;
	struct registry_snapshot *sn = NULL;

	map_each (slot, &r->shares) {
		const struct registry_share *s = slot->ptr;
		fuzz_require(registry_share_num(r, s->num) != NULL);
		fuzz_require(strlen(s->name) <= STATEMENT_NAME_MAX);
		array_each (at, &s->snapshots)
			require_snapshot(r, s, *at);
		(void)!registry_select(s, BYTES_LIT(""), &sn, NULL);
		(void)!registry_select(s, BYTES_LIT("first"), &sn, NULL);
		(void)registry_readers(r, s);
	}
	map_each (slot, &r->devices) {
		const struct registry_device *each = slot->ptr;
		fuzz_require(strlen(each->name) <= STATEMENT_NAME_MAX);
		fuzz_require(strlen(each->address) <= LIMIT_ADDRESS_TEXT);
	}
	(void)!registry_find_device(r, "node", &d, NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_rows_dir dir = fuzz_rows_dir_make();
	auto_free char *path = str_printf("%s/server.db", dir.path);
	struct registry *r = NULL;
	bool first = false;
	struct error e = { 0 };

	if (key == NULL)
		fuzz_require(device_key_generate(&key, NULL) == OK);
	fill(path);
	fuzz_rows_change(path, BYTES(data, size));
	enum err got = registry_open(path, device_key_id(key), &r, &first, &e);
	fuzz_require(got == OK || (got == ERR_CORRUPT && e.text[0] != '\0'));
	if (got == OK) {
		require_registry(r);
		registry_close(r);
	}
	fuzz_rows_dir_remove(&dir);
	return 0;
}
