/*
 * Prints the protocol as the tables have it, for tools/check_protocol_doc.py and for whoever wants
 * to see it. One line each: "frame NAME NUMBER KIND", "field MESSAGE TAG NAME KIND
 * required|optional LIMITS", "error NAME NUMBER".
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "proto/message.h"

static void
print_fields(const char *of, const struct fields *f)
{
	for (size_t i = 0; i < f->n; i++) {
		const struct field *x = &f->at[i];
		printf("field %s %u %s %s %s\n", of, x->tag, x->name, fields_kind_name(x->kind),
		    x->required ? "required" : "optional");
	}
}

static void
print_frame(const char *name, uint16_t number)
{
	printf("frame %s %u %s\n", name, number, frame_type_is_raw(number) ? "raw" : "tlv");
	if (message_fields(number) != NULL)
		print_fields(name, message_fields(number));
}

int
main(void)
{
#define X(name, number) print_frame(#name, number);
	FRAME_TYPES(X)
#undef X
	print_fields("shares", row_fields(QUERY_SHARES));
	print_fields("snapshots", row_fields(QUERY_SNAPSHOTS));
	print_fields("devices", row_fields(QUERY_DEVICES));
	print_fields("members", row_member_fields());
#define X(name, number) printf("error %s %u\n", #name, number);
	MESSAGE_ERRORS(X)
#undef X
	return 0;
}
