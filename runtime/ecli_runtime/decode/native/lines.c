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

/* A number that has no name: as flags, or as it is. */
COLD u8 *put_unnamed(u8 *out, const struct instruction *in, u64 value)
{
	u64 rest = value << (in->place.down & 63) >> (in->place.down & 63), left = rest;

	for (u32 i = 0; i < in->flag_count; i++)
		left &= ~in->flags[i].value;
	if (!in->flag_count || left || !rest)
		return in->place.is_signed ? put_s64(out, (s64)value) : put_u64(out, value);
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

/* What seldom occurs, or takes long anyway. */
COLD u8 *put_value(u8 *out, const struct instruction *in, const u8 *base, const struct program *program)
{
	const struct place *place = &in->place;
	u128 wide = read_any(base, place, program->is_big_endian);
	u64 value = (u64)wide;
	bool is_negative = place->is_signed && (s64)value < 0;

	switch ((enum opcode)in->opcode) {
	case FLOAT: {
		double real = as_double(value, place->bits);
		__builtin_memcpy(&value, &real, 8);
		return put_double(out, value, in->is_json, program->powers);
	}
	case DURATION:
		*out = '-';
		return put_duration(out + is_negative, is_negative ? -value : value, in->unit_ns);
	case TIME:
		return put_time(out, value, is_negative, in->unit_ns, in->offset_ns);
	case BYTES:
		if (!is_negative)
			return put_size(out, value);
		out = put_s64(out, (s64)value);
		*out++ = ' ';
		*out++ = 'B';
		return out;
	case DEV:
		out = put_u64(out, value << (place->down & 63) >> (place->down & 63) >> 20);
		*out++ = ':';
		return put_u64(out, value & 0xfffff);
	case IPV4:
		return put_ipv4(out, base + place->offset);
	case IPV6:
		return put_ipv6(out, base + place->offset);
	case MAC:
		return put_mac(out, base + place->offset);
	case HEX:
	case WIDE_HEX:
		return put_hex(out, value, (u64)(wide >> 64));
	case WIDE_BOOL:
		return put_bool(out, wide);
	default:
		return put_s128(out, wide, place->is_signed);
	}
}

/*
 * Each of these is a function of its own: Cranelift keeps what a small function uses in registers, and little of what one has
 * that does everything.
 */
#define APART static __attribute__((noinline))

INLINE const u8 *string_end(const struct instruction *in, const u8 *at, const u8 *end)
{
	return in->place.size ? at + in->place.size : end;
}

APART u8 *put_raw_string(u8 *out, const u8 *at, const u8 *end, u32 *wide)
{
	return put_string(out, at, end, RAW, wide);
}

APART u8 *put_json_string(u8 *out, const u8 *at, const u8 *end, u32 *wide)
{
	return put_string(out, at, end, JSON, wide);
}

APART u8 *put_text_string(u8 *out, const u8 *at, const u8 *end, u32 *wide)
{
	return put_string(out, at, end, TEXT, wide);
}

APART u8 *put_shown_json_string(u8 *out, const u8 *at, const u8 *end, u32 *wide)
{
	return put_string(out, at, end, SHOWN_JSON, wide);
}

APART u8 *put_name(u8 *out, const struct instruction *in, u64 value, u32 *wide)
{
	const struct name *name = find(in->names, in->name_count, value);

	if (!name)
		return put_unnamed(out, in, value);
	*wide += name->wide;
	return put(out, name->text, name->size);
}

INLINE u8 *end_cell(u8 *begin, u8 *out, const struct instruction *in, u32 wide)
{
	return in->cell == PADDED ? pad(begin, out, wide, in->width, in->limit, in->right) : quote(begin, out);
}

/* Lines without cells, which need no account of widths, are worth a copy of their own. */
INLINE u8 *follow(u8 *out, const struct program *program, const u8 *base, const u8 *end, bool has_cells)
{
	const struct instruction *in = program->code;
	struct loop loops[MAX_LOOPS], *loop = loops;
	u8 *cell = out;
	u32 wide = 0;

	for (;; in++) {
		wasm_v128_store(out, wasm_v128_load(in->text));
		out += in->text_size;
		const u8 *at = base + in->place.offset;
		u8 *begin = out;
		if (has_cells)
			wide = in->in_cell ? wide + in->wide : 0;
		u64 value;
		bool is_negative = false;
		switch ((enum opcode)in->opcode) {
		case END:
			return out;
		case NOTHING:
			continue;
		case U8:
			value = *at;
			break;
		case U16:
			value = (u64)(at[0] | at[1] << 8);
			break;
		case U32:
			value = load32(at);
			break;
		case U64:
			value = load64(at);
			break;
		case S8:
			value = (u64)(int8_t)*at;
			is_negative = value >> 63;
			break;
		case S16:
			value = (u64)(int16_t)(at[0] | at[1] << 8);
			is_negative = value >> 63;
			break;
		case S32:
			value = (u64)(int32_t)load32(at);
			is_negative = value >> 63;
			break;
		case S64:
			value = load64(at);
			is_negative = value >> 63;
			break;
		case PORT:
			value = (u64)(at[0] << 8 | at[1]);
			break;
		case INT:
			value = read_64(base, &in->place, program->is_big_endian);
			is_negative = in->place.is_signed & value >> 63;
			break;
		case NAMES:
		case FLAGS:
			out = put_name(out, in, read_64(base, &in->place, program->is_big_endian), &wide);
			goto written;
		case BOOL:
			out = put_bool(out, read_64(base, &in->place, program->is_big_endian));
			goto written;
		case STRING_RAW:
			out = put_raw_string(out, at, string_end(in, at, end), &wide);
			goto written;
		case STRING_JSON:
			out = put_json_string(out, at, string_end(in, at, end), &wide);
			goto written;
		case STRING_TEXT:
			out = put_text_string(out, at, string_end(in, at, end), &wide);
			goto written;
		case STRING_SHOWN_JSON:
			out = put_shown_json_string(out, at, string_end(in, at, end), &wide);
			goto written;
		case LOOP: {
			u32 count = in->count != ~0u ? in->count : at < end ? (u32)(end - at) / in->stride : 0;
			if (!count) {
				in = program->code + in->target - 1;
				continue;
			}
			*loop++ = (struct loop){base, count};
			base = at;
			continue;
		}
		case LOOP_END:
			if (--loop[-1].left) {
				*out++ = ',';
				base += in->stride;
				in = program->code + in->target - 1;
			} else {
				base = (--loop)->outside;
			}
			continue;
		case CELL:
			cell = out;
			wide = 0;
			continue;
		case CELL_END:
			begin = cell;
			goto written;
		default:
			out = put_value(out, in, base, program);
		written:
			if (has_cells && in->cell)
				out = end_cell(begin, out, in, wide);
			continue;
		}
		out = put_number(out, is_negative ? -value : value, is_negative, has_cells ? in->width : 0);
	}
}

APART u8 *put_plain_line(u8 *out, const struct program *program, const u8 *base, const u8 *end)
{
	return follow(out, program, base, end, false);
}

APART u8 *put_cells(u8 *out, const struct program *program, const u8 *base, const u8 *end)
{
	return follow(out, program, base, end, true);
}

/* One comparison is what most predicates are, and then this is all there is to a record that is passed over. */
INLINE bool is_wanted(const struct program *program, const u8 *payload, u32 length)
{
	if (!program->where_count)
		return true;
	if (!program->is_simple)
		return is_shown(program, payload, length);
	if (program->where_count > 1)
		return are_in_ranges(program, payload);
	return is_in_range(program->where, payload, program->is_big_endian);
}

INLINE u8 *put_line(u8 *out, const struct program *program, const struct job *job, const u8 *payload)
{
	u8 *line = out;

	out = put(out, job->prefix, job->prefix_size);
	out = (program->has_cells ? put_cells : put_plain_line)(out, program, payload, payload + job->length);
	if (program->is_stripped)
		while (out > line && out[-1] == ' ')
			out--;
	*out++ = '\n';
	return out;
}

/* Go on to the next record that is wanted; return its payload, or NULL at the end. */
APART const u8 *next_wanted(const struct program *program, struct job *job)
{
	const u8 *record = job->data + (size_t)job->index * job->stride;
	const u32 count = job->count, header = job->header, stride = job->stride;
	u32 index = job->index, consumed = job->consumed;
	const u8 *found = NULL;

	for (; index < count && !found; index++, record += stride) {
		if (load32(record) != header)
			continue;
		consumed++;
		if (is_wanted(program, record + 8, job->length))
			found = record + 8;
	}
	job->index = index;
	job->consumed = consumed;
	return found;
}

__attribute__((export_name("render"))) void render(const struct program *program, struct job *job)
{
	u8 *out = job->out;

	while (job->shown < job->limit && out < job->out_end) {
		const u8 *payload = next_wanted(program, job);
		if (!payload)
			break;
		out = put_line(out, program, job, payload);
		job->shown++;
	}
	job->out = out;
}
