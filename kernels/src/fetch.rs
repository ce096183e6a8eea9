//! Asking for memory before it is needed.

/// Bytes that one request brings: a cache line, of most CPUs.
const LINE: usize = 64;

/// Asks the CPU to bring `bytes` near, into the second-level cache, because they will be used soon. Nothing else depends on it.
#[inline]
pub fn fetch(bytes: &[u8]) {
    for line in bytes.chunks(LINE) {
        fetch_line(line.as_ptr());
    }
}

/// Asks for the line at an address, which need not be one of ours.
#[inline(always)]
fn fetch_line(line: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch neither reads nor writes, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(line.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl2keep, [{}]", in(reg) line, options(nomem, nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = line;
}
