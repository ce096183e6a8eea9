/// `gemv_lut_t2__neon_p1k12w4n2`: lookup of two trits on neon.
///
/// Packing `t2_l16_p1_k12`: 16 rows x 4 columns in 16 bytes a step and panel, 2.000 bits a weight.
/// 12 of 32 vector registers. Steps before narrow sums are widened: 4 (bound 5). Steps in a K block: 12 (bound 1028). Adds the `i32` sum of each row to `out`. Reads the weights once for 2 tokens.
/// Emitted by `codegen/src/skeleton/lut.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "neon")]
pub unsafe fn gemv_lut_t2__neon_p1k12w4n2(args: &GemvArgs) {
    let GemvArgs { tokens, count, steps, prefetch, .. } = *args;
    // SAFETY: by the contract of `GemvArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        let (batches, rest) = core::slice::from_raw_parts(tokens, count)
            .as_chunks::<2>();
        for [t0, t1] in batches {
            let Token { operand: operand_t0, out: out_t0, .. } = *t0;
            let Token { operand: operand_t1, out: out_t1, .. } = *t1;
            let mut weights = args.weights;
            let mut out_t0 = out_t0.cast::<u8>();
            let mut out_t1 = out_t1.cast::<u8>();
            for _ in 0..args.strips {
                let mut low_words0_t0 = vdupq_n_u8(0);
                let mut low_odd0_t0 = vdupq_n_u8(0);
                let mut high_words0_t0 = vdupq_n_u8(0);
                let mut high_odd0_t0 = vdupq_n_u8(0);
                let mut low_words0_t1 = vdupq_n_u8(0);
                let mut low_odd0_t1 = vdupq_n_u8(0);
                let mut high_words0_t1 = vdupq_n_u8(0);
                let mut high_odd0_t1 = vdupq_n_u8(0);
                let mut at_t0 = operand_t0;
                let mut at_t1 = operand_t1;
                let mut left = steps;
                while left >= 4 {
                    let mut low0_t0 = vdupq_n_u8(0);
                    let mut high0_t0 = vdupq_n_u8(0);
                    let mut low0_t1 = vdupq_n_u8(0);
                    let mut high0_t1 = vdupq_n_u8(0);
                    for _ in 0..4 {
                        let ahead = weights.wrapping_add(prefetch);
                        prefetch_line(ahead);
                        let nibble = vdupq_n_u8(15);
                        let pair = vld1q_u8(weights);
                        let (first0, second0) = (
                            vandq_u8(pair, nibble),
                            vshrq_n_u8::<4>(pair),
                        );
                        let (low_table0, high_table0) = (
                            vld1q_u8(at_t0),
                            vld1q_u8(at_t0.add(16)),
                        );
                        let (low_table1, high_table1) = (
                            vld1q_u8(at_t0.add(32)),
                            vld1q_u8(at_t0.add(48)),
                        );
                        low0_t0 = vaddq_u8(low0_t0, vqtbl1q_u8(low_table0, first0));
                        high0_t0 = vaddq_u8(high0_t0, vqtbl1q_u8(high_table0, first0));
                        low0_t0 = vaddq_u8(low0_t0, vqtbl1q_u8(low_table1, second0));
                        high0_t0 = vaddq_u8(high0_t0, vqtbl1q_u8(high_table1, second0));
                        let (low_table0, high_table0) = (
                            vld1q_u8(at_t1),
                            vld1q_u8(at_t1.add(16)),
                        );
                        let (low_table1, high_table1) = (
                            vld1q_u8(at_t1.add(32)),
                            vld1q_u8(at_t1.add(48)),
                        );
                        low0_t1 = vaddq_u8(low0_t1, vqtbl1q_u8(low_table0, first0));
                        high0_t1 = vaddq_u8(high0_t1, vqtbl1q_u8(high_table0, first0));
                        low0_t1 = vaddq_u8(low0_t1, vqtbl1q_u8(low_table1, second0));
                        high0_t1 = vaddq_u8(high0_t1, vqtbl1q_u8(high_table1, second0));
                        weights = weights.add(16);
                        at_t0 = at_t0.add(64);
                        at_t1 = at_t1.add(64);
                    }
                    low_words0_t0 = add16(low_words0_t0, low0_t0);
                    low_odd0_t0 = add16(low_odd0_t0, shift_right16::<8>(low0_t0));
                    high_words0_t0 = add16(high_words0_t0, high0_t0);
                    high_odd0_t0 = add16(high_odd0_t0, shift_right16::<8>(high0_t0));
                    low_words0_t1 = add16(low_words0_t1, low0_t1);
                    low_odd0_t1 = add16(low_odd0_t1, shift_right16::<8>(low0_t1));
                    high_words0_t1 = add16(high_words0_t1, high0_t1);
                    high_odd0_t1 = add16(high_odd0_t1, shift_right16::<8>(high0_t1));
                    left -= 4;
                }
                if left > 0 {
                    let mut low0_t0 = vdupq_n_u8(0);
                    let mut high0_t0 = vdupq_n_u8(0);
                    let mut low0_t1 = vdupq_n_u8(0);
                    let mut high0_t1 = vdupq_n_u8(0);
                    for _ in 0..left {
                        let ahead = weights.wrapping_add(prefetch);
                        prefetch_line(ahead);
                        let nibble = vdupq_n_u8(15);
                        let pair = vld1q_u8(weights);
                        let (first0, second0) = (
                            vandq_u8(pair, nibble),
                            vshrq_n_u8::<4>(pair),
                        );
                        let (low_table0, high_table0) = (
                            vld1q_u8(at_t0),
                            vld1q_u8(at_t0.add(16)),
                        );
                        let (low_table1, high_table1) = (
                            vld1q_u8(at_t0.add(32)),
                            vld1q_u8(at_t0.add(48)),
                        );
                        low0_t0 = vaddq_u8(low0_t0, vqtbl1q_u8(low_table0, first0));
                        high0_t0 = vaddq_u8(high0_t0, vqtbl1q_u8(high_table0, first0));
                        low0_t0 = vaddq_u8(low0_t0, vqtbl1q_u8(low_table1, second0));
                        high0_t0 = vaddq_u8(high0_t0, vqtbl1q_u8(high_table1, second0));
                        let (low_table0, high_table0) = (
                            vld1q_u8(at_t1),
                            vld1q_u8(at_t1.add(16)),
                        );
                        let (low_table1, high_table1) = (
                            vld1q_u8(at_t1.add(32)),
                            vld1q_u8(at_t1.add(48)),
                        );
                        low0_t1 = vaddq_u8(low0_t1, vqtbl1q_u8(low_table0, first0));
                        high0_t1 = vaddq_u8(high0_t1, vqtbl1q_u8(high_table0, first0));
                        low0_t1 = vaddq_u8(low0_t1, vqtbl1q_u8(low_table1, second0));
                        high0_t1 = vaddq_u8(high0_t1, vqtbl1q_u8(high_table1, second0));
                        weights = weights.add(16);
                        at_t0 = at_t0.add(64);
                        at_t1 = at_t1.add(64);
                    }
                    low_words0_t0 = add16(low_words0_t0, low0_t0);
                    low_odd0_t0 = add16(low_odd0_t0, shift_right16::<8>(low0_t0));
                    high_words0_t0 = add16(high_words0_t0, high0_t0);
                    high_odd0_t0 = add16(high_odd0_t0, shift_right16::<8>(high0_t0));
                    low_words0_t1 = add16(low_words0_t1, low0_t1);
                    low_odd0_t1 = add16(low_odd0_t1, shift_right16::<8>(low0_t1));
                    high_words0_t1 = add16(high_words0_t1, high0_t1);
                    high_odd0_t1 = add16(high_odd0_t1, shift_right16::<8>(high0_t1));
                }
                let (radix, total, first, second) = (
                    vreinterpretq_u8_s16(vdupq_n_s16(23)),
                    vreinterpretq_u8_s16(vdupq_n_s16((-512 * steps as i32) as i16)),
                    vreinterpretq_u8_s32(vdupq_n_s32(1)),
                    vreinterpretq_u8_s32(vdupq_n_s32(1 << 16)),
                );
                let (both, odd) = (
                    add16(low_words0_t0, multiply16(high_words0_t0, radix)),
                    add16(low_odd0_t0, multiply16(high_odd0_t0, radix)),
                );
                let (even, odd) = (
                    add16(sub16(both, shift_left16::<8>(odd)), total),
                    add16(odd, total),
                );
                vst1q_u8(out_t0, add32(multiply_pairs16(even, first), vld1q_u8(out_t0)));
                vst1q_u8(
                    out_t0.add(16),
                    add32(multiply_pairs16(odd, first), vld1q_u8(out_t0.add(16))),
                );
                vst1q_u8(
                    out_t0.add(32),
                    add32(multiply_pairs16(even, second), vld1q_u8(out_t0.add(32))),
                );
                vst1q_u8(
                    out_t0.add(48),
                    add32(multiply_pairs16(odd, second), vld1q_u8(out_t0.add(48))),
                );
                let (both, odd) = (
                    add16(low_words0_t1, multiply16(high_words0_t1, radix)),
                    add16(low_odd0_t1, multiply16(high_odd0_t1, radix)),
                );
                let (even, odd) = (
                    add16(sub16(both, shift_left16::<8>(odd)), total),
                    add16(odd, total),
                );
                vst1q_u8(out_t1, add32(multiply_pairs16(even, first), vld1q_u8(out_t1)));
                vst1q_u8(
                    out_t1.add(16),
                    add32(multiply_pairs16(odd, first), vld1q_u8(out_t1.add(16))),
                );
                vst1q_u8(
                    out_t1.add(32),
                    add32(multiply_pairs16(even, second), vld1q_u8(out_t1.add(32))),
                );
                vst1q_u8(
                    out_t1.add(48),
                    add32(multiply_pairs16(odd, second), vld1q_u8(out_t1.add(48))),
                );
                out_t0 = out_t0.add(64);
                out_t1 = out_t1.add(64);
            }
        }
        // Tokens that fill no batch follow one by one.
        gemv_lut_t2__neon_p1k12w4(
            &GemvArgs {
                tokens: rest.as_ptr(),
                count: rest.len(),
                ..*args
            },
        );
    }
}

/// Prepares activations for the kernels of packing `t2_l16_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "neon")]
pub unsafe fn build_t2__neon(args: &BuildArgs) {
    // SAFETY: by the contract of `BuildArgs`, which gives both ranges, apart from each other.
    let (activations, operand) = unsafe {
        (
            core::slice::from_raw_parts(args.activations.cast::<i8>(), args.steps * 4),
            core::slice::from_raw_parts_mut(args.operand, args.steps * 64),
        )
    };
    for (step, out) in activations.chunks_exact(4).zip(operand.chunks_exact_mut(64)) {
        const TRITS: [[i16; 16]; 2] = {
            let (mut trits, mut n) = ([[0; 16]; 2], 0);
            while n < 9 {
                trits[0][n] = (n / 3) as i16 - 1;
                trits[1][n] = (n % 3) as i16 - 1;
                n += 1;
            }
            trits
        };
        for (group, out) in step.chunks_exact(2).zip(out.chunks_exact_mut(32)) {
            let group = [i16::from(group[0]), i16::from(group[1])];
            let mut sums = [256; 16];
            for (&a, trits) in group.iter().zip(&TRITS) {
                for (sum, t) in sums.iter_mut().zip(trits) {
                    *sum += t * a;
                }
            }
            let (low, high) = out.split_at_mut(16);
            for ((&sum, low), high) in sums.iter().zip(low).zip(high) {
                let sum = sum as u16;
                *low = (sum % 23) as u8;
                *high = (sum / 23) as u8;
            }
        }
    }
}

/// `a + b` in 16-bit lanes.
#[inline]
#[target_feature(enable = "neon")]
fn add16(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u16(vaddq_u16(vreinterpretq_u16_u8(a), vreinterpretq_u16_u8(b)))
}

/// `a + b` in 32-bit lanes.
#[inline]
#[target_feature(enable = "neon")]
fn add32(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u32(vaddq_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)))
}

/// `a - b` in 16-bit lanes.
#[inline]
#[target_feature(enable = "neon")]
fn sub16(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u16(vsubq_u16(vreinterpretq_u16_u8(a), vreinterpretq_u16_u8(b)))
}

/// Low 16 bits of `a * b` in 16-bit lanes.
#[inline]
#[target_feature(enable = "neon")]
fn multiply16(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u16(vmulq_u16(vreinterpretq_u16_u8(a), vreinterpretq_u16_u8(b)))
}

/// Products of 16-bit lanes, neighbours added into 32 bits.
#[inline]
#[target_feature(enable = "neon")]
fn multiply_pairs16(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    let (a, b) = (vreinterpretq_s16_u8(a), vreinterpretq_s16_u8(b));
    let low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
    vreinterpretq_u8_s32(vpaddq_s32(low, vmull_high_s16(a, b)))
}

/// `a >> BY` in unsigned 16-bit lanes.
#[inline]
#[target_feature(enable = "neon")]
fn shift_right16<const BY: i32>(a: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u16(vshrq_n_u16::<BY>(vreinterpretq_u16_u8(a)))
}

/// `a << BY` in 16-bit lanes.
#[inline]
#[target_feature(enable = "neon")]
fn shift_left16<const BY: i32>(a: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u16(vshlq_n_u16::<BY>(vreinterpretq_u16_u8(a)))
}

/// Asks for the cache line at `at`, which may be any address, in the second-level cache.
#[inline]
#[target_feature(enable = "neon")]
fn prefetch_line(at: *const u8) {
    // SAFETY: a prefetch neither reads nor writes, whatever the address.
    unsafe {
        core::arch::asm!(
            "prfm pldl2keep, [{}]", in (reg) at, options(nomem, nostack, preserves_flags)
        )
    };
}
