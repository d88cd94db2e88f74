/* Ids and dots: what is known of an entry from one snapshot to the next. */
#include "engine/test_scan_world.h"

/* -- causes -- */

static bool
dot_is(const struct dot *d, const struct node *n, uint64_t seq)
{
	return device_id_equal(&d->device, &n->device) && d->seq == seq;
}

static void
an_edit_changes_the_dot_of_its_content_only(void **state)
{
	struct world *w = *state;

	make_dir_at(w, "d");
	put_text(w, "d/f", "one");
	put_text(w, "d/g", "one");
	let_it_age();
	struct scan_result first = world_scan(w, &w->node);
	struct causal_entry was = cause_of(&w->node, &first.causal, "d/f");
	assert_true(dot_is(&was.content, &w->node, 1) && dot_is(&was.name_dot, &w->node, 1));
	put_text(w, "d/f", "two");
	struct scan_result second = world_scan(w, &w->node);
	struct causal_entry is = cause_of(&w->node, &second.causal, "d/f");
	assert_memory_equal(is.id, was.id, ENTRY_ID_BYTES);
	assert_true(dot_is(&is.content, &w->node, 2) && dot_is(&is.name_dot, &w->node, 1));
	is = cause_of(&w->node, &second.causal, "d/g");
	assert_true(dot_is(&is.content, &w->node, 1) && dot_is(&is.name_dot, &w->node, 1));
	is = cause_of(&w->node, &second.causal, "d");
	assert_true(dot_is(&is.content, &w->node, 1) && dot_is(&is.name_dot, &w->node, 1));
	assert_int_equal(fchmodat(w->fd, "d", 0711, 0), 0);
	struct scan_result third = world_scan(w, &w->node);
	is = cause_of(&w->node, &third.causal, "d");
	assert_true(dot_is(&is.content, &w->node, 3) && dot_is(&is.name_dot, &w->node, 1));
}

static void
a_rename_keeps_the_id_and_gives_the_name_a_new_dot(void **state)
{
	struct world *w = *state;

	make_dir_at(w, "d");
	put_text(w, "d/f", "one");
	put_text(w, "d/g", "another");
	let_it_age();
	struct scan_result first = world_scan(w, &w->node);
	struct causal_entry was = cause_of(&w->node, &first.causal, "d/f"), is;
	assert_int_equal(renameat(w->fd, "d/f", w->fd, "h"), 0);
	struct scan_result second = world_scan(w, &w->node);
	is = cause_of(&w->node, &second.causal, "h");
	assert_memory_equal(is.id, was.id, ENTRY_ID_BYTES);
	assert_true(dot_is(&is.content, &w->node, 1) && dot_is(&is.name_dot, &w->node, 2));
	assert_false(has_path(&w->node, &second.content, "d/f"));
	/* A directory with all that lies in it. */
	struct causal_entry dir = cause_of(&w->node, &second.causal, "d"),
			    g = cause_of(&w->node, &second.causal, "d/g");
	assert_int_equal(renameat(w->fd, "d", w->fd, "e"), 0);
	put_text(w, "e/new", "new");
	struct scan_result third = world_scan(w, &w->node);
	is = cause_of(&w->node, &third.causal, "e");
	assert_memory_equal(is.id, dir.id, ENTRY_ID_BYTES);
	assert_true(dot_is(&is.name_dot, &w->node, 3));
	is = cause_of(&w->node, &third.causal, "e/g");
	assert_memory_equal(is.id, g.id, ENTRY_ID_BYTES);
	assert_true(dot_is(&is.content, &w->node, 1) && dot_is(&is.name_dot, &w->node, 1));
}

static void
what_is_not_a_rename_gets_an_id_of_its_own(void **state)
{
	struct world *w = *state;

	put_text(w, "f", "one");
	put_text(w, "g", "two");
	let_it_age();
	struct scan_result first = world_scan(w, &w->node);
	struct causal_entry f = cause_of(&w->node, &first.causal, "f"), is;
	/* The same inode, but other content: moved and rewritten is as good as deleted and made. */
	assert_int_equal(renameat(w->fd, "f", w->fd, "h"), 0);
	put_text(w, "h", "else");
	struct scan_result second = world_scan(w, &w->node);
	is = cause_of(&w->node, &second.causal, "h");
	assert_memory_not_equal(is.id, f.id, ENTRY_ID_BYTES);
	/* Over an entry that stays: that one was written. */
	struct causal_entry g = cause_of(&w->node, &second.causal, "g");
	assert_int_equal(renameat(w->fd, "h", w->fd, "g"), 0);
	struct scan_result third = world_scan(w, &w->node);
	is = cause_of(&w->node, &third.causal, "g");
	assert_memory_equal(is.id, g.id, ENTRY_ID_BYTES);
	assert_true(dot_is(&is.content, &w->node, 3) && dot_is(&is.name_dot, &w->node, 1));
	/* A file where a directory was, and the other way round. */
	assert_int_equal(unlinkat(w->fd, "g", 0), 0);
	make_dir_at(w, "g");
	struct scan_result fourth = world_scan(w, &w->node);
	is = cause_of(&w->node, &fourth.causal, "g");
	assert_memory_not_equal(is.id, g.id, ENTRY_ID_BYTES);
	assert_true(dot_is(&is.content, &w->node, 4) && dot_is(&is.name_dot, &w->node, 4));
}

static void
two_names_of_one_inode_are_two_entries(void **state)
{
	struct world *w = *state;

	put_text(w, "f", "one");
	let_it_age();
	struct scan_result first = world_scan(w, &w->node);
	struct causal_entry was = cause_of(&w->node, &first.causal, "f");
	assert_int_equal(renameat(w->fd, "f", w->fd, "g"), 0);
	assert_int_equal(linkat(w->fd, "g", w->fd, "h", 0), 0);
	struct scan_result second = world_scan(w, &w->node);
	struct causal_entry g = cause_of(&w->node, &second.causal, "g"),
			    h = cause_of(&w->node, &second.causal, "h");
	assert_memory_equal(g.id, was.id, ENTRY_ID_BYTES);
	assert_memory_not_equal(h.id, was.id, ENTRY_ID_BYTES);
}

static void
another_machine_finds_the_same_content_and_continues_the_causes(void **state)
{
	struct world *w = *state;
	struct node other;

	put_all_kinds(w);
	let_it_age();
	struct scan_result first = world_scan(w, &w->node);
	node_open(w, &other, "b");
	struct scan_result alone = world_look(w, &other);
	assert_true(hash_id_equal(&alone.content, &first.content));
	assert_false(hash_id_equal(&alone.causal, &first.causal)); /* other ids, other dots */
	/* With the first one's commit as base, and its nodes at hand. */
	node_close(&other);
	struct device_id second_device;
	memset(&second_device, 'b', sizeof second_device);
	w->node.device = second_device;
	put_text(w, "sub/new", "x");
	struct causal_entry was = cause_of(&w->node, &first.causal, "mode");
	struct scan_result second = world_scan(w, &w->node);
	struct causal_entry is = cause_of(&w->node, &second.causal, "sub/new");
	assert_true(dot_is(&is.content, &w->node, 2));
	is = cause_of(&w->node, &second.causal, "mode");
	assert_memory_equal(is.id, was.id, ENTRY_ID_BYTES);
	assert_int_equal(is.content.device.bytes[0], 'a');
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		T(an_edit_changes_the_dot_of_its_content_only),
		T(a_rename_keeps_the_id_and_gives_the_name_a_new_dot),
		T(what_is_not_a_rename_gets_an_id_of_its_own),
		T(two_names_of_one_inode_are_two_entries),
		T(another_machine_finds_the_same_content_and_continues_the_causes),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
