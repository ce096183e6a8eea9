//! Buffers: zeroed, aligned, writable, and with an error instead of a crash for absurd sizes.

#![cfg(not(target_family = "wasm"))] // which has no mappings and pages

use std::thread;

use tern_kernels::memory::{Buffer, HUGE_PAGE, MemoryError, Pages, huge_bytes_in_use};

const ODD_LENGTHS: [usize; 10] = [
    0,
    1,
    63,
    4097,
    HUGE_PAGE / 2 - 1,
    HUGE_PAGE / 2,
    HUGE_PAGE - 1,
    HUGE_PAGE,
    HUGE_PAGE + 1,
    3 * HUGE_PAGE + 12_345,
];

#[test]
fn buffers_are_zeroed_aligned_and_writable() {
    for pages in [Pages::Huge, Pages::Small] {
        for len in ODD_LENGTHS {
            let mut buffer = Buffer::zeroed(len, pages).expect("a few MiB can be had");
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.pages(), pages);
            assert!(buffer.iter().all(|&byte| byte == 0));
            let alignment = if len >= HUGE_PAGE / 2 { HUGE_PAGE } else { 64 };
            assert!(
                buffer.as_ptr().addr().is_multiple_of(alignment),
                "{len} bytes"
            );

            buffer.fill(0xA5);
            assert!(buffer.iter().all(|&byte| byte == 0xA5));
        }
    }
}

#[test]
fn absurd_sizes_are_errors_that_name_the_size() {
    for bytes in [usize::MAX, usize::MAX - HUGE_PAGE, isize::MAX as usize] {
        let error = Buffer::zeroed(bytes, Pages::Huge).expect_err("no machine has that much");
        assert!(matches!(error, MemoryError::TooLarge { .. }), "{error:?}");
        assert!(error.to_string().contains(&bytes.to_string()), "{error}");
    }
}

/// Half of the address space fits an `isize` but no page table.
#[test]
#[cfg(target_pointer_width = "64")]
fn what_the_system_refuses_is_an_error() {
    let bytes = 1 << 61;
    let error = Buffer::zeroed(bytes, Pages::Small).expect_err("no machine has that much");
    assert!(matches!(error, MemoryError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains(&bytes.to_string()), "{error}");
}

#[test]
fn huge_pages_come_where_the_system_gives_them() {
    let in_use = || huge_bytes_in_use().unwrap_or(0);
    let mut buffer = Buffer::zeroed(8 * HUGE_PAGE, Pages::Huge).expect("16 MiB can be had");
    let before = in_use();
    buffer.fill(1);
    let gained = in_use().saturating_sub(before);
    // No assertion on `gained`: the system may be set to `never`, or short of free ranges.
    eprintln!(
        "advised: {}, {gained} of {} bytes on huge pages",
        buffer.advised(),
        buffer.len()
    );
    assert!(
        !Buffer::zeroed(100, Pages::Huge)
            .expect("100 bytes")
            .advised(),
        "too small"
    );
}

#[test]
fn buffers_are_filled_and_read_by_several_threads() {
    let mut buffer = Buffer::zeroed(4 * HUGE_PAGE, Pages::Huge).expect("8 MiB can be had");
    let part = buffer.len() / 4;
    thread::scope(|scope| {
        for (value, chunk) in (1..).zip(buffer.chunks_mut(part)) {
            scope.spawn(move || chunk.fill(value));
        }
    });
    let buffer = &buffer;
    thread::scope(|scope| {
        for value in 1..=4 {
            scope.spawn(move || {
                let chunk = &buffer[(usize::from(value) - 1) * part..][..part];
                assert!(chunk.iter().all(|&byte| byte == value));
            });
        }
    });
}
