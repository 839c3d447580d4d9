/* Cells: padding, cutting, quotes of CSV. All work on text that was just written. */
#pragma once

#include "numbers.h"
#include "types.h"

/* Skip a number of code points. */
INLINE u8 *skip(u8 *at, u32 count)
{
	while (count--)
		do
			at++;
		while ((*at & 0xc0) == 0x80);
	return at;
}

/* Keep `limit` code points of a longer text: its beginning, an ellipsis, its end. `length` is that of the text. */
COLD u8 *cut(u8 *begin, u8 *out, u32 length, u32 limit, u32 *wide)
{
	u32 first = (limit - 1) / 2, last = limit - 1 - first;

	*out = 0; /* ends the last character, whatever was written there before */
	u8 *head_end = skip(begin, first), *tail = skip(head_end, length - limit + 1);
	u32 tail_size = (u32)(out - tail);

	__builtin_memmove(head_end + 3, tail, tail_size);
	__builtin_memcpy(head_end, "\xe2\x80\xa6", 3);
	out = head_end + 3 + tail_size;
	*wide = (u32)(out - begin) - first - 1 - last;
	return out;
}

INLINE u8 *pad(u8 *begin, u8 *out, u32 wide, u32 width, u32 limit, bool right)
{
	u32 length = (u32)(out - begin) - wide;

	if (limit && length > limit) {
		out = cut(begin, out, length, limit, &wide);
		length = limit;
	}
	if (length >= width)
		return out;
	if (!right)
		return put_blanks(out, (int)(width - length));
	u32 blanks = width - length, size = (u32)(out - begin);
	if (size <= 16) {
		v128_t text = wasm_v128_load(begin);
		wasm_v128_store(put_blanks(begin, (int)blanks), text);
	} else {
		__builtin_memmove(begin + blanks, begin, size);
		for (u32 i = 0; i < blanks; i++)
			begin[i] = ' ';
	}
	return out + blanks;
}

COLD u8 *quote_all(u8 *begin, u8 *out)
{
	u32 quotes = 0;

	for (u8 *at = begin; at < out; at++)
		quotes += *at == '"';
	u8 *to = out + quotes + 2, *end = to;
	*--to = '"';
	while (out > begin) {
		*--to = *--out;
		if (*out == '"')
			*--to = '"';
	}
	*--to = '"';
	return end;
}

/* RFC 4180: quotes where there is a comma, a quote or a line break. */
INLINE u8 *quote(u8 *begin, u8 *out)
{
	for (u8 *at = begin; at < out; at += 16) {
		v128_t bytes = wasm_v128_load(at);
		v128_t found = wasm_i8x16_eq(bytes, wasm_i8x16_splat(','));
		found = wasm_v128_or(found, wasm_i8x16_eq(bytes, wasm_i8x16_splat('"')));
		found = wasm_v128_or(found, wasm_i8x16_eq(bytes, wasm_i8x16_splat('\n')));
		found = wasm_v128_or(found, wasm_i8x16_eq(bytes, wasm_i8x16_splat('\r')));
		u32 mask = wasm_i8x16_bitmask(found), left = (u32)(out - at);
		if (left < 16)
			mask &= (1u << left) - 1;
		if (mask)
			return quote_all(begin, out);
	}
	return out;
}
