/// `gemv_lut_t3__neon_p1k12n2`: lookup of three trits, mirrored on neon.
///
/// Packing `t3_l16_p1_k12`: 16 rows x 24 columns in 80 bytes a step and panel, 1.667 bits a weight.
/// 11 of 32 vector registers. Steps before narrow sums are widened: 1 (bound 1). Steps in a K block: 12 (bound 257). Adds the `i32` sum of each row to `out`. Reads the weights once for 2 tokens.
/// Emitted by `codegen/src/skeleton/lut.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "neon")]
pub unsafe fn gemv_lut_t3__neon_p1k12n2(args: &GemvArgs) {
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
                for _ in 0..steps {
                    let mut low0_t0 = vdupq_n_u8(128);
                    let mut high0_t0 = vdupq_n_u8(128);
                    let mut low0_t1 = vdupq_n_u8(128);
                    let mut high0_t1 = vdupq_n_u8(128);
                    let ahead = weights.wrapping_add(prefetch);
                    prefetch_line(ahead);
                    prefetch_line(ahead.wrapping_add(64));
                    let nibble = vdupq_n_u8(15);
                    let mut signs0 = vld1q_u8(weights.add(64));
                    let pair0 = vld1q_u8(weights);
                    let codes0 = vandq_u8(pair0, nibble);
                    let sign0 = vcltzq_s8(vreinterpretq_s8_u8(signs0));
                    let (low_table, high_table) = (
                        vld1q_u8(at_t0),
                        vld1q_u8(at_t0.add(16)),
                    );
                    low0_t0 = vaddq_u8(
                        low0_t0,
                        veorq_u8(vqtbl1q_u8(low_table, codes0), sign0),
                    );
                    high0_t0 = vaddq_u8(
                        high0_t0,
                        veorq_u8(vqtbl1q_u8(high_table, codes0), sign0),
                    );
                    let (low_table, high_table) = (
                        vld1q_u8(at_t1),
                        vld1q_u8(at_t1.add(16)),
                    );
                    low0_t1 = vaddq_u8(
                        low0_t1,
                        veorq_u8(vqtbl1q_u8(low_table, codes0), sign0),
                    );
                    high0_t1 = vaddq_u8(
                        high0_t1,
                        veorq_u8(vqtbl1q_u8(high_table, codes0), sign0),
                    );
                    signs0 = vaddq_u8(signs0, signs0);
                    let codes0 = vshrq_n_u8::<4>(pair0);
                    let sign0 = vcltzq_s8(vreinterpretq_s8_u8(signs0));
                    let (low_table, high_table) = (
                        vld1q_u8(at_t0.add(32)),
                        vld1q_u8(at_t0.add(48)),
                    );
                    low0_t0 = vaddq_u8(
                        low0_t0,
                        veorq_u8(vqtbl1q_u8(low_table, codes0), sign0),
                    );
                    high0_t0 = vaddq_u8(
                        high0_t0,
                        veorq_u8(vqtbl1q_u8(high_table, codes0), sign0),
                    );
                    let (low_table, high_table) = (
                        vld1q_u8(at_t1.add(32)),
                        vld1q_u8(at_t1.add(48)),
                    );
                    low0_t1 = vaddq_u8(
                        low0_t1,
                        veorq_u8(vqtbl1q_u8(low_table, codes0), sign0),
                    );
                    high0_t1 = vaddq_u8(
                        high0_t1,
                        veorq_u8(vqtbl1q_u8(high_table, codes0), sign0),
                    );
                    signs0 = vaddq_u8(signs0, signs0);
                    let pair0 = vld1q_u8(weights.add(16));
                    let codes0 = vandq_u8(pair0, nibble);
                    let sign0 = vcltzq_s8(vreinterpretq_s8_u8(signs0));
                    let (low_table, high_table) = (
                        vld1q_u8(at_t0.add(64)),
                        vld1q_u8(at_t0.add(80)),
                    );
                    low0_t0 = vaddq_u8(
                        low0_t0,
                        veorq_u8(vqtbl1q_u8(low_table, codes0), sign0),
                    );
                    high0_t0 = vaddq_u8(
                        high0_t0,
                        veorq_u8(vqtbl1q_u8(high_table, codes0), sign0),
                    );
                    let (low_table, high_table) = (
                        vld1q_u8(at_t1.add(64)),
                        vld1q_u8(at_t1.add(80)),
                    );
                    low0_t1 = vaddq_u8(
                        low0_t1,
                        veorq_u8(vqtbl1q_u8(low_table, codes0), sign0),
                    );
                    high0_t1 = vaddq_u8(
                        high0_t1,
                        veorq_u8(vqtbl1q_u8(high_table, codes0), sign0),
                    );
                    signs0 = vaddq_u8(signs0, signs0);
                    let codes0 = vshrq_n_u8::<4>(pair0);
                    let sign0 = vcltzq_s8(vreinterpretq_s8_u8(signs0));
                    let (low_table, high_table) = (
                        vld1q_u8(at_t0.add(96)),
                        vld1q_u8(at_t0.add(112)),
                    );
                    low0_t0 = vaddq_u8(
                        low0_t0,
                        veorq_u8(vqtbl1q_u8(low_table, codes0), sign0),
                    );
                    high0_t0 = vaddq_u8(
                        high0_t0,
                        veorq_u8(vqtbl1q_u8(high_table, codes0), sign0),
                    );
                    let (low_table, high_table) = (
                        vld1q_u8(at_t1.add(96)),
                        vld1q_u8(at_t1.add(112)),
                    );
                    low0_t1 = vaddq_u8(
                        low0_t1,
                        veorq_u8(vqtbl1q_u8(low_table, codes0), sign0),
                    );
                    high0_t1 = vaddq_u8(
                        high0_t1,
                        veorq_u8(vqtbl1q_u8(high_table, codes0), sign0),
                    );
                    signs0 = vaddq_u8(signs0, signs0);
                    let pair0 = vld1q_u8(weights.add(32));
                    let codes0 = vandq_u8(pair0, nibble);
                    let sign0 = vcltzq_s8(vreinterpretq_s8_u8(signs0));
                    let (low_table, high_table) = (
                        vld1q_u8(at_t0.add(128)),
                        vld1q_u8(at_t0.add(144)),
                    );
                    low0_t0 = vaddq_u8(
                        low0_t0,
                        veorq_u8(vqtbl1q_u8(low_table, codes0), sign0),
                    );
                    high0_t0 = vaddq_u8(
                        high0_t0,
                        veorq_u8(vqtbl1q_u8(high_table, codes0), sign0),
                    );
                    let (low_table, high_table) = (
                        vld1q_u8(at_t1.add(128)),
                        vld1q_u8(at_t1.add(144)),
                    );
                    low0_t1 = vaddq_u8(
                        low0_t1,
                        veorq_u8(vqtbl1q_u8(low_table, codes0), sign0),
                    );
                    high0_t1 = vaddq_u8(
                        high0_t1,
                        veorq_u8(vqtbl1q_u8(high_table, codes0), sign0),
                    );
                    signs0 = vaddq_u8(signs0, signs0);
                    let codes0 = vshrq_n_u8::<4>(pair0);
                    let sign0 = vcltzq_s8(vreinterpretq_s8_u8(signs0));
                    let (low_table, high_table) = (
                        vld1q_u8(at_t0.add(160)),
                        vld1q_u8(at_t0.add(176)),
                    );
                    low0_t0 = vaddq_u8(
                        low0_t0,
                        veorq_u8(vqtbl1q_u8(low_table, codes0), sign0),
                    );
                    high0_t0 = vaddq_u8(
                        high0_t0,
                        veorq_u8(vqtbl1q_u8(high_table, codes0), sign0),
                    );
                    let (low_table, high_table) = (
                        vld1q_u8(at_t1.add(160)),
                        vld1q_u8(at_t1.add(176)),
                    );
                    low0_t1 = vaddq_u8(
                        low0_t1,
                        veorq_u8(vqtbl1q_u8(low_table, codes0), sign0),
                    );
                    high0_t1 = vaddq_u8(
                        high0_t1,
                        veorq_u8(vqtbl1q_u8(high_table, codes0), sign0),
                    );
                    signs0 = vaddq_u8(signs0, signs0);
                    let pair0 = vld1q_u8(weights.add(48));
                    let codes0 = vandq_u8(pair0, nibble);
                    let sign0 = vcltzq_s8(vreinterpretq_s8_u8(signs0));
                    let (low_table, high_table) = (
                        vld1q_u8(at_t0.add(192)),
                        vld1q_u8(at_t0.add(208)),
                    );
                    low0_t0 = vaddq_u8(
                        low0_t0,
                        veorq_u8(vqtbl1q_u8(low_table, codes0), sign0),
                    );
                    high0_t0 = vaddq_u8(
                        high0_t0,
                        veorq_u8(vqtbl1q_u8(high_table, codes0), sign0),
                    );
                    let (low_table, high_table) = (
                        vld1q_u8(at_t1.add(192)),
                        vld1q_u8(at_t1.add(208)),
                    );
                    low0_t1 = vaddq_u8(
                        low0_t1,
                        veorq_u8(vqtbl1q_u8(low_table, codes0), sign0),
                    );
                    high0_t1 = vaddq_u8(
                        high0_t1,
                        veorq_u8(vqtbl1q_u8(high_table, codes0), sign0),
                    );
                    signs0 = vaddq_u8(signs0, signs0);
                    let codes0 = vshrq_n_u8::<4>(pair0);
                    let sign0 = vcltzq_s8(vreinterpretq_s8_u8(signs0));
                    let (low_table, high_table) = (
                        vld1q_u8(at_t0.add(224)),
                        vld1q_u8(at_t0.add(240)),
                    );
                    low0_t0 = vaddq_u8(
                        low0_t0,
                        veorq_u8(vqtbl1q_u8(low_table, codes0), sign0),
                    );
                    high0_t0 = vaddq_u8(
                        high0_t0,
                        veorq_u8(vqtbl1q_u8(high_table, codes0), sign0),
                    );
                    let (low_table, high_table) = (
                        vld1q_u8(at_t1.add(224)),
                        vld1q_u8(at_t1.add(240)),
                    );
                    low0_t1 = vaddq_u8(
                        low0_t1,
                        veorq_u8(vqtbl1q_u8(low_table, codes0), sign0),
                    );
                    high0_t1 = vaddq_u8(
                        high0_t1,
                        veorq_u8(vqtbl1q_u8(high_table, codes0), sign0),
                    );
                    weights = weights.add(80);
                    at_t0 = at_t0.add(256);
                    at_t1 = at_t1.add(256);
                    low_words0_t0 = add16(low_words0_t0, low0_t0);
                    low_odd0_t0 = add16(low_odd0_t0, shift_right16::<8>(low0_t0));
                    high_words0_t0 = add16(high_words0_t0, high0_t0);
                    high_odd0_t0 = add16(high_odd0_t0, shift_right16::<8>(high0_t0));
                    low_words0_t1 = add16(low_words0_t1, low0_t1);
                    low_odd0_t1 = add16(low_odd0_t1, shift_right16::<8>(low0_t1));
                    high_words0_t1 = add16(high_words0_t1, high0_t1);
                    high_odd0_t1 = add16(high_odd0_t1, shift_right16::<8>(high0_t1));
                }
                let (radix, low16, total) = (
                    vreinterpretq_u8_s32(vdupq_n_s32(27)),
                    vreinterpretq_u8_s32(vdupq_n_s32(65535)),
                    vreinterpretq_u8_s32(
                        vdupq_n_s32(112 * steps as i32 - 3584 * steps.div_ceil(1) as i32),
                    ),
                );
                let low_even0_t0 = sub16(low_words0_t0, shift_left16::<8>(low_odd0_t0));
                let high_even0_t0 = sub16(
                    high_words0_t0,
                    shift_left16::<8>(high_odd0_t0),
                );
                let low_even0_t1 = sub16(low_words0_t1, shift_left16::<8>(low_odd0_t1));
                let high_even0_t1 = sub16(
                    high_words0_t1,
                    shift_left16::<8>(high_odd0_t1),
                );
                vst1q_u8(
                    out_t0,
                    add32(
                        add32(
                            add32(
                                vandq_u8(low_even0_t0, low16),
                                multiply32(vandq_u8(high_even0_t0, low16), radix),
                            ),
                            total,
                        ),
                        vld1q_u8(out_t0),
                    ),
                );
                vst1q_u8(
                    out_t0.add(16),
                    add32(
                        add32(
                            add32(
                                vandq_u8(low_odd0_t0, low16),
                                multiply32(vandq_u8(high_odd0_t0, low16), radix),
                            ),
                            total,
                        ),
                        vld1q_u8(out_t0.add(16)),
                    ),
                );
                vst1q_u8(
                    out_t0.add(32),
                    add32(
                        add32(
                            add32(
                                shift_right32::<16>(low_even0_t0),
                                multiply32(shift_right32::<16>(high_even0_t0), radix),
                            ),
                            total,
                        ),
                        vld1q_u8(out_t0.add(32)),
                    ),
                );
                vst1q_u8(
                    out_t0.add(48),
                    add32(
                        add32(
                            add32(
                                shift_right32::<16>(low_odd0_t0),
                                multiply32(shift_right32::<16>(high_odd0_t0), radix),
                            ),
                            total,
                        ),
                        vld1q_u8(out_t0.add(48)),
                    ),
                );
                vst1q_u8(
                    out_t1,
                    add32(
                        add32(
                            add32(
                                vandq_u8(low_even0_t1, low16),
                                multiply32(vandq_u8(high_even0_t1, low16), radix),
                            ),
                            total,
                        ),
                        vld1q_u8(out_t1),
                    ),
                );
                vst1q_u8(
                    out_t1.add(16),
                    add32(
                        add32(
                            add32(
                                vandq_u8(low_odd0_t1, low16),
                                multiply32(vandq_u8(high_odd0_t1, low16), radix),
                            ),
                            total,
                        ),
                        vld1q_u8(out_t1.add(16)),
                    ),
                );
                vst1q_u8(
                    out_t1.add(32),
                    add32(
                        add32(
                            add32(
                                shift_right32::<16>(low_even0_t1),
                                multiply32(shift_right32::<16>(high_even0_t1), radix),
                            ),
                            total,
                        ),
                        vld1q_u8(out_t1.add(32)),
                    ),
                );
                vst1q_u8(
                    out_t1.add(48),
                    add32(
                        add32(
                            add32(
                                shift_right32::<16>(low_odd0_t1),
                                multiply32(shift_right32::<16>(high_odd0_t1), radix),
                            ),
                            total,
                        ),
                        vld1q_u8(out_t1.add(48)),
                    ),
                );
                out_t0 = out_t0.add(64);
                out_t1 = out_t1.add(64);
            }
        }
        // Tokens that fill no batch follow one by one.
        gemv_lut_t3__neon_p1k12(
            &GemvArgs {
                tokens: rest.as_ptr(),
                count: rest.len(),
                ..*args
            },
        );
    }
}

/// Prepares activations for the kernels of packing `t3_l16_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "neon")]
pub unsafe fn build_t3__neon(args: &BuildArgs) {
    // SAFETY: by the contract of `BuildArgs`, which gives both ranges, apart from each other.
    let (activations, operand) = unsafe {
        (
            core::slice::from_raw_parts(args.activations.cast::<i8>(), args.steps * 24),
            core::slice::from_raw_parts_mut(args.operand, args.steps * 256),
        )
    };
    for (step, out) in activations.chunks_exact(24).zip(operand.chunks_exact_mut(256)) {
        const TRITS: [[i16; 16]; 3] = {
            let (mut trits, mut n) = ([[0; 16]; 3], 0);
            while n < 14 {
                let (mut rest, mut place) = (n + 13, 0);
                while place < 3 {
                    trits[place][n] = (rest % 3) as i16 - 1;
                    rest /= 3;
                    place += 1;
                }
                n += 1;
            }
            trits
        };
        for (group, out) in step.chunks_exact(3).zip(out.chunks_exact_mut(32)) {
            let group = [i16::from(group[0]), i16::from(group[1]), i16::from(group[2])];
            let mut sums = [0; 16];
            for (&a, trits) in group.iter().zip(&TRITS) {
                for (sum, t) in sums.iter_mut().zip(trits) {
                    *sum += t * a;
                }
            }
            let (low, high) = out.split_at_mut(16);
            for ((sum, low), high) in sums.iter().zip(low).zip(high) {
                let digit = ((i32::from(*sum) * 2427) >> 16) as i16;
                *high = digit as u8;
                *low = (*sum - 14 - 27 * digit) as u8;
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

/// Low 32 bits of `a * b` in 32-bit lanes.
#[inline]
#[target_feature(enable = "neon")]
fn multiply32(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u32(vmulq_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)))
}

/// `a >> BY` in unsigned 16-bit lanes.
#[inline]
#[target_feature(enable = "neon")]
fn shift_right16<const BY: i32>(a: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u16(vshrq_n_u16::<BY>(vreinterpretq_u16_u8(a)))
}

/// `a >> BY` in unsigned 32-bit lanes.
#[inline]
#[target_feature(enable = "neon")]
fn shift_right32<const BY: i32>(a: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u32(vshrq_n_u32::<BY>(vreinterpretq_u32_u8(a)))
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
