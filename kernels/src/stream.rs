//! Reading memory and multiplying as fast as the ISA allows, and counting cycles: the rulers that kernels are measured against.

use crate::contract::{DotArgs, DotFn, ReadArgs, ReadFn};
use crate::cpu::{Cpu, Isa};
use crate::generated;

/// Reads all of `bytes` with the widest loads of `cpu`, as `streams` runs side by side, and returns a mix of what was read.
///
/// The last bytes that do not fill `streams` runs of whole 256-byte blocks are left out.
pub fn read(cpu: &Cpu, bytes: &[u8], streams: usize) -> u64 {
    let streams = streams.max(1);
    let len = bytes.len() / streams / 256 * 256;
    let widest = generated::READS
        .iter()
        .filter(|(isa, _)| cpu.has(*isa))
        .max_by_key(|(isa, _)| *isa);
    let Some((_, read)): Option<&(Isa, ReadFn)> = widest else {
        return 0;
    };
    let args = ReadArgs {
        bytes: bytes.as_ptr(),
        len,
        streams,
    };
    // SAFETY: `streams * len` is at most `bytes.len()`, `len` is a multiple of 256, and the CPU has the ISA.
    unsafe { read(&args) }
}

/// Bytes that a call of [`dot`] needs, or a multiple of that: twelve vectors of the widest ISA.
pub const DOT_BYTES: usize = 768;

/// Products of each byte in [`dot`], so that loads are not its limit.
pub const DOT_PRODUCTS: usize = 2;

/// The ISA that [`dot`] multiplies with: the last of the `--max-isa` list that has a dot product; `None` if `cpu` has none.
pub fn dot_isa(cpu: &Cpu) -> Option<Isa> {
    widest_dot(cpu).map(|(isa, _)| *isa)
}

/// Multiplies all of `bytes` with the dot product of [`dot_isa`], `laps` times, and returns a mix of the sums: [`DOT_PRODUCTS`]
/// products a byte. A kernel that multiplies each weight needs one product a weight at least. Nothing is added up where the CPU has none.
///
/// The last bytes that do not fill a multiple of [`DOT_BYTES`] are left out. They should lie in the first-level cache and
/// start on a cache line, as those of a [`Buffer`](crate::Buffer) do: a load that crosses lines takes the time of two.
pub fn dot(cpu: &Cpu, bytes: &[u8], laps: usize) -> u64 {
    let len = bytes.len() / DOT_BYTES * DOT_BYTES;
    let Some((_, dot)) = widest_dot(cpu).filter(|_| len > 0) else {
        return 0;
    };
    let args = DotArgs {
        bytes: bytes.as_ptr(),
        len,
        laps,
    };
    // SAFETY: `len` is at most `bytes.len()`, a multiple of 768 and not zero, and the CPU has the ISA.
    unsafe { dot(&args) }
}

fn widest_dot(cpu: &Cpu) -> Option<&'static (Isa, DotFn)> {
    generated::DOTS
        .iter()
        .filter(|(isa, _)| cpu.has(*isa))
        .max_by_key(|(isa, _)| *isa)
}

/// Adds to one register `n` times (rounded down to 16s), each addition waiting for the one before: a cycle each on current CPUs.
///
/// Timed beside a kernel it tells how long a cycle was at that moment.
pub fn dependent_adds(n: u64) -> u64 {
    let mut sum = std::hint::black_box(0u64);
    for _ in 0..n / 16 {
        for _ in 0..16 {
            sum = chained_add(sum);
        }
    }
    sum
}

/// One addition that the compiler cannot see through.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn chained_add(mut sum: u64) -> u64 {
    // The step is in a register, because recent cores add small constants while renaming, in no time at all.
    // SAFETY: adds one register to another and touches nothing else.
    unsafe {
        std::arch::asm!("add {0}, {1}", inout(reg) sum, in(reg) 1u64, options(nomem, nostack))
    };
    sum
}

/// One addition that the compiler cannot see through.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn chained_add(mut sum: u64) -> u64 {
    // SAFETY: adds one register to another and touches nothing else.
    unsafe {
        std::arch::asm!("add {0}, {0}, {1}", inout(reg) sum, in(reg) 1u64, options(nomem, nostack))
    };
    sum
}

/// One addition; elsewhere the estimate is only rough.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
fn chained_add(sum: u64) -> u64 {
    std::hint::black_box(sum) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_see_every_byte_of_whole_blocks() {
        let cpu = Cpu::detect();
        for streams in [1, 2, 4] {
            let mut bytes = vec![0u8; 4096];
            assert_eq!(read(&cpu, &bytes, streams), 0);
            for at in [0, 255, 1024, 4095] {
                bytes[at] = 0xff;
                assert_ne!(
                    read(&cpu, &bytes, streams),
                    0,
                    "byte {at}, {streams} streams"
                );
                bytes[at] = 0;
            }
        }
    }

    #[test]
    fn products_see_every_byte_and_every_lap() {
        let cpu = Cpu::detect();
        let mut bytes = vec![1u8; 4 * DOT_BYTES];
        let ones = dot(&cpu, &bytes, 3);
        if dot_isa(&cpu).is_none() {
            assert_eq!(ones, 0, "there is nothing to multiply with");
            return;
        }
        assert_ne!(ones, dot(&cpu, &bytes, 4));
        assert_eq!(dot(&cpu, &bytes[..DOT_BYTES - 1], 3), 0, "too few bytes");
        for at in [0, 255, DOT_BYTES, 4 * DOT_BYTES - 1] {
            bytes[at] = 7;
            assert_ne!(dot(&cpu, &bytes, 3), ones, "byte {at}");
            bytes[at] = 1;
        }
    }

    #[test]
    fn the_chain_counts() {
        assert_eq!(dependent_adds(1600), 1600);
    }
}
