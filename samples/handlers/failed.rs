// SPDX-License-Identifier: MIT
// Shows of execsnoop only processes that failed, and counts them by their exit codes. Build it with
//   rustup target add wasm32-unknown-unknown
//   rustc --edition 2021 --target wasm32-unknown-unknown -O \
//     --crate-type cdylib -C link-arg=-zstack-size=65536 -C strip=debuginfo failed.rs
//   sudo ecli-py run execsnoop.json --handler failed.wasm

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;

/// As `ecli-py schema execsnoop.json --as c` shows it.
#[repr(C)]
struct Event {
    duration_ns: u64,
    pid: u32,
    ppid: u32,
    uid: u32,
    kind: u32,
    exit_code: i32,
    comm: [u8; 16],
    filename: [u8; 128],
}

const EXIT: u32 = 1;
const KEEP: i32 = 0;
const DROP: i32 = 1;
const TEXT: i32 = -1;

#[link(wasm_import_module = "ecli")]
extern "C" {
    fn emit(kind: i32, data: *const u8, size: u32) -> i32;
}

thread_local! {
    // One place for events, that is grown when longer ones come: the host asks for it, and keeps its address.
    static BUFFER: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    static COUNTS: RefCell<BTreeMap<i32, u64>> = const { RefCell::new(BTreeMap::new()) };
}

#[no_mangle]
pub extern "C" fn ecli_abi() -> i32 {
    1
}

#[no_mangle]
pub extern "C" fn ecli_buffer(size: u32) -> *mut u64 {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize((size as usize).div_ceil(8), 0);
        buffer.as_mut_ptr()
    })
}

/// # Safety
/// The host passes the address that `ecli_buffer` returned, and the size of what is there.
#[no_mangle]
pub unsafe extern "C" fn ecli_event(_kind: i32, data: *mut u8, size: u32) -> i32 {
    if (size as usize) < std::mem::size_of::<Event>() {
        return KEEP;
    }
    let event = &*(data as *const Event);
    if event.kind != EXIT || event.exit_code == 0 {
        return DROP;
    }
    COUNTS.with_borrow_mut(|counts| *counts.entry(event.exit_code).or_insert(0) += 1);
    KEEP
}

#[no_mangle]
pub extern "C" fn ecli_finish() -> i32 {
    let mut text = String::from("exit codes:");
    COUNTS.with_borrow(|counts| {
        for (code, count) in counts {
            let _ = write!(text, " {code} ({count} times)");
        }
    });
    unsafe { emit(TEXT, text.as_ptr(), text.len() as u32) }
}
