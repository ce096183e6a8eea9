/// `gemv_mad_b2__neon_classic_p1k12w12n2`: two-bit multiply-add, classic on neon.
///
/// Packing `b2_l4_p1_k12`: 4 rows x 16 columns in 16 bytes a step and panel, 2.000 bits a weight.
/// 9 of 32 vector registers. Steps before narrow sums are widened: 12 (bound 32). Steps in a K block: 12 (bound 32767). Adds the `i32` sum of each row to `out`. Reads the weights once for 2 tokens.
/// Emitted by `codegen/src/skeleton/mad.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "neon")]
pub unsafe fn gemv_mad_b2__neon_classic_p1k12w12n2(args: &GemvArgs) {
    let GemvArgs { tokens, count, steps, prefetch, .. } = *args;
    // SAFETY: by the contract of `GemvArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        let (batches, rest) = core::slice::from_raw_parts(tokens, count)
            .as_chunks::<2>();
        for [t0, t1] in batches {
            let Token { operand: operand_t0, out: out_t0, correction: correction_t0 } = *t0;
            let Token { operand: operand_t1, out: out_t1, correction: correction_t1 } = *t1;
            let total_t0 = vreinterpretq_u8_s32(vdupq_n_s32(correction_t0));
            let total_t1 = vreinterpretq_u8_s32(vdupq_n_s32(correction_t1));
            let mut weights = args.weights;
            let mut out_t0 = out_t0.cast::<u8>();
            let mut out_t1 = out_t1.cast::<u8>();
            for _ in 0..args.strips {
                let mut low_wide0_t0 = vdupq_n_u8(0);
                let mut high_wide0_t0 = vdupq_n_u8(0);
                let mut low_wide0_t1 = vdupq_n_u8(0);
                let mut high_wide0_t1 = vdupq_n_u8(0);
                let mut at_t0 = operand_t0;
                let mut at_t1 = operand_t1;
                let mut left = steps;
                while left >= 12 {
                    let mut low_sum0_0_t0 = vdupq_n_u8(0);
                    let mut high_sum0_0_t0 = vdupq_n_u8(0);
                    let mut low_sum0_0_t1 = vdupq_n_u8(0);
                    let mut high_sum0_0_t1 = vdupq_n_u8(0);
                    for _ in 0..12 {
                        let ahead = weights.wrapping_add(prefetch);
                        prefetch_line(ahead);
                        let codes0 = vld1q_u8(weights);
                        let fields0 = vandq_u8(codes0, vdupq_n_u8(3));
                        let activations0 = vreinterpretq_u8_s32(
                            vdupq_n_s32(at_t0.cast::<i32>().read_unaligned()),
                        );
                        low_sum0_0_t0 = multiply_add_low(
                            low_sum0_0_t0,
                            fields0,
                            activations0,
                        );
                        high_sum0_0_t0 = multiply_add_high(
                            high_sum0_0_t0,
                            fields0,
                            activations0,
                        );
                        let activations0 = vreinterpretq_u8_s32(
                            vdupq_n_s32(at_t1.cast::<i32>().read_unaligned()),
                        );
                        low_sum0_0_t1 = multiply_add_low(
                            low_sum0_0_t1,
                            fields0,
                            activations0,
                        );
                        high_sum0_0_t1 = multiply_add_high(
                            high_sum0_0_t1,
                            fields0,
                            activations0,
                        );
                        let fields0 = vandq_u8(vshrq_n_u8::<2>(codes0), vdupq_n_u8(3));
                        let activations1 = vreinterpretq_u8_s32(
                            vdupq_n_s32(at_t0.add(4).cast::<i32>().read_unaligned()),
                        );
                        low_sum0_0_t0 = multiply_add_low(
                            low_sum0_0_t0,
                            fields0,
                            activations1,
                        );
                        high_sum0_0_t0 = multiply_add_high(
                            high_sum0_0_t0,
                            fields0,
                            activations1,
                        );
                        let activations1 = vreinterpretq_u8_s32(
                            vdupq_n_s32(at_t1.add(4).cast::<i32>().read_unaligned()),
                        );
                        low_sum0_0_t1 = multiply_add_low(
                            low_sum0_0_t1,
                            fields0,
                            activations1,
                        );
                        high_sum0_0_t1 = multiply_add_high(
                            high_sum0_0_t1,
                            fields0,
                            activations1,
                        );
                        let fields0 = vandq_u8(vshrq_n_u8::<4>(codes0), vdupq_n_u8(3));
                        let activations2 = vreinterpretq_u8_s32(
                            vdupq_n_s32(at_t0.add(8).cast::<i32>().read_unaligned()),
                        );
                        low_sum0_0_t0 = multiply_add_low(
                            low_sum0_0_t0,
                            fields0,
                            activations2,
                        );
                        high_sum0_0_t0 = multiply_add_high(
                            high_sum0_0_t0,
                            fields0,
                            activations2,
                        );
                        let activations2 = vreinterpretq_u8_s32(
                            vdupq_n_s32(at_t1.add(8).cast::<i32>().read_unaligned()),
                        );
                        low_sum0_0_t1 = multiply_add_low(
                            low_sum0_0_t1,
                            fields0,
                            activations2,
                        );
                        high_sum0_0_t1 = multiply_add_high(
                            high_sum0_0_t1,
                            fields0,
                            activations2,
                        );
                        let fields0 = vshrq_n_u8::<6>(codes0);
                        let activations3 = vreinterpretq_u8_s32(
                            vdupq_n_s32(at_t0.add(12).cast::<i32>().read_unaligned()),
                        );
                        low_sum0_0_t0 = multiply_add_low(
                            low_sum0_0_t0,
                            fields0,
                            activations3,
                        );
                        high_sum0_0_t0 = multiply_add_high(
                            high_sum0_0_t0,
                            fields0,
                            activations3,
                        );
                        let activations3 = vreinterpretq_u8_s32(
                            vdupq_n_s32(at_t1.add(12).cast::<i32>().read_unaligned()),
                        );
                        low_sum0_0_t1 = multiply_add_low(
                            low_sum0_0_t1,
                            fields0,
                            activations3,
                        );
                        high_sum0_0_t1 = multiply_add_high(
                            high_sum0_0_t1,
                            fields0,
                            activations3,
                        );
                        weights = weights.add(16);
                        at_t0 = at_t0.add(16);
                        at_t1 = at_t1.add(16);
                    }
                    low_wide0_t0 = add_pairs16(low_wide0_t0, low_sum0_0_t0);
                    high_wide0_t0 = add_pairs16(high_wide0_t0, high_sum0_0_t0);
                    low_wide0_t1 = add_pairs16(low_wide0_t1, low_sum0_0_t1);
                    high_wide0_t1 = add_pairs16(high_wide0_t1, high_sum0_0_t1);
                    left -= 12;
                }
                if left > 0 {
                    let mut low_sum0_0_t0 = vdupq_n_u8(0);
                    let mut high_sum0_0_t0 = vdupq_n_u8(0);
                    let mut low_sum0_0_t1 = vdupq_n_u8(0);
                    let mut high_sum0_0_t1 = vdupq_n_u8(0);
                    for _ in 0..left {
                        let ahead = weights.wrapping_add(prefetch);
                        prefetch_line(ahead);
                        let codes0 = vld1q_u8(weights);
                        let fields0 = vandq_u8(codes0, vdupq_n_u8(3));
                        let activations0 = vreinterpretq_u8_s32(
                            vdupq_n_s32(at_t0.cast::<i32>().read_unaligned()),
                        );
                        low_sum0_0_t0 = multiply_add_low(
                            low_sum0_0_t0,
                            fields0,
                            activations0,
                        );
                        high_sum0_0_t0 = multiply_add_high(
                            high_sum0_0_t0,
                            fields0,
                            activations0,
                        );
                        let activations0 = vreinterpretq_u8_s32(
                            vdupq_n_s32(at_t1.cast::<i32>().read_unaligned()),
                        );
                        low_sum0_0_t1 = multiply_add_low(
                            low_sum0_0_t1,
                            fields0,
                            activations0,
                        );
                        high_sum0_0_t1 = multiply_add_high(
                            high_sum0_0_t1,
                            fields0,
                            activations0,
                        );
                        let fields0 = vandq_u8(vshrq_n_u8::<2>(codes0), vdupq_n_u8(3));
                        let activations1 = vreinterpretq_u8_s32(
                            vdupq_n_s32(at_t0.add(4).cast::<i32>().read_unaligned()),
                        );
                        low_sum0_0_t0 = multiply_add_low(
                            low_sum0_0_t0,
                            fields0,
                            activations1,
                        );
                        high_sum0_0_t0 = multiply_add_high(
                            high_sum0_0_t0,
                            fields0,
                            activations1,
                        );
                        let activations1 = vreinterpretq_u8_s32(
                            vdupq_n_s32(at_t1.add(4).cast::<i32>().read_unaligned()),
                        );
                        low_sum0_0_t1 = multiply_add_low(
                            low_sum0_0_t1,
                            fields0,
                            activations1,
                        );
                        high_sum0_0_t1 = multiply_add_high(
                            high_sum0_0_t1,
                            fields0,
                            activations1,
                        );
                        let fields0 = vandq_u8(vshrq_n_u8::<4>(codes0), vdupq_n_u8(3));
                        let activations2 = vreinterpretq_u8_s32(
                            vdupq_n_s32(at_t0.add(8).cast::<i32>().read_unaligned()),
                        );
                        low_sum0_0_t0 = multiply_add_low(
                            low_sum0_0_t0,
                            fields0,
                            activations2,
                        );
                        high_sum0_0_t0 = multiply_add_high(
                            high_sum0_0_t0,
                            fields0,
                            activations2,
                        );
                        let activations2 = vreinterpretq_u8_s32(
                            vdupq_n_s32(at_t1.add(8).cast::<i32>().read_unaligned()),
                        );
                        low_sum0_0_t1 = multiply_add_low(
                            low_sum0_0_t1,
                            fields0,
                            activations2,
                        );
                        high_sum0_0_t1 = multiply_add_high(
                            high_sum0_0_t1,
                            fields0,
                            activations2,
                        );
                        let fields0 = vshrq_n_u8::<6>(codes0);
                        let activations3 = vreinterpretq_u8_s32(
                            vdupq_n_s32(at_t0.add(12).cast::<i32>().read_unaligned()),
                        );
                        low_sum0_0_t0 = multiply_add_low(
                            low_sum0_0_t0,
                            fields0,
                            activations3,
                        );
                        high_sum0_0_t0 = multiply_add_high(
                            high_sum0_0_t0,
                            fields0,
                            activations3,
                        );
                        let activations3 = vreinterpretq_u8_s32(
                            vdupq_n_s32(at_t1.add(12).cast::<i32>().read_unaligned()),
                        );
                        low_sum0_0_t1 = multiply_add_low(
                            low_sum0_0_t1,
                            fields0,
                            activations3,
                        );
                        high_sum0_0_t1 = multiply_add_high(
                            high_sum0_0_t1,
                            fields0,
                            activations3,
                        );
                        weights = weights.add(16);
                        at_t0 = at_t0.add(16);
                        at_t1 = at_t1.add(16);
                    }
                    low_wide0_t0 = add_pairs16(low_wide0_t0, low_sum0_0_t0);
                    high_wide0_t0 = add_pairs16(high_wide0_t0, high_sum0_0_t0);
                    low_wide0_t1 = add_pairs16(low_wide0_t1, low_sum0_0_t1);
                    high_wide0_t1 = add_pairs16(high_wide0_t1, high_sum0_0_t1);
                }
                vst1q_u8(
                    out_t0,
                    add32(
                        add32(add_neighbours32(low_wide0_t0, high_wide0_t0), total_t0),
                        vld1q_u8(out_t0),
                    ),
                );
                vst1q_u8(
                    out_t1,
                    add32(
                        add32(add_neighbours32(low_wide0_t1, high_wide0_t1), total_t1),
                        vld1q_u8(out_t1),
                    ),
                );
                out_t0 = out_t0.add(16);
                out_t1 = out_t1.add(16);
            }
        }
        // Tokens that fill no batch follow one by one.
        gemv_mad_b2__neon_classic_p1k12w12(
            &GemvArgs {
                tokens: rest.as_ptr(),
                count: rest.len(),
                ..*args
            },
        );
    }
}

/// Prepares activations for the kernels of packing `b2_l4_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "neon")]
pub unsafe fn build_b2__neon(args: &BuildArgs) {
    // SAFETY: by the contract of `BuildArgs`, which gives both ranges, apart from each other.
    let (activations, operand) = unsafe {
        (
            core::slice::from_raw_parts(args.activations.cast::<u8>(), args.steps * 16),
            core::slice::from_raw_parts_mut(args.operand, args.steps * 16),
        )
    };
    for (step, out) in activations.chunks_exact(16).zip(operand.chunks_exact_mut(16)) {
        out.copy_from_slice(step);
    }
}

/// `a + b` in 32-bit lanes.
#[inline]
#[target_feature(enable = "neon")]
fn add32(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u32(vaddq_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)))
}

/// Sums of neighbouring 32-bit lanes, those of `a` first.
#[inline]
#[target_feature(enable = "neon")]
fn add_neighbours32(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_s32(vpaddq_s32(vreinterpretq_s32_u8(a), vreinterpretq_s32_u8(b)))
}

/// `sum` in 32-bit lanes plus neighbouring 16-bit lanes of `a`.
#[inline]
#[target_feature(enable = "neon")]
fn add_pairs16(sum: uint8x16_t, a: uint8x16_t) -> uint8x16_t {
    let sum = vpadalq_s16(vreinterpretq_s32_u8(sum), vreinterpretq_s16_u8(a));
    vreinterpretq_u8_s32(sum)
}

/// `sum` in 16-bit lanes plus the products of the first eight bytes.
#[inline]
#[target_feature(enable = "neon")]
fn multiply_add_low(sum: uint8x16_t, u: uint8x16_t, s: uint8x16_t) -> uint8x16_t {
    let (u, s) = (vreinterpretq_s8_u8(u), vreinterpretq_s8_u8(s));
    let sum = vreinterpretq_s16_u8(sum);
    vreinterpretq_u8_s16(vmlal_s8(sum, vget_low_s8(u), vget_low_s8(s)))
}

/// `sum` in 16-bit lanes plus the products of the last eight bytes.
#[inline]
#[target_feature(enable = "neon")]
fn multiply_add_high(sum: uint8x16_t, u: uint8x16_t, s: uint8x16_t) -> uint8x16_t {
    let (u, s) = (vreinterpretq_s8_u8(u), vreinterpretq_s8_u8(s));
    vreinterpretq_u8_s16(vmlal_high_s8(vreinterpretq_s16_u8(sum), u, s))
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
