/// `gemm_i8__neon_r2n1`: the dot-product layout times many tokens on neon.
///
/// Tiles of 2 vectors of 4 rows, and 1 tokens.
/// 7 of 32 vector registers. Quads before narrow sums are widened: 128 (bound 128).
/// Emitted by `codegen/src/skeleton/gemm.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemmArgs`].
#[target_feature(enable = "neon")]
pub unsafe fn gemm_i8__neon_r2n1(args: &GemmArgs) {
    let GemmArgs { strip_stride, vectors, quads, token_stride, out_stride, .. } = *args;
    let stride = vectors * 16;
    let (mut activations, mut sums) = (args.activations.cast::<u8>(), args.out);
    let mut left = args.tokens;
    // SAFETY: by the contract of `GemmArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        while left >= 1 {
            let (mut strip, mut out) = (args.weights, sums);
            for _ in 0..args.strips {
                let mut weights = strip;
                for _ in 0..vectors / 2 {
                    let (mut at, mut four) = (weights, activations);
                    let mut rest = quads;
                    while rest > 0 {
                        let window = rest.min(128);
                        let mut low_sum0_0 = vdupq_n_u8(0);
                        let mut high_sum0_0 = vdupq_n_u8(0);
                        let mut low_sum1_0 = vdupq_n_u8(0);
                        let mut high_sum1_0 = vdupq_n_u8(0);
                        for _ in 0..window {
                            let codes0 = vld1q_u8(at);
                            let codes1 = vld1q_u8(at.add(16));
                            let a = vreinterpretq_u8_s32(
                                vdupq_n_s32(four.cast::<i32>().read_unaligned()),
                            );
                            low_sum0_0 = multiply_add_low(low_sum0_0, codes0, a);
                            high_sum0_0 = multiply_add_high(high_sum0_0, codes0, a);
                            low_sum1_0 = multiply_add_low(low_sum1_0, codes1, a);
                            high_sum1_0 = multiply_add_high(high_sum1_0, codes1, a);
                            at = at.wrapping_add(stride);
                            four = four.wrapping_add(4);
                        }
                        let rows = out.cast::<u8>();
                        vst1q_u8(
                            rows,
                            add32(
                                vld1q_u8(rows),
                                add_neighbours32(
                                    add_pairs16(vdupq_n_u8(0), low_sum0_0),
                                    add_pairs16(vdupq_n_u8(0), high_sum0_0),
                                ),
                            ),
                        );
                        vst1q_u8(
                            rows.add(16),
                            add32(
                                vld1q_u8(rows.add(16)),
                                add_neighbours32(
                                    add_pairs16(vdupq_n_u8(0), low_sum1_0),
                                    add_pairs16(vdupq_n_u8(0), high_sum1_0),
                                ),
                            ),
                        );
                        rest -= window;
                    }
                    weights = weights.wrapping_add(32);
                    out = out.wrapping_add(8);
                }
                for _ in 0..vectors % 2 {
                    let (mut at, mut four) = (weights, activations);
                    let mut rest = quads;
                    while rest > 0 {
                        let window = rest.min(128);
                        let mut low_sum0_0 = vdupq_n_u8(0);
                        let mut high_sum0_0 = vdupq_n_u8(0);
                        for _ in 0..window {
                            let codes0 = vld1q_u8(at);
                            let a = vreinterpretq_u8_s32(
                                vdupq_n_s32(four.cast::<i32>().read_unaligned()),
                            );
                            low_sum0_0 = multiply_add_low(low_sum0_0, codes0, a);
                            high_sum0_0 = multiply_add_high(high_sum0_0, codes0, a);
                            at = at.wrapping_add(stride);
                            four = four.wrapping_add(4);
                        }
                        let rows = out.cast::<u8>();
                        vst1q_u8(
                            rows,
                            add32(
                                vld1q_u8(rows),
                                add_neighbours32(
                                    add_pairs16(vdupq_n_u8(0), low_sum0_0),
                                    add_pairs16(vdupq_n_u8(0), high_sum0_0),
                                ),
                            ),
                        );
                        rest -= window;
                    }
                    weights = weights.wrapping_add(16);
                    out = out.wrapping_add(4);
                }
                strip = strip.wrapping_add(strip_stride);
            }
            activations = activations.wrapping_add(token_stride);
            sums = sums.wrapping_add(out_stride);
            left -= 1;
        }
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
