/* What is printed, byte by byte: the tables are for people, the JSON is part of the interface
 * (docs/cli-json.md). */
#include "tests/check.h"

#include "base/mem.h"
#include "cmd/render.h"

struct output {
	struct render render;
	FILE *out;
	char *text;
	size_t n;
};

static void
begin(struct output *o, const char *verb)
{
	*o = (struct output){ 0 };
	o->out = open_memstream(&o->text, &o->n);
	assert_non_null(o->out);
	render_init(&o->render, verb, o->out);
}

static void
finish(struct output *o, bool ok, const char *want)
{
	render_end(&o->render, ok);
	render_clear(&o->render);
	fclose(o->out);
	assert_string_equal(o->text, want);
	free(o->text);
}

static void
share(struct output *o, const char *name, uint64_t snapshot, uint64_t files, uint64_t bytes,
    const char *label)
{
	auto_buf struct buf r = BUF(RECORD_MAX);

	record_text(&r, "share", name);
	record_text(&r, "rights", "read");
	if (snapshot > 0)
		record_int(&r, "snapshot", snapshot);
	record_text(&r, "label", label);
	record_int(&r, "entries", files);
	record_size(&r, "bytes", bytes);
	record_text(&r, "id", "abc");
	render_row(&o->render, buf_bytes(&r));
}

static void
two_shares(struct output *o)
{
	share(o, "photos", 12, 10234, UINT64_C(3) << 30, "v1.0");
	share(o, "\xe6\x97\xa5\xe6\x9c\xac", 0, 1, 17, NULL);
}

static void
a_table_is_aligned_and_numbers_stand_at_the_end(void **state)
{
	struct output o;

	(void)state;
	begin(&o, "shares");
	two_shares(&o);
	finish(&o, true,
	    "SHARE   RIGHTS  NEWEST  LABEL  ENTRIES     SIZE\n"
	    "photos  read        12  v1.0     10234  3.0 GiB\n"
	    "\xe6\x97\xa5\xe6\x9c\xac    read                         1     17 B\n");
}

static void
ids_in_tables_are_short(void **state)
{
	static const char id[] = "ksil3vtgguy2z-ltza2vklodedv-jh4pbaka7cy36-b5tovlhevhoua";
	auto_buf struct buf r = BUF(RECORD_MAX);
	struct output o;

	(void)state;
	record_text(&r, "name", "laptop");
	record_text(&r, "device", id);
	record_bool(&r, "online", true);
	begin(&o, "devices");
	render_row(&o.render, buf_bytes(&r));
	finish(&o, true, "DEVICE  ID             ONLINE\nlaptop  ksil3vtgguy2z  yes\n");
	begin(&o, "devices");
	o.render.verbose = true;
	render_row(&o.render, buf_bytes(&r));
	finish(&o, true,
	    "DEVICE  ID                                                       ONLINE\n"
	    "laptop  ksil3vtgguy2z-ltza2vklodedv-jh4pbaka7cy36-b5tovlhevhoua  yes\n");
}

static void
verbose_shows_the_other_fields_too(void **state)
{
	struct output o;

	(void)state;
	begin(&o, "shares");
	o.render.verbose = true;
	share(&o, "a", 1, 2, 3, NULL);
	finish(&o, true,
	    "SHARE  RIGHTS  NEWEST  ENTRIES  SIZE  id\n"
	    "a      read         1        2   3 B  abc\n");
}

static void
quiet_lists_names_only(void **state)
{
	struct output o;

	(void)state;
	begin(&o, "shares");
	o.render.quiet = true;
	two_shares(&o);
	finish(&o, true, "photos\n\xe6\x97\xa5\xe6\x9c\xac\n");
}

static void
a_list_in_json_is_one_array(void **state)
{
	struct output o;

	(void)state;
	begin(&o, "shares");
	o.render.json = true;
	two_shares(&o);
	finish(&o, true,
	    "[{\"share\":\"photos\",\"rights\":\"read\",\"snapshot\":12,\"label\":\"v1.0\","
	    "\"entries\":10234,"
	    "\"bytes\":3221225472,\"id\":\"abc\"},"
	    "{\"share\":\"\xe6\x97\xa5\xe6\x9c\xac\",\"rights\":\"read\",\"entries\":1,\"bytes\":"
	    "17,"
	    "\"id\":\"abc\"}]\n");
	begin(&o, "shares");
	o.render.json = true;
	finish(&o, true, "[]\n");
	begin(&o, "shares");
	o.render.json = true;
	finish(&o, false, "");
}

static void
get_rows(struct output *o)
{
	auto_buf struct buf r = BUF(RECORD_MAX);

	record_text(&r, "list", "sources");
	record_text(&r, "name", "server");
	record_size(&r, "bytes", 3 << 20);
	render_row(&o->render, buf_bytes(&r));
	buf_reset(&r);
	record_text(&r, "name", "laptop");
	record_text(&r, "list", "sources");
	record_size(&r, "bytes", 1 << 20);
	render_row(&o->render, buf_bytes(&r));
	buf_reset(&r);
	record_text(&r, "share", "photos");
	record_int(&r, "snapshot", 7);
	record_text(&r, "dest", "/data/photos");
	record_int(&r, "files", 10234);
	record_size(&r, "bytes", 5 << 20);
	record_size(&r, "bytes_fetched", 4 << 20);
	record_size(&r, "bytes_wire", 3 << 20);
	record_size(&r, "bytes_reused", 1 << 20);
	record_int(&r, "in_way", 2);
	record_duration(&r, "duration", 2000);
	render_row(&o->render, buf_bytes(&r));
}

static void
get_ends_with_a_summary(void **state)
{
	struct output o;

	(void)state;
	begin(&o, "get");
	get_rows(&o);
	finish(&o, true,
	    "photos@7 is in /data/photos: 10,234 files, 5.0 MiB in 2.0 s (2.0 MiB/s)\n"
	    "  4.0 MiB fetched: server 3.0 MiB, laptop 1.0 MiB, 3.0 MiB on the wire (25 % saved)\n"
	    "  1.0 MiB were here already\n"
	    "  2 in the way left alone; --overwrite moves them to .weft/trash\n");
	begin(&o, "get");
	o.render.quiet = true;
	get_rows(&o);
	finish(&o, true, "");
}

static void
followed(struct output *o, uint64_t snapshot)
{
	auto_buf struct buf r = BUF(RECORD_MAX);

	record_text(&r, "list", "snapshots");
	record_text(&r, "share", "photos");
	record_int(&r, "snapshot", snapshot);
	record_text(&r, "dest", "/d");
	record_int(&r, "files", 1);
	record_duration(&r, "duration", 1000);
	render_row(&o->render, buf_bytes(&r));
}

static void
a_get_that_stays_tells_each_snapshot_as_it_comes(void **state)
{
	static const char first[] = "photos@7 is in /d: 1 file, 0 B in 1.0 s\n";
	struct output o;

	(void)state;
	begin(&o, "get");
	followed(&o, 7);
	assert_string_equal(o.text, first);
	followed(&o, 8);
	finish(&o, false,
	    "photos@7 is in /d: 1 file, 0 B in 1.0 s\nphotos@8 is in /d: 1 file, 0 B in 1.0 s\n");
	begin(&o, "get");
	o.render.json = true;
	followed(&o, 7);
	assert_non_null(strstr(o.text, "\"snapshot\":7"));
	finish(&o, false,
	    "{\"snapshots\":[{\"share\":\"photos\",\"snapshot\":7,\"dest\":\"/d\",\"files\":1,"
	    "\"duration\":1000}],\"sources\":[]}\n");
}

static void
an_object_in_json_holds_its_lists(void **state)
{
	struct output o;

	(void)state;
	begin(&o, "get");
	o.render.json = true;
	get_rows(&o);
	finish(&o, true,
	    "{\"sources\":[{\"name\":\"server\",\"bytes\":3145728},{\"name\":\"laptop\",\"bytes\":"
	    "1048576}],"
	    "\"share\":\"photos\",\"snapshot\":7,\"dest\":\"/data/"
	    "photos\",\"files\":10234,\"bytes\":5242880,"
	    "\"bytes_fetched\":4194304,\"bytes_wire\":3145728,\"bytes_reused\":1048576,\"in_way\":"
	    "2,\"duration\":2000}\n");
	begin(&o, "leave");
	o.render.json = true;
	finish(&o, true, "{}\n");
}

static void
json_that_was_begun_is_closed_also_after_a_failure(void **state)
{
	auto_buf struct buf r = BUF(RECORD_MAX);
	struct output o;

	(void)state;
	begin(&o, "verify");
	o.render.json = true;
	record_text(&r, "list", "different");
	record_text(&r, "path", "a\xff");
	record_text(&r, "what", "missing");
	render_row(&o.render, buf_bytes(&r));
	finish(&o, false,
	    "{\"different\":[{\"path\":\"a\xef\xbf\xbd\",\"path_hex\":\"61ff\",\"what\":"
	    "\"missing\"}]}\n");
}

static void
differences_are_shown_as_they_come(void **state)
{
	auto_buf struct buf r = BUF(RECORD_MAX);
	struct output o;

	(void)state;
	begin(&o, "verify");
	record_text(&r, "list", "different");
	record_text(&r, "path", "a\n");
	record_text(&r, "what", "content differs");
	render_row(&o.render, buf_bytes(&r));
	fflush(o.out);
	assert_string_equal(o.text, "a\\x0a: content differs\n");
	buf_reset(&r);
	record_text(&r, "share", "photos");
	record_int(&r, "files", 3);
	record_size(&r, "bytes", 1000);
	record_int(&r, "differences", 1);
	record_duration(&r, "duration", 1000);
	render_row(&o.render, buf_bytes(&r));
	finish(&o, true,
	    "a\\x0a: content differs\n"
	    "photos: 3 files, 1000 B checked, 1 difference in 1.0 s (1000 B/s)\n");
}

static void
rm_and_the_servers_verify_say_what_they_did(void **state)
{
	auto_buf struct buf r = BUF(RECORD_MAX);
	struct output o;

	(void)state;
	record_text(&r, "share", "photos");
	record_text(&r, "snapshot", "3");
	record_int(&r, "snapshots", 1);
	record_size(&r, "bytes", 1 << 20);
	record_bool(&r, "dry_run", true);
	begin(&o, "rm");
	render_row(&o.render, buf_bytes(&r));
	finish(&o, true, "photos@3 would be forgotten: 1 snapshot, up to 1.0 MiB\n");
	buf_reset(&r);
	record_text(&r, "share", "photos");
	record_int(&r, "snapshots", 12);
	record_size(&r, "bytes", 0);
	begin(&o, "rm");
	render_row(&o.render, buf_bytes(&r));
	finish(&o, true, "photos is forgotten: 12 snapshots, up to 0 B\n");
	buf_reset(&r);
	record_text(&r, "share", "photos");
	record_int(&r, "chunks", 1234);
	record_size(&r, "bytes", 1 << 20);
	record_int(&r, "differences", 0);
	begin(&o, "verify");
	render_row(&o.render, buf_bytes(&r));
	finish(&o, true, "photos: 1,234 chunks, 1.0 MiB checked, no differences\n");
}

static void
publish_ends_with_a_summary(void **state)
{
	auto_buf struct buf r = BUF(RECORD_MAX);
	struct output o;

	(void)state;
	record_text(&r, "share", "photos");
	record_int(&r, "snapshot", 8);
	record_int(&r, "files", 1);
	record_size(&r, "bytes", 2048);
	record_size(&r, "bytes_new", 1024);
	record_int(&r, "files_read", 1);
	record_size(&r, "bytes_read", 2048);
	record_int(&r, "skipped", 3);
	record_duration(&r, "duration", 500);
	record_bool(&r, "waited", false);
	begin(&o, "publish");
	render_row(&o.render, buf_bytes(&r));
	finish(&o, true,
	    "photos@8: 1 file, 2.0 KiB in 0.5 s (2.0 KiB/s)\n"
	    "  2.0 KiB read from 1 file, 1.0 KiB new to the server\n"
	    "  3 left out\n"
	    "  the server does not hold it all yet: leave the files in place (`weft jobs`)\n");
	buf_reset(&r);
	record_text(&r, "share", "photos");
	record_int(&r, "snapshot", 8);
	record_bool(&r, "unchanged", true);
	begin(&o, "publish");
	render_row(&o.render, buf_bytes(&r));
	finish(&o, true, "photos@8 is what is there: nothing has changed\n");
}

static void
status_shows_the_node_and_its_jobs(void **state)
{
	auto_buf struct buf r = BUF(RECORD_MAX);
	struct output o;

	(void)state;
	begin(&o, "status");
	record_text(&r, "role", "agent");
	record_bool(&r, "connected", true);
	record_text(&r, "unknown", "later");
	render_row(&o.render, buf_bytes(&r));
	buf_reset(&r);
	record_text(&r, "list", "jobs");
	record_int(&r, "job", 3);
	record_text(&r, "kind", "get");
	record_size(&r, "done", 1);
	render_row(&o.render, buf_bytes(&r));
	finish(&o, true,
	    "role       agent\n"
	    "connected  yes\n"
	    "\n"
	    "JOB  KIND  DONE\n"
	    "  3  get    1 B\n");
}

static void
checks_say_what_to_do(void **state)
{
	auto_buf struct buf r = BUF(RECORD_MAX);
	struct output o;

	(void)state;
	begin(&o, "doctor");
	record_text(&r, "check", "disk");
	record_text(&r, "state", "fail");
	record_text(&r, "text", "1 MiB free");
	record_text(&r, "advice", "make room");
	render_row(&o.render, buf_bytes(&r));
	buf_reset(&r);
	record_text(&r, "check", "clock");
	record_text(&r, "state", "ok");
	record_text(&r, "text", "right");
	render_row(&o.render, buf_bytes(&r));
	finish(&o, true, "fail  disk: 1 MiB free\n      make room\nok    clock: right\n");
}

static void
an_invite_is_alone_on_its_line(void **state)
{
	auto_buf struct buf r = BUF(RECORD_MAX);
	struct output o;

	(void)state;
	record_text(&r, "invite", "weft1-abc");
	record_int(&r, "uses", 1);
	begin(&o, "invite");
	o.render.quiet = true;
	render_row(&o.render, buf_bytes(&r));
	finish(&o, true, "weft1-abc\n");
}

static void
an_unknown_answer_is_shown_field_by_field(void **state)
{
	auto_buf struct buf r = BUF(RECORD_MAX);
	struct output o;

	(void)state;
	record_text(&r, "some", "thing");
	record_int(&r, "number", 5);
	begin(&o, "sometime");
	render_row(&o.render, buf_bytes(&r));
	finish(&o, true, "some    thing\nnumber  5\n");
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_table_is_aligned_and_numbers_stand_at_the_end),
		cmocka_unit_test(ids_in_tables_are_short),
		cmocka_unit_test(verbose_shows_the_other_fields_too),
		cmocka_unit_test(quiet_lists_names_only),
		cmocka_unit_test(a_list_in_json_is_one_array),
		cmocka_unit_test(get_ends_with_a_summary),
		cmocka_unit_test(a_get_that_stays_tells_each_snapshot_as_it_comes),
		cmocka_unit_test(an_object_in_json_holds_its_lists),
		cmocka_unit_test(json_that_was_begun_is_closed_also_after_a_failure),
		cmocka_unit_test(differences_are_shown_as_they_come),
		cmocka_unit_test(rm_and_the_servers_verify_say_what_they_did),
		cmocka_unit_test(publish_ends_with_a_summary),
		cmocka_unit_test(status_shows_the_node_and_its_jobs),
		cmocka_unit_test(checks_say_what_to_do),
		cmocka_unit_test(an_invite_is_alone_on_its_line),
		cmocka_unit_test(an_unknown_answer_is_shown_field_by_field),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
