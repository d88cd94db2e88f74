#include "tests/unit.h"

#include <openssl/pem.h>
#include <pthread.h>

#include "base/mem.h"
#include "base/text.h"
#include "crypto/device_key.h"
#include "crypto/hash.h"

static struct device_key *
new_key(void)
{
	struct device_key *k = NULL;

	assert_ok(device_key_generate(&k, &unit_error));
	return k;
}

/* The key of RFC 6979 A.2.5, so that ids and encodings can be written down. */
static const char rfc_pem[] = "-----BEGIN PRIVATE KEY-----\n"
			      "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgya+p2EW6dRZrXCFX\n"
			      "Z7HWk05Qw9s26JsSe4piKxIPZyGhRANCAARg/tS6JVqdMclh63TGNW1owEm4kjth\n"
			      "+mzmaWIuYPKftnkD/hAIuLyZpBrp6VYovGTy8bIMLX6fUXejwpTURiKZ\n"
			      "-----END PRIVATE KEY-----\n";

static struct device_key *
rfc_key(void)
{
	struct device_key *k = NULL;

	assert_ok(device_key_from_pem(bytes_str(rfc_pem), &k, &unit_error));
	return k;
}

static void
a_known_key_has_the_id_of_the_format_document(void **state)
{
	(void)state;
	auto_(device_key_free_p) struct device_key *k = rfc_key();
	auto_buf struct buf b = BUF(100);
	char hex[200], text[DEVICE_ID_TEXT], brief[DEVICE_ID_SHORT];

	public_key_encode(&b, device_key_public(k));
	assert_string_equal(text_hex(buf_bytes(&b), hex),
	    "01210360fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6");
	assert_string_equal(device_id_format(device_key_id(k), text),
	    "xfry4kug37tqc-zmdxa7oqkd4ef-ozks6s234fss7-u6r3m3ed4zh7q");
	assert_string_equal(device_id_short(device_key_id(k), brief), "xfry4ku");
}

static void
a_device_id_reads_back_in_any_case_and_grouping(void **state)
{
	(void)state;
	auto_(device_key_free_p) struct device_key *k = rfc_key();
	static const char *const forms[] = {
		"xfry4kug37tqc-zmdxa7oqkd4ef-ozks6s234fss7-u6r3m3ed4zh7q",
		"XFRY4KUG37TQCZMDXA7OQKD4EFOZKS6S234FSS7U6R3M3ED4ZH7Q",
		"xfry 4kug 37tq czmd xa7o qkd4 efoz ks6s 234f ss7u 6r3m 3ed4 zh7q"
	};
	struct device_id id;

	for (size_t i = 0; i < lengthof(forms); i++) {
		assert_true(device_id_parse(forms[i], &id));
		assert_true(device_id_equal(&id, device_key_id(k)));
	}
	assert_false(device_id_parse("xfry4kug37tqczmdxa7oqkd4efozks6s234fss7u6r3m3ed4zh7", &id));
	assert_false(device_id_parse("xfry4kug37tqczmdxa7oqkd4efozks6s234fss7u6r3m3ed4zh7qa", &id));
	assert_false(device_id_parse("", &id));
}

static void
a_key_survives_its_file(void **state)
{
	(void)state;
	auto_(device_key_free_p) struct device_key *k = new_key(), *back = NULL;
	auto_buf struct buf pem = BUF(4096);
	struct signature s;

	assert_ok(device_key_to_pem(k, &pem, &unit_error));
	assert_non_null(strstr(buf_text(&pem), "BEGIN PRIVATE KEY"));
	assert_ok(device_key_from_pem(buf_bytes(&pem), &back, &unit_error));
	assert_true(device_id_equal(device_key_id(k), device_key_id(back)));
	assert_ok(device_key_sign(back, "test", BYTES_LIT("x"), &s, &unit_error));
	assert_ok(signature_verify(device_key_public(k), "test", BYTES_LIT("x"), &s, &unit_error));
	auto_buf struct buf small = BUF(50);
	assert_err(ERR_LIMIT, device_key_to_pem(k, &small, &unit_error));
}

static const char other_curve[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDB5etNPrrBnFtr/Bak5\n"
    "HB9oTukBN98Z9YZ2cEh739AICLF/S+KjXtEc58350Cz6ccqhZANiAAQVx36Mr0p/\n"
    "+rKjLklzKvJ0Swqz4Lw+qg6HYxaka5D11YIMHRUlRnPayDDQ0F/H3ozrL6N1ydXZ\n"
    "87c4v+CWsma/Nr9LmvxgPOviN3+cfSBcGyJi33BCcAqKfNdbKoPkiCk=\n"
    "-----END PRIVATE KEY-----\n";

static void
a_damaged_or_foreign_key_file_is_named_corrupt(void **state)
{
	(void)state;
	auto_(device_key_free_p) struct device_key *k = NULL;
	char pem[sizeof rfc_pem];
	static char huge[8192];

	assert_err(ERR_CORRUPT, device_key_from_pem(BYTES(NULL, 0), &k, &unit_error));
	assert_err(ERR_CORRUPT, device_key_from_pem(BYTES_LIT("hello"), &k, &unit_error));
	memset(huge, 'A', sizeof huge);
	assert_err(ERR_CORRUPT, device_key_from_pem(BYTES(huge, sizeof huge), &k, &unit_error));
	for (size_t cut = 0; cut + 30 < sizeof rfc_pem; cut += 7)
		assert_err(ERR_CORRUPT, device_key_from_pem(BYTES(rfc_pem, cut), &k, &unit_error));
	/* one character of the private number: it no longer matches the public half */
	memcpy(pem, rfc_pem, sizeof pem);
	char *at = strstr(pem, "ya+p2EW6");
	assert_non_null(at);
	*at = 'A';
	assert_err(ERR_CORRUPT, device_key_from_pem(bytes_str(pem), &k, &unit_error));
	assert_non_null(strstr(unit_error.text, "does not match"));
	assert_err(ERR_CORRUPT, device_key_from_pem(bytes_str(other_curve), &k, &unit_error));
	assert_null(k);
}

static void
a_key_file_with_a_password_is_refused_without_asking(void **state)
{
	(void)state;
	auto_(device_key_free_p) struct device_key *k = NULL;
	char *text = NULL;
	EVP_PKEY *pkey = EVP_EC_gen("P-256");
	BIO *bio = BIO_new(BIO_s_mem());

	assert_int_equal(
	    PEM_write_bio_PKCS8PrivateKey(bio, pkey, EVP_aes_128_cbc(), "pass", 4, NULL, NULL), 1);
	long n = BIO_get_mem_data(bio, &text);
	assert_err(ERR_CORRUPT, device_key_from_pem(BYTES(text, (size_t)n), &k, &unit_error));
	BIO_free(bio);
	EVP_PKEY_free(pkey);
}

static void
a_public_key_is_a_point_of_the_curve_or_nothing(void **state)
{
	(void)state;
	auto_(device_key_free_p) struct device_key *k = new_key();
	auto_buf struct buf b = BUF(100);
	int accepted = 0;

	public_key_encode(&b, device_key_public(k));
	assert_int_equal(b.len, 35);
	struct reader r = reader_over(buf_bytes(&b));
	struct public_key back = public_key_decode(&r);
	assert_true(reader_done(&r));
	assert_memory_equal(&back, device_key_public(k), sizeof back);
	/* half of all x are on the curve, and all that are decode to themselves */
	for (int i = 0; i < 256; i++) {
		b.at[20] = (uint8_t)i;
		r = reader_over(buf_bytes(&b));
		back = public_key_decode(&r);
		accepted += !r.bad;
		assert_true(r.bad ? back.alg == 0 : memcmp(back.bytes, b.at + 2, 33) == 0);
	}
	assert_in_range(accepted, 80, 176);
	static const struct {
		size_t at;
		uint8_t value;
	} wrong[] = { { 0, 0 }, { 0, 2 }, { 1, 32 }, { 1, 34 }, { 1, 65 }, { 2, 0 }, { 2, 1 },
		{ 2, 4 }, { 2, 6 } };
	for (size_t i = 0; i < lengthof(wrong); i++) {
		buf_reset(&b);
		public_key_encode(&b, device_key_public(k));
		b.at[wrong[i].at] = wrong[i].value;
		r = reader_over(buf_bytes(&b));
		public_key_decode(&r);
		assert_true(r.bad);
	}
	/* x above the field's prime */
	memset(b.at + 3, 0xff, 32);
	b.at[2] = 2;
	r = reader_over(buf_bytes(&b));
	public_key_decode(&r);
	assert_true(r.bad);
	for (size_t n = 0; n < 35; n++) {
		r = reader_over(BYTES(b.at, n));
		public_key_decode(&r);
		assert_true(r.bad);
	}
}

static void
a_signature_holds_for_its_key_domain_and_body_only(void **state)
{
	(void)state;
	auto_(device_key_free_p) struct device_key *k = new_key(), *other = new_key();
	const struct public_key *pub = device_key_public(k);
	struct signature s, t;

	assert_ok(device_key_sign(k, "weft test", BYTES_LIT("body"), &s, &unit_error));
	assert_ok(signature_verify(pub, "weft test", BYTES_LIT("body"), &s, &unit_error));
	assert_err(
	    ERR_DENIED, signature_verify(pub, "weft test", BYTES_LIT("bodY"), &s, &unit_error));
	assert_err(
	    ERR_DENIED, signature_verify(pub, "weft tesT", BYTES_LIT("body"), &s, &unit_error));
	assert_err(
	    ERR_DENIED, signature_verify(pub, "weft testb", BYTES_LIT("ody"), &s, &unit_error));
	assert_err(ERR_DENIED, signature_verify(device_key_public(other), "weft test",
				   BYTES_LIT("body"), &s, &unit_error));
	for (size_t i = 0; i < s.len; i++) {
		t = s;
		t.bytes[i] ^= 0x10;
		assert_err(ERR_DENIED,
		    signature_verify(pub, "weft test", BYTES_LIT("body"), &t, &unit_error));
	}
	t = (struct signature){ .alg = s.alg, .len = s.len };
	assert_err(
	    ERR_DENIED, signature_verify(pub, "weft test", BYTES_LIT("body"), &t, &unit_error));
	struct public_key none = { 0 };
	assert_err(
	    ERR_DENIED, signature_verify(&none, "weft test", BYTES_LIT("body"), &s, &unit_error));
	/* the empty body can be signed as well */
	assert_ok(device_key_sign(k, "weft test", BYTES(NULL, 0), &s, &unit_error));
	assert_ok(signature_verify(pub, "weft test", BYTES(NULL, 0), &s, &unit_error));
}

/* n - s */
static void
mirror(uint8_t s[32])
{
	static const char order[] =
	    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
	uint8_t n[32];
	int borrow = 0;

	assert_true(text_parse_hex(order, n, sizeof n));
	for (int i = 31; i >= 0; i--) {
		int d = n[i] - s[i] - borrow;
		borrow = d < 0;
		s[i] = (uint8_t)(d & 0xff);
	}
}

static void
nobody_can_make_a_second_signature_from_the_first(void **state)
{
	(void)state;
	auto_(device_key_free_p) struct device_key *k = new_key();

	/* OpenSSL gives a high s every other time: sixteen tries see both */
	for (int i = 0; i < 16; i++) {
		struct signature s;
		auto_buf struct buf b = BUF(100);
		assert_ok(device_key_sign(k, "d", BYTES_LIT("x"), &s, &unit_error));
		assert_true(s.bytes[32] < 0x80);
		assert_ok(
		    signature_verify(device_key_public(k), "d", BYTES_LIT("x"), &s, &unit_error));
		mirror(s.bytes + 32);
		assert_err(ERR_DENIED,
		    signature_verify(device_key_public(k), "d", BYTES_LIT("x"), &s, &unit_error));
		signature_encode(&b, &s);
		struct reader r = reader_over(buf_bytes(&b));
		signature_decode(&r);
		assert_true(r.bad);
	}
}

static void
a_signature_has_one_encoding(void **state)
{
	(void)state;
	auto_(device_key_free_p) struct device_key *k = new_key();
	auto_buf struct buf b = BUF(100);
	struct signature s, back;

	assert_ok(device_key_sign(k, "d", BYTES_LIT("x"), &s, &unit_error));
	signature_encode(&b, &s);
	assert_int_equal(b.len, 66);
	struct reader r = reader_over(buf_bytes(&b));
	back = signature_decode(&r);
	assert_true(reader_done(&r));
	assert_memory_equal(&back, &s, sizeof s);
	for (size_t n = 0; n < 66; n++) {
		r = reader_over(BYTES(b.at, n));
		signature_decode(&r);
		assert_true(r.bad);
	}
	for (size_t at = 0; at < 2; at++) {
		for (int v = 0; v < 256; v++) {
			uint8_t was = b.at[at];
			b.at[at] = (uint8_t)v;
			r = reader_over(buf_bytes(&b));
			signature_decode(&r);
			assert_int_equal(r.bad, v != was);
			b.at[at] = was;
		}
	}
}

struct signer {
	const struct device_key *k;
	int good;
};

static void *
sign_in_a_thread(void *arg)
{
	struct signer *me = arg;

	for (int i = 0; i < 50; i++) {
		struct signature s;
		if (device_key_sign(me->k, "d", BYTES_OF(i), &s, NULL) == OK &&
		    signature_verify(device_key_public(me->k), "d", BYTES_OF(i), &s, NULL) == OK)
			me->good++;
	}
	return NULL;
}

static void
one_key_signs_in_several_threads(void **state)
{
	(void)state;
	auto_(device_key_free_p) struct device_key *k = new_key();
	pthread_t t[3];
	struct signer s[lengthof(t)];

	for (size_t i = 0; i < lengthof(t); i++) {
		s[i] = (struct signer){ .k = k };
		assert_int_equal(pthread_create(&t[i], NULL, sign_in_a_thread, &s[i]), 0);
	}
	for (size_t i = 0; i < lengthof(t); i++) {
		assert_int_equal(pthread_join(t[i], NULL), 0);
		assert_int_equal(s[i].good, 50);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_known_key_has_the_id_of_the_format_document),
		cmocka_unit_test(a_device_id_reads_back_in_any_case_and_grouping),
		cmocka_unit_test(a_key_survives_its_file),
		cmocka_unit_test(a_damaged_or_foreign_key_file_is_named_corrupt),
		cmocka_unit_test(a_key_file_with_a_password_is_refused_without_asking),
		cmocka_unit_test(a_public_key_is_a_point_of_the_curve_or_nothing),
		cmocka_unit_test(a_signature_holds_for_its_key_domain_and_body_only),
		cmocka_unit_test(nobody_can_make_a_second_signature_from_the_first),
		cmocka_unit_test(a_signature_has_one_encoding),
		cmocka_unit_test(one_key_signs_in_several_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
