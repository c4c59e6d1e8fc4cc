/* The function bench/count of ../main.go without an SDK or a library: the layout of package abi, written by hand. It shows what
 * the engine does when the guest costs next to nothing, and that the layout needs no Go.
 *
 *   make guests      compiles it to count.wasm, which is committed: clang is not needed to test.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define EXPORT(name) __attribute__((export_name(#name)))

enum {
	VERSION = 1, FULL = -1, BAD_VERSION = -2, BAD_BATCH = -3, BAD_FUNCTION = -4,
	CODE_ERROR = 1, EGRESS = 2, NO_KEY = 1,
	BATCH = 32, GROUP = 24, STATE = 8, MESSAGE = 40,
	RESULT = 16, GROUP_RESULT = 32, WRITE = 8, OP = 40,
	COUNT_AT = 8, /* in the value of a record: behind the time of its sending */
	PAGE = 64 << 10,
};

static const char description[] =
	"{\"abi\":1,\"sdk\":\"none\",\"functions\":[{\"type\":\"bench/count\",\"states\":[{\"name\":\"count\",\"type\":\"int64\"}]}],"
	"\"egresses\":[\"out\"]}";
static const char too_short[] = "value of less than 16 bytes: want a time and room for a count";

extern u8 __heap_base;
static u8 *end; /* of what is taken */
static u8 *in, *out;
static u32 in_cap, out_cap;

static u32 pad8(u32 n) { return (n + 7) & ~7u; }

/* take gives memory that nobody gives back: buffers at least double, so all of them together are twice the last. */
static u8 *take(u32 size) {
	if (!end) end = (u8 *)(((u32)&__heap_base + 7) & ~7u);
	u64 want = (u64)(u32)end + size, have = (u64)__builtin_wasm_memory_size(0) * PAGE;
	if (want > have && __builtin_wasm_memory_grow(0, (want - have + PAGE - 1) / PAGE) == (u32)-1) __builtin_trap();
	u8 *p = end;
	end += size;
	return p;
}

static u8 *room(u8 **buffer, u32 *have, u32 cap) {
	if (cap > *have) {
		u32 size = pad8(cap > *have * 2 ? cap : *have * 2);
		*buffer = take(size);
		*have = size;
	}
	return *buffer;
}

EXPORT(weir_abi) int weir_abi(void) { return VERSION; }
EXPORT(weir_describe) u64 weir_describe(void) { return (u64)(u32)description << 32 | (sizeof description - 1); }
EXPORT(weir_in) u8 *weir_in(u32 cap) { return room(&in, &in_cap, cap); }
EXPORT(weir_out) u8 *weir_out(u32 cap) { return room(&out, &out_cap, cap); }

static u32 u32_at(const u8 *p) { return *(const u32 *)p; }
static void put(u8 *p, u32 v) { *(u32 *)p = v; }
static void zero(u8 *from, u8 *to) { __builtin_memset(from, 0, to - from); }

/* part moves on by a padded length; 0 when that leaves the block. Both are at most 2^28, so sums fit. */
static const u8 *part(const u8 *p, u32 length, const u8 *to) {
	return length > (u32)(to - p) || pad8(length) > (u32)(to - p) ? 0 : p + pad8(length);
}

/* emit appends a record with the message's value and count to egress "out"; 0 when there is no room. */
static u8 *emit(u8 *w, u8 *limit, u32 index, const u8 *key, u32 key_len, const u8 *value, u32 value_len, u64 count) {
	u32 tail = 3 + key_len + value_len, length = OP + pad8(tail);
	if (length > (u32)(limit - w)) return 0;
	put(w, length);
	put(w + 4, EGRESS | (key_len ? 0 : NO_KEY) << 8 | 3 << 16); /* the SDK, too, takes an empty key for none */
	put(w + 8, index);
	put(w + 12, key_len);
	put(w + 16, value_len);
	zero(w + 20, w + OP);
	u8 *p = w + OP;
	put(w + length - 8, 0); /* what is padding stays 0 */
	put(w + length - 4, 0);
	p[0] = 'o', p[1] = 'u', p[2] = 't';
	p += 3;
	__builtin_memcpy(p, key, key_len);
	p += key_len;
	__builtin_memcpy(p, value, value_len);
	u64 big = __builtin_bswap64(count);
	__builtin_memcpy(p + COUNT_AT, &big, 8);
	return w + length;
}

/* fail writes the code and text of the message that failed. */
static u8 *fail(u8 *group, u8 *w, u8 *limit) {
	u32 length = sizeof too_short - 1;
	if (pad8(length) > (u32)(limit - w)) return 0;
	*(u16 *)(group + 8) = CODE_ERROR;
	put(group + 20, length);
	put(w + pad8(length) - 8, 0);
	put(w + pad8(length) - 4, 0);
	__builtin_memcpy(w, too_short, length);
	return w + pad8(length);
}

/* run_group reads a group at *at and writes its result at *to. */
static int run_group(const u8 **at, const u8 *batch_end, u8 **to, u8 *limit) {
	const u8 *g = *at;
	if ((u32)(batch_end - g) < GROUP) return BAD_BATCH;
	u32 length = u32_at(g), key_len = u32_at(g + 8), messages = u32_at(g + 12);
	if (length < GROUP || length > (u32)(batch_end - g)) return BAD_BATCH;
	if (*(const u16 *)(g + 4) != 0 || *(const u16 *)(g + 6) != 1) return BAD_FUNCTION;
	const u8 *stop = g + length, *key = g + GROUP, *p = part(key, key_len, stop);
	if (!p || !(p = part(p, u32_at(g + 16), stop)) || (u32)(stop - p) < STATE) return BAD_BATCH;
	u64 count = 0;
	u32 state_len = u32_at(p), present = u32_at(p + 4);
	const u8 *state = p + STATE;
	if (!(p = part(state, state_len, stop))) return BAD_BATCH;
	if (present && state_len == 8) count = *(const u64 *)state;

	u8 *r = *to, *w = r + GROUP_RESULT;
	if ((u32)(limit - r) < GROUP_RESULT) return FULL;
	zero(r, w);
	u32 done = 0;
	for (; done < messages; done++) {
		if ((u32)(stop - p) < MESSAGE) return BAD_BATCH;
		u32 block = u32_at(p), value_len = u32_at(p + 24);
		if (block < MESSAGE || block > (u32)(stop - p) || value_len > block - MESSAGE) return BAD_BATCH;
		if (value_len < COUNT_AT + 8) break;
		if (!(w = emit(w, limit, done, key, key_len, p + MESSAGE, value_len, count + 1))) return FULL;
		count++;
		p += block;
	}
	put(r + 4, done);
	put(r + 12, done); /* ops: one for each message */
	put(r + 16, w - r - GROUP_RESULT);
	if (done < messages && !(w = fail(r, w, limit))) return FULL;
	if (done > 0) {
		if ((u32)(limit - w) < WRITE + 8) return FULL;
		*(u16 *)(r + 10) = 1;
		put(w, 0);
		put(w + 4, 8);
		*(u64 *)(w + WRITE) = count;
		w += WRITE + 8;
	}
	put(r, w - r);
	*at = stop;
	*to = w;
	return 0;
}

EXPORT(weir_batch) int weir_batch(u32 length) {
	if (length < BATCH || length > in_cap || u32_at(in + 24) != length) return BAD_BATCH;
	if (*(u16 *)in != VERSION) return BAD_VERSION;
	const u8 *stop = in + length, *p = part(in + BATCH, u32_at(in + 28), stop);
	u8 *w = out + RESULT, *limit = out + (out_cap & ~7u);
	if (!p) return BAD_BATCH;
	if (out_cap < RESULT) return FULL;
	u32 groups = u32_at(in + 4);
	for (u32 n = 0; n < groups; n++) {
		int wrong = run_group(&p, stop, &w, limit);
		if (wrong) return wrong;
	}
	if (p != stop) return BAD_BATCH;
	put(out, VERSION);
	put(out + 4, groups);
	put(out + 8, w - out);
	put(out + 12, 0);
	return w - out;
}
