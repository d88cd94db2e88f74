#include "crypto/device_key.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/obj_mac.h>
#include <pthread.h>

#include "crypto/ossl.h"

static EC_GROUP *p256; /* made once, then constant */
static pthread_once_t p256_made = PTHREAD_ONCE_INIT;

static void
make_p256(void)
{
	p256 = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
}

/* The compressed form always decodes to a point of the curve or to nothing, and never to infinity;
 * the group's order is prime, so every such point is a usable key. */
static bool
is_point(const struct public_key *k)
{
	pthread_once(&p256_made, make_p256);
	EC_POINT *point = p256 != NULL ? EC_POINT_new(p256) : NULL;
	bool ok = point != NULL && (k->bytes[0] == 2 || k->bytes[0] == 3) &&
		  EC_POINT_oct2point(p256, point, k->bytes, k->len, NULL) == 1;

	EC_POINT_free(point);
	if (!ok)
		ERR_clear_error();
	return ok;
}

void
public_key_encode(struct buf *to, const struct public_key *k)
{
	buf_u8(to, k->alg);
	buf_u8(to, k->len);
	buf_add(to, k->bytes, k->len);
}

struct public_key
public_key_decode(struct reader *r)
{
	struct public_key k = { .alg = reader_u8(r), .len = reader_u8(r) };

	if (k.alg != KEY_P256 || k.len != OSSL_POINT_BYTES)
		r->bad = true;
	reader_copy(r, k.bytes, OSSL_POINT_BYTES);
	if (!r->bad && !is_point(&k))
		r->bad = true;
	return r->bad ? (struct public_key){ 0 } : k;
}
