/*
 * Line programs, followed over runs of samples: the module that decode/wasm.py runs.
 *
 * The host has made sure of what would be dear to check for each value: offsets lie within a sample, tables and texts in
 * memory, loops nest no deeper than there is room for, and a line that is begun fits. A mistake there could at worst spoil
 * what this module writes: it has no memory but its own and calls nothing.
 */
#include "cells.h"
#include "filter.h"
#include "meanings.h"
#include "numbers.h"
#include "program.h"
#include "strings.h"
#include "types.h"
#include "values.h"

struct loop {
	const u8 *outside; /* base of what is around it */
	u32 left;
};

static const struct name *find(const struct name *names, u32 count, u64 value)
{
	/* Most tables have no gaps. */
	u64 index = count ? value - names->value : 0;
	u32 first = 0;

	if (index < count && names[index].value == value)
		return names + index;
	while (first < count) {
		u32 middle = first + (count - first) / 2;
		if (names[middle].value == value)
			return names + middle;
		if (names[middle].value < value)
			first = middle + 1;
		else
			count = middle;
	}
	return NULL;
}

/* A number by its name, as flags, or as it is. */
static u8 *put_named(u8 *out, const struct instruction *in, u64 value)
{
	const struct name *name = find(in->names, in->name_count, value);

	if (name)
		return put(out, name->text, name->size);
	u64 rest = in->bits < 64 ? value & ((1ull << in->bits) - 1) : value, left = rest;
	for (u32 i = 0; i < in->flag_count; i++)
		left &= ~in->flags[i].value;
	if (!in->flag_count || left || !rest)
		return in->is_signed ? put_s64(out, (s64)value) : put_u64(out, value);
	*out = (u8)in->quote;
	out += in->quote != 0;
	bool is_first = true;
	for (u32 i = 0; i < in->flag_count; i++) {
		if (!(rest & in->flags[i].value))
			continue;
		*out = '|';
		out = put(out + !is_first, in->flags[i].text, in->flags[i].size);
		is_first = false;
	}
	*out = (u8)in->quote;
	return out + (in->quote != 0);
}

/* A value that takes reading bit by bit, or seldom occurs. */
COLD u8 *put_value(u8 *out, const struct instruction *in, const u8 *at, const struct program *program)
{
	struct wide value = read_bits(at, in->size, in->shift, in->bits, in->is_signed, program->is_big_endian);

	switch ((enum opcode)in->opcode) {
	case HEX:
		return put_hex(out, value.low, value.high);
	case BOOL:
		return value.low | value.high ? put(out, (const u8 *)"true\0\0\0\0\0\0\0\0\0\0\0", 4)
					      : put(out, (const u8 *)"false\0\0\0\0\0\0\0\0\0\0", 5);
	case FLOAT:
		if (in->bits == 32) {
			u32 bits = (u32)value.low;
			float single;
			__builtin_memcpy(&single, &bits, 4);
			double real = single;
			__builtin_memcpy(&value.low, &real, 8);
		}
		return put_double(out, value.low, in->is_json, program->powers);
	case NAMES:
	case FLAGS:
		return put_named(out, in, value.low);
	case DURATION:
		if (!is_negative(value, in->is_signed))
			return put_duration(out, value.low, in->unit_ns);
		*out = '-';
		return put_duration(out + 1, -value.low, in->unit_ns);
	case TIME:
		return put_time(out, value.low, is_negative(value, in->is_signed), in->unit_ns, in->offset_ns);
	case BYTES:
		if (!is_negative(value, in->is_signed))
			return put_size(out, value.low);
		*out = '-';
		out = put_u64(out + 1, -value.low);
		*out++ = ' ';
		*out++ = 'B';
		return out;
	case DEV:
		out = put_u64(out, (in->bits < 64 ? value.low & ((1ull << in->bits) - 1) : value.low) >> 20);
		*out++ = ':';
		return put_u64(out, value.low & 0xfffff);
	default:
		return put_s128(out, (u128)value.high << 64 | value.low, in->is_signed);
	}
}

INLINE const u8 *string_end(const struct instruction *in, const u8 *at, const u8 *end)
{
	return in->size ? at + in->size : end;
}

static u8 *put_line(u8 *out, const struct program *program, const u8 *base, const u8 *end)
{
	const struct instruction *in = program->code;
	struct loop loops[MAX_LOOPS], *loop = loops;
	u8 *cell = out;
	u32 wide = 0;

	for (;; in++) {
		out = put(out, in->text, in->text_size);
		const u8 *at = base + in->offset;
		switch ((enum opcode)in->opcode) {
		case END:
			return out;
		case U8:
			out = put_below_e8(out, *at);
			break;
		case U16:
			out = put_below_e8(out, (u32)(at[0] | at[1] << 8));
			break;
		case U32:
			out = put_u64(out, load32(at));
			break;
		case U64:
			out = put_u64(out, load64(at));
			break;
		case S8:
			out = put_s64(out, (int8_t)*at);
			break;
		case S16:
			out = put_s64(out, (int16_t)(at[0] | at[1] << 8));
			break;
		case S32:
			out = put_s64(out, (int32_t)load32(at));
			break;
		case S64:
			out = put_s64(out, (s64)load64(at));
			break;
		case STRING_RAW:
			out = put_string(out, at, string_end(in, at, end), RAW, &wide);
			break;
		case STRING_JSON:
			out = put_string(out, at, string_end(in, at, end), JSON, &wide);
			break;
		case STRING_TEXT:
			out = put_string(out, at, string_end(in, at, end), TEXT, &wide);
			break;
		case STRING_SHOWN_JSON:
			out = put_string(out, at, string_end(in, at, end), SHOWN_JSON, &wide);
			break;
		case PORT:
			out = put_below_e8(out, (u32)(at[0] << 8 | at[1]));
			break;
		case IPV4:
			out = put_ipv4(out, at);
			break;
		case IPV6:
			out = put_ipv6(out, at);
			break;
		case MAC:
			out = put_mac(out, at);
			break;
		case LOOP: {
			u32 count = in->count != ~0u ? in->count : at < end ? (u32)(end - at) / in->stride : 0;
			if (!count) {
				in = program->code + in->target - 1;
				break;
			}
			*loop++ = (struct loop){base, count};
			base = at;
			break;
		}
		case LOOP_END:
			if (--loop[-1].left) {
				*out++ = ',';
				base += in->stride;
				in = program->code + in->target - 1;
			} else {
				base = (--loop)->outside;
			}
			break;
		case CELL:
			cell = out;
			wide = 0;
			break;
		case CELL_END:
			out = pad(cell, out, wide, in->width, in->limit, in->right);
			break;
		case QUOTE:
			out = quote(cell, out);
			break;
		default:
			out = put_value(out, in, at, program);
		}
	}
}

__attribute__((export_name("render"))) void render(const struct program *program, struct job *job)
{
	const u8 *record = job->data + (size_t)job->index * job->stride;
	u8 *out = job->out;

	for (; job->index < job->count && job->shown < job->limit && out < job->out_end; record += job->stride) {
		const u8 *payload = record + 8;
		job->index++;
		if (load32(record) != job->header)
			continue;
		job->consumed++;
		if (program->where_count && !is_shown(program, payload, job->length))
			continue;
		u8 *line = out;
		out = put(out, job->prefix, job->prefix_size);
		out = put_line(out, program, payload, payload + job->length);
		if (program->is_stripped)
			while (out > line && out[-1] == ' ')
				out--;
		*out++ = '\n';
		job->shown++;
	}
	job->out = out;
}
