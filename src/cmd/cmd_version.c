#include "cmd/cmd.h"
#include "cmd/render.h"
#include "engine/home.h"
#include "proto/limits.h"

int
cmd_version(const struct options *o, const char *home)
{
	auto_buf struct buf row = BUF(RECORD_MAX);
	struct render r;

	(void)home;
	if (!o->json) {
		printf("weft %s\n", WEFT_VERSION);
		return EXIT_DONE;
	}
	record_text(&row, "version", WEFT_VERSION);
	record_int(&row, "protocol", LIMIT_VERSION_MAX);
	record_int(&row, "home_format", HOME_FORMAT);
	render_init(&r, o->command->verb, stdout);
	r.json = true;
	render_row(&r, buf_bytes(&row));
	render_end(&r, true);
	render_clear(&r);
	return EXIT_DONE;
}
