/// `gemv_addsub_planes__neon_p1k12`: masked additions and subtractions on neon.
///
/// Packing `planes_l16_p1_k12`: 16 rows x 8 columns in 32 bytes a step and panel, 2.000 bits a weight.
/// 7 of 32 vector registers. Steps before narrow sums are widened: 1 (bound 1). Steps in a K block: 12 (bound 257). Adds the `i32` sum of each row to `out`.
/// Emitted by `codegen/src/skeleton/addsub.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "neon")]
pub unsafe fn gemv_addsub_planes__neon_p1k12(args: &GemvArgs) {
    let GemvArgs { tokens, count, steps, prefetch, .. } = *args;
    // SAFETY: by the contract of `GemvArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        for token in core::slice::from_raw_parts(tokens, count) {
            let Token { operand, out, .. } = *token;
            let mut weights = args.weights;
            let mut out = out.cast::<u8>();
            for _ in 0..args.strips {
                let mut low_words0 = vdupq_n_u8(0);
                let mut low_odd0 = vdupq_n_u8(0);
                let mut high_words0 = vdupq_n_u8(0);
                let mut high_odd0 = vdupq_n_u8(0);
                let mut at = operand;
                for _ in 0..steps {
                    let mut low0 = vdupq_n_u8(128);
                    let mut high0 = vdupq_n_u8(128);
                    let ahead = weights.wrapping_add(prefetch);
                    prefetch_line(ahead);
                    let mut plus0 = vld1q_u8(weights);
                    let mut minus0 = vld1q_u8(weights.add(16));
                    let (low_digit0, high_digit0) = (
                        vreinterpretq_u8_s32(
                            vdupq_n_s32(at.cast::<i32>().read_unaligned()),
                        ),
                        vreinterpretq_u8_s32(
                            vdupq_n_s32(at.add(4).cast::<i32>().read_unaligned()),
                        ),
                    );
                    let condition = vcltzq_s8(vreinterpretq_s8_u8(plus0));
                    low0 = vaddq_u8(low0, vandq_u8(condition, low_digit0));
                    high0 = vaddq_u8(high0, vandq_u8(condition, high_digit0));
                    plus0 = shift_left16::<1>(plus0);
                    let condition = vcltzq_s8(vreinterpretq_s8_u8(minus0));
                    low0 = vsubq_u8(low0, vandq_u8(condition, low_digit0));
                    high0 = vsubq_u8(high0, vandq_u8(condition, high_digit0));
                    minus0 = shift_left16::<1>(minus0);
                    let (low_digit0, high_digit0) = (
                        vreinterpretq_u8_s32(
                            vdupq_n_s32(at.add(8).cast::<i32>().read_unaligned()),
                        ),
                        vreinterpretq_u8_s32(
                            vdupq_n_s32(at.add(12).cast::<i32>().read_unaligned()),
                        ),
                    );
                    let condition = vcltzq_s8(vreinterpretq_s8_u8(plus0));
                    low0 = vaddq_u8(low0, vandq_u8(condition, low_digit0));
                    high0 = vaddq_u8(high0, vandq_u8(condition, high_digit0));
                    plus0 = shift_left16::<1>(plus0);
                    let condition = vcltzq_s8(vreinterpretq_s8_u8(minus0));
                    low0 = vsubq_u8(low0, vandq_u8(condition, low_digit0));
                    high0 = vsubq_u8(high0, vandq_u8(condition, high_digit0));
                    minus0 = shift_left16::<1>(minus0);
                    let (low_digit0, high_digit0) = (
                        vreinterpretq_u8_s32(
                            vdupq_n_s32(at.add(16).cast::<i32>().read_unaligned()),
                        ),
                        vreinterpretq_u8_s32(
                            vdupq_n_s32(at.add(20).cast::<i32>().read_unaligned()),
                        ),
                    );
                    let condition = vcltzq_s8(vreinterpretq_s8_u8(plus0));
                    low0 = vaddq_u8(low0, vandq_u8(condition, low_digit0));
                    high0 = vaddq_u8(high0, vandq_u8(condition, high_digit0));
                    plus0 = shift_left16::<1>(plus0);
                    let condition = vcltzq_s8(vreinterpretq_s8_u8(minus0));
                    low0 = vsubq_u8(low0, vandq_u8(condition, low_digit0));
                    high0 = vsubq_u8(high0, vandq_u8(condition, high_digit0));
                    minus0 = shift_left16::<1>(minus0);
                    let (low_digit0, high_digit0) = (
                        vreinterpretq_u8_s32(
                            vdupq_n_s32(at.add(24).cast::<i32>().read_unaligned()),
                        ),
                        vreinterpretq_u8_s32(
                            vdupq_n_s32(at.add(28).cast::<i32>().read_unaligned()),
                        ),
                    );
                    let condition = vcltzq_s8(vreinterpretq_s8_u8(plus0));
                    low0 = vaddq_u8(low0, vandq_u8(condition, low_digit0));
                    high0 = vaddq_u8(high0, vandq_u8(condition, high_digit0));
                    plus0 = shift_left16::<1>(plus0);
                    let condition = vcltzq_s8(vreinterpretq_s8_u8(minus0));
                    low0 = vsubq_u8(low0, vandq_u8(condition, low_digit0));
                    high0 = vsubq_u8(high0, vandq_u8(condition, high_digit0));
                    minus0 = shift_left16::<1>(minus0);
                    let (low_digit0, high_digit0) = (
                        vreinterpretq_u8_s32(
                            vdupq_n_s32(at.add(32).cast::<i32>().read_unaligned()),
                        ),
                        vreinterpretq_u8_s32(
                            vdupq_n_s32(at.add(36).cast::<i32>().read_unaligned()),
                        ),
                    );
                    let condition = vcltzq_s8(vreinterpretq_s8_u8(plus0));
                    low0 = vaddq_u8(low0, vandq_u8(condition, low_digit0));
                    high0 = vaddq_u8(high0, vandq_u8(condition, high_digit0));
                    plus0 = shift_left16::<1>(plus0);
                    let condition = vcltzq_s8(vreinterpretq_s8_u8(minus0));
                    low0 = vsubq_u8(low0, vandq_u8(condition, low_digit0));
                    high0 = vsubq_u8(high0, vandq_u8(condition, high_digit0));
                    minus0 = shift_left16::<1>(minus0);
                    let (low_digit0, high_digit0) = (
                        vreinterpretq_u8_s32(
                            vdupq_n_s32(at.add(40).cast::<i32>().read_unaligned()),
                        ),
                        vreinterpretq_u8_s32(
                            vdupq_n_s32(at.add(44).cast::<i32>().read_unaligned()),
                        ),
                    );
                    let condition = vcltzq_s8(vreinterpretq_s8_u8(plus0));
                    low0 = vaddq_u8(low0, vandq_u8(condition, low_digit0));
                    high0 = vaddq_u8(high0, vandq_u8(condition, high_digit0));
                    plus0 = shift_left16::<1>(plus0);
                    let condition = vcltzq_s8(vreinterpretq_s8_u8(minus0));
                    low0 = vsubq_u8(low0, vandq_u8(condition, low_digit0));
                    high0 = vsubq_u8(high0, vandq_u8(condition, high_digit0));
                    minus0 = shift_left16::<1>(minus0);
                    let (low_digit0, high_digit0) = (
                        vreinterpretq_u8_s32(
                            vdupq_n_s32(at.add(48).cast::<i32>().read_unaligned()),
                        ),
                        vreinterpretq_u8_s32(
                            vdupq_n_s32(at.add(52).cast::<i32>().read_unaligned()),
                        ),
                    );
                    let condition = vcltzq_s8(vreinterpretq_s8_u8(plus0));
                    low0 = vaddq_u8(low0, vandq_u8(condition, low_digit0));
                    high0 = vaddq_u8(high0, vandq_u8(condition, high_digit0));
                    plus0 = shift_left16::<1>(plus0);
                    let condition = vcltzq_s8(vreinterpretq_s8_u8(minus0));
                    low0 = vsubq_u8(low0, vandq_u8(condition, low_digit0));
                    high0 = vsubq_u8(high0, vandq_u8(condition, high_digit0));
                    minus0 = shift_left16::<1>(minus0);
                    let (low_digit0, high_digit0) = (
                        vreinterpretq_u8_s32(
                            vdupq_n_s32(at.add(56).cast::<i32>().read_unaligned()),
                        ),
                        vreinterpretq_u8_s32(
                            vdupq_n_s32(at.add(60).cast::<i32>().read_unaligned()),
                        ),
                    );
                    let condition = vcltzq_s8(vreinterpretq_s8_u8(plus0));
                    low0 = vaddq_u8(low0, vandq_u8(condition, low_digit0));
                    high0 = vaddq_u8(high0, vandq_u8(condition, high_digit0));
                    let condition = vcltzq_s8(vreinterpretq_s8_u8(minus0));
                    low0 = vsubq_u8(low0, vandq_u8(condition, low_digit0));
                    high0 = vsubq_u8(high0, vandq_u8(condition, high_digit0));
                    weights = weights.add(32);
                    at = at.add(64);
                    low_words0 = add16(low_words0, low0);
                    low_odd0 = add16(low_odd0, shift_right16::<8>(low0));
                    high_words0 = add16(high_words0, high0);
                    high_odd0 = add16(high_odd0, shift_right16::<8>(high0));
                }
                let (radix, total, first, second) = (
                    vreinterpretq_u8_s16(vdupq_n_s16(16)),
                    vreinterpretq_u8_s16(
                        vdupq_n_s16((-2176 * steps.div_ceil(1) as i32) as i16),
                    ),
                    vreinterpretq_u8_s32(vdupq_n_s32(1)),
                    vreinterpretq_u8_s32(vdupq_n_s32(1 << 16)),
                );
                let (both, odd) = (
                    add16(low_words0, multiply16(high_words0, radix)),
                    add16(low_odd0, multiply16(high_odd0, radix)),
                );
                let (even, odd) = (
                    add16(sub16(both, shift_left16::<8>(odd)), total),
                    add16(odd, total),
                );
                vst1q_u8(out, add32(multiply_pairs16(even, first), vld1q_u8(out)));
                vst1q_u8(
                    out.add(16),
                    add32(multiply_pairs16(odd, first), vld1q_u8(out.add(16))),
                );
                vst1q_u8(
                    out.add(32),
                    add32(multiply_pairs16(even, second), vld1q_u8(out.add(32))),
                );
                vst1q_u8(
                    out.add(48),
                    add32(multiply_pairs16(odd, second), vld1q_u8(out.add(48))),
                );
                out = out.add(64);
            }
        }
    }
}

/// Prepares activations for the kernels of packing `planes_l16_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "neon")]
pub unsafe fn build_planes__neon(args: &BuildArgs) {
    // SAFETY: by the contract of `BuildArgs`, which gives both ranges, apart from each other.
    let (activations, operand) = unsafe {
        (
            core::slice::from_raw_parts(args.activations.cast::<i8>(), args.steps * 8),
            core::slice::from_raw_parts_mut(args.operand, args.steps * 64),
        )
    };
    for (step, out) in activations.chunks_exact(8).zip(operand.chunks_exact_mut(64)) {
        for (&a, out) in step.iter().zip(out.chunks_exact_mut(8)) {
            let high = (i16::from(a) + 8) >> 4;
            let low = i16::from(a) - 16 * high;
            out[..4].fill(low as u8);
            out[4..].fill(high as u8);
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
