/* What the host puts into memory. The other half of this is encode.py, which has the same members in the same order. */
#pragma once

#include "types.h"

/* Deeper nesting is not rendered here: the host does not send such programs. */
#define MAX_LOOPS 32
#define MAX_STACK 64 /* of predicate.py */

enum opcode {
	END, /* of the line */
	NOTHING,
	U8,
	U16,
	U32,
	U64,
	S8,
	S16,
	S32,
	S64,
	INT,
	WIDE_INT, /* WIDE_*: of more than 64 bits */
	HEX,
	WIDE_HEX,
	BOOL,
	WIDE_BOOL,
	FLOAT,
	NAMES,
	FLAGS,
	STRING_RAW,
	STRING_JSON,
	STRING_TEXT,
	STRING_SHOWN_JSON,
	DURATION,
	TIME,
	BYTES,
	DEV,
	PORT,
	IPV4,
	IPV6,
	MAC,
	LOOP,
	LOOP_END,
	CELL,
	CELL_END,
};

enum cell_kind { NO_CELL, PADDED, QUOTED };

#define TEXT_BYTES 16

struct name {
	u64 value;
	const u8 *text;
	u32 size;
	u32 wide; /* bytes of the text that make no code point of their own */
	u32 unused;
};

/* Where a number is. Which bits of its bytes are the value, `up` and `down` say if it touches 8 bytes or less. */
struct place {
	u32 offset; /* of the first byte, from the start of the sample or the element */
	u32 size;   /* bytes that the value touches; of a string 0: up to the end of the payload */
	u32 up;     /* bits above the value among 64 */
	u32 down;   /* 64 less the bits of the value */
	u32 shift;  /* or else bits to drop from the low end of these bytes */
	u32 bits;
	u32 is_signed;
};

/* A text and a value behind it. Of longer texts, all but the end stands before NOTHING. */
struct instruction {
	u8 text[TEXT_BYTES];
	u32 opcode;
	u32 text_size;
	struct place place;
	u32 width; /* of a number: columns; of a cell too */
	u32 cell;  /* the value is a cell of its own; CELL_END: so is what was written since CELL */
	u32 in_cell; /* or it is part of one */
	u32 limit;
	u32 right;
	const struct name *names; /* NAMES, FLAGS: by value */
	u32 name_count;
	const struct name *flags; /* FLAGS: lowest bit first */
	u32 flag_count;
	u32 quote;  /* FLAGS: character around the names, or 0 */
	u32 count;  /* LOOP: of elements, or ~0 for up to the end of the payload */
	u32 stride;
	u32 target; /* LOOP: index behind LOOP_END; LOOP_END: index behind LOOP */
	u32 is_json; /* FLOAT */
	u32 wide;   /* bytes of the text that make no code point of their own */
	u64 unit_ns;
	u64 offset_ns;
};

/* RANGE compares with constants: it tells whether a value is one of `span` + 1 from `low` on. It pops and pushes nothing else. */
enum condition {
	INT_VALUE,
	DOUBLE_VALUE,
	STRING_VALUE,
	INT_CONST,
	DOUBLE_CONST,
	BYTES_CONST,
	COMPARE,
	GLOB,
	CONTAINS,
	AND,
	OR,
	NOT,
	RANGE,
	BIT_AND,
};
enum comparison { EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL };

struct predicate {
	u32 condition;
	struct place place;
	u32 comparison;
	const u8 *bytes; /* of a constant, with place.size of them */
	u64 low, high;   /* of a constant: an integer of 128 bits, or the bits of a double; of RANGE: low and span */
};

struct program {
	const struct instruction *code;
	const struct predicate *where;
	u32 where_count;
	u32 is_simple; /* the predicate has no steps but RANGE, AND, OR and NOT */
	u32 is_big_endian;
	u32 is_stripped;
	u32 has_cells;
	const u64 (*powers)[2];
};

/* One call: how far it got is written back. */
struct job {
	const u8 *data;
	u32 count;
	u32 stride;
	u32 length;
	u32 header;      /* first word of a record that is not discarded, as this little-endian machine reads it */
	const u8 *prefix;
	u32 prefix_size;
	u8 *out;
	u8 *out_end;     /* a line is only begun before it; there is room behind it for the longest line */
	u32 limit;       /* of lines */
	u32 index;       /* records looked at */
	u32 shown;       /* lines written */
	u32 consumed;    /* records looked at that are not discarded */
};
