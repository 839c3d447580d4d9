// SPDX-License-Identifier: MIT
// Leaves out short-lived processes of execsnoop, and says at the end how many there were. Build it with
//   python -m ziglang build-exe busy.zig -target wasm32-freestanding -O ReleaseSmall -fno-entry -rdynamic --stack 65536
//   sudo ecli-py run execsnoop.json --handler busy.wasm

// As `ecli-py schema execsnoop.json --as c` shows it.
const Event = extern struct {
    duration_ns: u64,
    pid: u32,
    ppid: u32,
    uid: u32,
    kind: u32,
    exit_code: i32,
    comm: [16]u8,
    filename: [128]u8,
};

const exit = 1;
const text = -1;

extern "ecli" fn emit(type: i32, data: [*]const u8, size: u32) i32;

var buffer: [4096]u8 align(8) = undefined;
var short: u64 = 0;

export fn ecli_abi() i32 {
    return 1;
}

export fn ecli_buffer(size: u32) ?[*]u8 {
    return if (size <= buffer.len) &buffer else null;
}

export fn ecli_event(_: i32, data: *const Event, size: u32) i32 {
    if (size < @sizeOf(Event)) return 0;
    if (data.kind == exit and data.duration_ns >= 100_000_000) return 0;
    short += 1;
    return 1;
}

export fn ecli_finish() i32 {
    var line: [64]u8 = undefined;
    var at: usize = line.len;
    const end = " events of short-lived processes";
    at -= end.len;
    @memcpy(line[at..], end);
    var number = short;
    while (true) {
        at -= 1;
        line[at] = '0' + @as(u8, @intCast(number % 10));
        number /= 10;
        if (number == 0) break;
    }
    return emit(text, line[at..].ptr, line.len - at);
}
