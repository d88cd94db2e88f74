#include "proto/message.h"

#include "base/mem.h"
#include "manifest/commit.h"

#define AT(member) #member, offsetof(struct ROW, member)
#define REQ        FIELD_REQUIRED
#define OPT        FIELD_OPTIONAL
#define ANY64      0, UINT64_MAX

#define ROW row_share
static const struct field share_fields[] = {
	{ 1, FIELD_HASH, REQ, AT(share) },
	{ 2, FIELD_NAME, REQ, AT(name), 1, LIMIT_NAME },
	{ 3, FIELD_U32, OPT, AT(rights), 0, UINT32_MAX },
	{ 4, FIELD_U8, OPT, AT(policy), 0, UINT8_MAX },
	{ 5, FIELD_U64, OPT, AT(number), ANY64 },
	{ 6, FIELD_U64, OPT, AT(entries), ANY64 },
	{ 7, FIELD_U64, OPT, AT(bytes), ANY64 },
	{ 8, FIELD_U64, OPT, AT(time_ms), 0, INT64_MAX },
};
#undef ROW
#define ROW row_snapshot
static const struct field snapshot_fields[] = {
	{ 1, FIELD_HASH, REQ, AT(id) },
	{ 2, FIELD_U64, OPT, AT(number), ANY64 },
	{ 3, FIELD_U8, OPT, AT(state), SNAPSHOT_NONE, SNAPSHOT_WITHDRAWN },
	{ 4, FIELD_U64, OPT, AT(entries), ANY64 },
	{ 5, FIELD_U64, OPT, AT(bytes), ANY64 },
	{ 6, FIELD_U64, OPT, AT(time_ms), 0, INT64_MAX },
	{ 7, FIELD_TEXT, OPT, AT(label), 1, COMMIT_LABEL_MAX },
	{ 8, FIELD_NAME, OPT, AT(author_name), 1, LIMIT_NAME },
	{ 9, FIELD_FIXED, OPT, AT(author), DEVICE_ID_BYTES, DEVICE_ID_BYTES },
};
#undef ROW
#define ROW row_device
static const struct field device_fields[] = {
	{ 1, FIELD_FIXED, REQ, AT(id), DEVICE_ID_BYTES, DEVICE_ID_BYTES },
	{ 2, FIELD_NAME, OPT, AT(name), 1, LIMIT_NAME },
	{ 3, FIELD_NAME, OPT, AT(site), 1, LIMIT_NAME },
	{ 4, FIELD_U8, OPT, AT(online), 0, 1 },
	{ 5, FIELD_U8, OPT, AT(is_server), 0, 1 },
	{ 6, FIELD_U64, OPT, AT(seen_ms), 0, INT64_MAX },
	{ 7, FIELD_U64, OPT, AT(joined_ms), 0, INT64_MAX },
	{ 8, FIELD_TEXT, OPT, AT(address), 1, LIMIT_ADDRESS_TEXT },
	{ 9, FIELD_TEXT, OPT, AT(software), 1, LIMIT_NAME },
	{ 10, FIELD_U32, OPT, AT(reported), 0, UINT32_MAX },
	{ 11, FIELD_U8, OPT, AT(site_from), 0, UINT8_MAX },
	{ 12, FIELD_U8, OPT, AT(alone), 0, 1 },
};
#undef ROW
#define ROW row_member
static const struct field member_fields[] = {
	{ 1, FIELD_FIXED, REQ, AT(id), DEVICE_ID_BYTES, DEVICE_ID_BYTES },
	{ 2, FIELD_NAME, OPT, AT(name), 1, LIMIT_NAME },
	{ 3, FIELD_NAME, OPT, AT(site), 1, LIMIT_NAME },
	{ 4, FIELD_ADDRESSES, OPT, AT(addresses), 0, LIMIT_ADDRESSES, LIMIT_ADDRESS_TEXT },
	{ 5, FIELD_U8, OPT, AT(rank), 0, UINT8_MAX },
	{ 6, FIELD_U8, OPT, AT(gateways), 0, UINT8_MAX },
	{ 7, FIELD_U8, OPT, AT(alone), 0, 1 },
};
#undef ROW

static const struct fields shares = { share_fields, lengthof(share_fields),
	sizeof(struct row_share), NULL };
static const struct fields snapshots = { snapshot_fields, lengthof(snapshot_fields),
	sizeof(struct row_snapshot), NULL };
static const struct fields devices = { device_fields, lengthof(device_fields),
	sizeof(struct row_device), NULL };
static const struct fields members = { member_fields, lengthof(member_fields),
	sizeof(struct row_member), NULL };

const struct fields *
row_fields(enum query_kind kind)
{
	switch (kind) {
	case QUERY_SHARES:
		return &shares;
	case QUERY_SNAPSHOTS:
		return &snapshots;
	case QUERY_DEVICES:
		return &devices;
	}
	return NULL;
}

const struct fields *
row_member_fields(void)
{
	return &members;
}

static enum err
decode(const struct fields *f, struct bytes b, void *row, struct error *e)
{
	enum err r = fields_decode(f, b, row, e);

	return r == OK ? fields_check(f, row, e) : r;
}

void
row_share_encode(const struct row_share *r, struct buf *out)
{
	fields_encode(&shares, r, out);
}

void
row_snapshot_encode(const struct row_snapshot *r, struct buf *out)
{
	fields_encode(&snapshots, r, out);
}

void
row_device_encode(const struct row_device *r, struct buf *out)
{
	fields_encode(&devices, r, out);
}

void
row_member_encode(const struct row_member *r, struct buf *out)
{
	fields_encode(&members, r, out);
}

enum err
row_share_decode(struct bytes b, struct row_share *ret, struct error *e)
{
	struct row_share row;
	enum err r = decode(&shares, b, &row, e);

	if (r == OK)
		*ret = row;
	return r;
}

enum err
row_snapshot_decode(struct bytes b, struct row_snapshot *ret, struct error *e)
{
	struct row_snapshot row;
	enum err r = decode(&snapshots, b, &row, e);

	if (r == OK)
		*ret = row;
	return r;
}

enum err
row_device_decode(struct bytes b, struct row_device *ret, struct error *e)
{
	struct row_device row;
	enum err r = decode(&devices, b, &row, e);

	if (r == OK)
		*ret = row;
	return r;
}

enum err
row_member_decode(struct bytes b, struct row_member *ret, struct error *e)
{
	struct row_member row;
	enum err r = decode(&members, b, &row, e);

	if (r == OK)
		*ret = row;
	return r;
}
