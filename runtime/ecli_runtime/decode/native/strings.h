/* Strings of samples: the end at a NUL, UTF-8 as CPython decodes it, escapes. */
#pragma once

#include "numbers.h"
#include "types.h"

enum escape { RAW, JSON, TEXT, SHOWN_JSON };

/*
 * Decode one character, which begins with a byte of 0x80 or above. Of what is no UTF-8 the longest part that could begin a
 * character counts as one U+FFFD (Unicode 15, section 3.9, "U+FFFD Substitution of Maximal Subparts").
 */
static u32 decode(const u8 *at, const u8 *end, u32 *size)
{
	u8 lead = at[0], low = 0x80, high = 0xbf;
	u32 need, code;

	if (lead >= 0xc2 && lead <= 0xdf) {
		need = 1;
		code = lead & 0x1f;
	} else if ((lead & 0xf0) == 0xe0) {
		need = 2;
		code = lead & 0x0f;
		low = lead == 0xe0 ? 0xa0 : 0x80;
		high = lead == 0xed ? 0x9f : 0xbf; /* no surrogates */
	} else if (lead >= 0xf0 && lead <= 0xf4) {
		need = 3;
		code = lead & 0x07;
		low = lead == 0xf0 ? 0x90 : 0x80;
		high = lead == 0xf4 ? 0x8f : 0xbf;
	} else {
		*size = 1;
		return 0xfffd;
	}
	for (u32 i = 1; i <= need; i++) {
		if (at + i >= end || at[i] < low || at[i] > high) {
			*size = i;
			return 0xfffd;
		}
		code = code << 6 | (at[i] & 0x3f);
		low = 0x80;
		high = 0xbf;
	}
	*size = need + 1;
	return code;
}

/* Whether a character would act on a terminal, or hide or reorder what is beside it. The table is in escapes.py, too. */
INLINE bool is_unsafe(u32 code)
{
	if (code < 0x20 || (code >= 0x7f && code <= 0x9f) || code == 0xad)
		return true;
	if (code < 0x61c)
		return false;
	return code == 0x61c || (code >= 0x200b && code <= 0x200f) || (code >= 0x202a && code <= 0x202e) ||
	       (code >= 0x2060 && code <= 0x206f) || code == 0xfeff || (code >= 0xfff9 && code <= 0xfffb) ||
	       (code >= 0xe0000 && code <= 0xe007f);
}

INLINE u8 *put_escape(u8 *out, u8 letter, u32 code, int digits)
{
	*out++ = '\\';
	*out++ = letter;
	return put_hex_digits(out, code, digits);
}

static u8 *put_escaped(u8 *out, u32 code, enum escape escape)
{
	u8 letter = 0;

	if (code == '\n')
		letter = 'n';
	else if (code == '\r')
		letter = 'r';
	else if (code == '\t')
		letter = 't';
	else if (escape == TEXT)
		return code < 0x100     ? put_escape(out, 'x', code, 2)
		       : code < 0x10000 ? put_escape(out, 'u', code, 4)
					: put_escape(out, 'U', code, 8);
	else if (code == '"' || code == '\\')
		letter = (u8)code;
	else if (code == '\b')
		letter = 'b';
	else if (code == '\f')
		letter = 'f';
	else if (code < 0x10000)
		return put_escape(out, 'u', code, 4);
	else
		return put_escape(put_escape(out, 'u', 0xd7c0 + (code >> 10), 4), 'u', 0xdc00 | (code & 0x3ff), 4);
	*out++ = '\\';
	*out++ = letter;
	return out;
}

/* Bytes that cannot be copied as they are: a bit for each of 16. */
INLINE u32 special(v128_t bytes, enum escape escape)
{
	/* As signed numbers, control characters and NUL are below the blank, and so are the bytes of 0x80 and above. */
	v128_t found = wasm_i8x16_lt(bytes, wasm_i8x16_splat(escape == RAW ? 1 : 0x20));

	if (escape == JSON || escape == SHOWN_JSON) {
		found = wasm_v128_or(found, wasm_i8x16_eq(bytes, wasm_i8x16_splat('"')));
		found = wasm_v128_or(found, wasm_i8x16_eq(bytes, wasm_i8x16_splat('\\')));
	}
	if (escape == TEXT || escape == SHOWN_JSON)
		found = wasm_v128_or(found, wasm_i8x16_eq(bytes, wasm_i8x16_splat(0x7f)));
	return wasm_i8x16_bitmask(found);
}

/* Write the character that starts at *at and go on behind it. `wide` counts bytes that make no code point of their own. */
COLD u8 *put_special(u8 *out, const u8 **at, const u8 *end, enum escape escape, u32 *wide)
{
	const u8 *begin = *at;
	u32 size = 1, code = *begin;

	if (code >= 0x80)
		code = decode(begin, end, &size);
	*at = begin + size;
	if (code < 0x80 || ((escape == TEXT || escape == SHOWN_JSON) && is_unsafe(code)))
		return put_escaped(out, code, escape);
	if (code == 0xfffd) {
		begin = (const u8 *)"\xef\xbf\xbd";
		size = 3;
	}
	for (u32 i = 0; i < size; i++)
		out[i] = begin[i];
	*wide += size - 1;
	return out + size;
}

/* Write what is left of a string from a byte on that is special. */
COLD u8 *put_rest(u8 *out, const u8 *at, const u8 *end, enum escape escape, u32 *wide)
{
	while (at < end && *at) {
		u32 found = special(wasm_v128_load(at), escape);

		if (found & 1) {
			out = put_special(out, &at, end, escape, wide);
			continue;
		}
		u32 clean = found ? (u32)__builtin_ctz(found) : 16, left = (u32)(end - at);
		wasm_v128_store(out, wasm_v128_load(at));
		clean = clean < left ? clean : left;
		at += clean;
		out += clean;
	}
	return out;
}

/*
 * Write a string up to its NUL. Few have a special byte; what writes these is called last of all, so that Cranelift need not
 * keep anything in memory for it during the loop, which halves the time.
 */
INLINE u8 *put_string(u8 *out, const u8 *at, const u8 *end, enum escape escape, u32 *wide)
{
	while (at < end) {
		v128_t bytes = wasm_v128_load(at);
		u32 found = special(bytes, escape), left = (u32)(end - at);

		wasm_v128_store(out, bytes);
		if (found) {
			u32 clean = (u32)__builtin_ctz(found);
			if (clean >= left)
				return out + left;
			out += clean;
			at += clean;
			return *at ? put_rest(out, at, end, escape, wide) : out;
		}
		if (left < 16)
			return out + left;
		at += 16;
		out += 16;
	}
	return out;
}
