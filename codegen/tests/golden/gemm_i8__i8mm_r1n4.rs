/// `gemm_i8__i8mm_r1n4`: the dot-product layout times many tokens on i8mm.
///
/// Tiles of 1 vectors of 4 rows, and 4 tokens.
/// 7 of 32 vector registers. Sums are `i32` throughout.
/// Emitted by `codegen/src/skeleton/gemm.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemmArgs`].
#[target_feature(enable = "neon,i8mm")]
pub unsafe fn gemm_i8__i8mm_r1n4(args: &GemmArgs) {
    let GemmArgs { strip_stride, vectors, quads, token_stride, out_stride, .. } = *args;
    let stride = vectors * 16;
    let (mut activations, mut sums) = (args.activations.cast::<u8>(), args.out);
    let mut left = args.tokens;
    // SAFETY: by the contract of `GemmArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        while left >= 4 {
            let (mut strip, mut out) = (args.weights, sums);
            for _ in 0..args.strips {
                let mut weights = strip;
                for _ in 0..vectors {
                    let (mut at, mut four) = (weights, activations);
                    let mut low_sum0_0 = vdupq_n_u8(0);
                    let mut high_sum0_0 = vdupq_n_u8(0);
                    let mut low_sum0_1 = vdupq_n_u8(0);
                    let mut high_sum0_1 = vdupq_n_u8(0);
                    for _ in 0..quads / 2 {
                        let (first, second) = (vld1q_u8(at), vld1q_u8(at.add(stride)));
                        let (low_codes0, high_codes0) = (
                            interleave_first32(first, second),
                            interleave_second32(first, second),
                        );
                        let a = vcombine_u8(
                            vld1_u8(four),
                            vld1_u8(four.add(token_stride)),
                        );
                        low_sum0_0 = multiply_2x2(low_sum0_0, low_codes0, a);
                        high_sum0_0 = multiply_2x2(high_sum0_0, high_codes0, a);
                        let a = vcombine_u8(
                            vld1_u8(four.add(2 * token_stride)),
                            vld1_u8(four.add(3 * token_stride)),
                        );
                        low_sum0_1 = multiply_2x2(low_sum0_1, low_codes0, a);
                        high_sum0_1 = multiply_2x2(high_sum0_1, high_codes0, a);
                        at = at.wrapping_add(2 * stride);
                        four = four.wrapping_add(8);
                    }
                    if quads % 2 == 1 {
                        // A quad without a neighbour has zeros beside it.
                        let (first, second) = (vld1q_u8(at), vdupq_n_u8(0));
                        let (low_codes0, high_codes0) = (
                            interleave_first32(first, second),
                            interleave_second32(first, second),
                        );
                        let a = vcombine_u8(
                            vcreate_u8(four.cast::<u32>().read_unaligned().into()),
                            vcreate_u8(
                                four.add(token_stride).cast::<u32>().read_unaligned().into(),
                            ),
                        );
                        low_sum0_0 = multiply_2x2(low_sum0_0, low_codes0, a);
                        high_sum0_0 = multiply_2x2(high_sum0_0, high_codes0, a);
                        let a = vcombine_u8(
                            vcreate_u8(
                                four
                                    .add(2 * token_stride)
                                    .cast::<u32>()
                                    .read_unaligned()
                                    .into(),
                            ),
                            vcreate_u8(
                                four
                                    .add(3 * token_stride)
                                    .cast::<u32>()
                                    .read_unaligned()
                                    .into(),
                            ),
                        );
                        low_sum0_1 = multiply_2x2(low_sum0_1, low_codes0, a);
                        high_sum0_1 = multiply_2x2(high_sum0_1, high_codes0, a);
                    }
                    let rows = out.cast::<u8>();
                    vst1q_u8(
                        rows,
                        add32(pick_even32(low_sum0_0, high_sum0_0), vld1q_u8(rows)),
                    );
                    let rows = out.add(out_stride).cast::<u8>();
                    vst1q_u8(
                        rows,
                        add32(pick_odd32(low_sum0_0, high_sum0_0), vld1q_u8(rows)),
                    );
                    let rows = out.add(2 * out_stride).cast::<u8>();
                    vst1q_u8(
                        rows,
                        add32(pick_even32(low_sum0_1, high_sum0_1), vld1q_u8(rows)),
                    );
                    let rows = out.add(3 * out_stride).cast::<u8>();
                    vst1q_u8(
                        rows,
                        add32(pick_odd32(low_sum0_1, high_sum0_1), vld1q_u8(rows)),
                    );
                    weights = weights.wrapping_add(16);
                    out = out.wrapping_add(4);
                }
                strip = strip.wrapping_add(strip_stride);
            }
            activations = activations.wrapping_add(4 * token_stride);
            sums = sums.wrapping_add(4 * out_stride);
            left -= 4;
        }
        // Tokens that fill no tile go through narrower ones.
        while left >= 2 {
            let (mut strip, mut out) = (args.weights, sums);
            for _ in 0..args.strips {
                let mut weights = strip;
                for _ in 0..vectors {
                    let (mut at, mut four) = (weights, activations);
                    let mut low_sum0_0 = vdupq_n_u8(0);
                    let mut high_sum0_0 = vdupq_n_u8(0);
                    for _ in 0..quads / 2 {
                        let (first, second) = (vld1q_u8(at), vld1q_u8(at.add(stride)));
                        let (low_codes0, high_codes0) = (
                            interleave_first32(first, second),
                            interleave_second32(first, second),
                        );
                        let a = vcombine_u8(
                            vld1_u8(four),
                            vld1_u8(four.add(token_stride)),
                        );
                        low_sum0_0 = multiply_2x2(low_sum0_0, low_codes0, a);
                        high_sum0_0 = multiply_2x2(high_sum0_0, high_codes0, a);
                        at = at.wrapping_add(2 * stride);
                        four = four.wrapping_add(8);
                    }
                    if quads % 2 == 1 {
                        // A quad without a neighbour has zeros beside it.
                        let (first, second) = (vld1q_u8(at), vdupq_n_u8(0));
                        let (low_codes0, high_codes0) = (
                            interleave_first32(first, second),
                            interleave_second32(first, second),
                        );
                        let a = vcombine_u8(
                            vcreate_u8(four.cast::<u32>().read_unaligned().into()),
                            vcreate_u8(
                                four.add(token_stride).cast::<u32>().read_unaligned().into(),
                            ),
                        );
                        low_sum0_0 = multiply_2x2(low_sum0_0, low_codes0, a);
                        high_sum0_0 = multiply_2x2(high_sum0_0, high_codes0, a);
                    }
                    let rows = out.cast::<u8>();
                    vst1q_u8(
                        rows,
                        add32(pick_even32(low_sum0_0, high_sum0_0), vld1q_u8(rows)),
                    );
                    let rows = out.add(out_stride).cast::<u8>();
                    vst1q_u8(
                        rows,
                        add32(pick_odd32(low_sum0_0, high_sum0_0), vld1q_u8(rows)),
                    );
                    weights = weights.wrapping_add(16);
                    out = out.wrapping_add(4);
                }
                strip = strip.wrapping_add(strip_stride);
            }
            activations = activations.wrapping_add(2 * token_stride);
            sums = sums.wrapping_add(2 * out_stride);
            left -= 2;
        }
        while left >= 1 {
            let (mut strip, mut out) = (args.weights, sums);
            for _ in 0..args.strips {
                let mut weights = strip;
                for _ in 0..vectors {
                    let (mut at, mut four) = (weights, activations);
                    let mut sum0_0 = vdupq_n_u8(0);
                    for _ in 0..quads {
                        let codes0 = vld1q_u8(at);
                        let a = vreinterpretq_u8_s32(
                            vdupq_n_s32(four.cast::<i32>().read_unaligned()),
                        );
                        sum0_0 = dot(sum0_0, codes0, a);
                        at = at.wrapping_add(stride);
                        four = four.wrapping_add(4);
                    }
                    let rows = out.cast::<u8>();
                    vst1q_u8(rows, add32(sum0_0, vld1q_u8(rows)));
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
#[target_feature(enable = "neon,i8mm")]
fn add32(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u32(vaddq_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)))
}

/// 32-bit lanes of the first halves of `a` and `b` in turn.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn interleave_first32(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u32(vzip1q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)))
}

/// 32-bit lanes of the second halves of `a` and `b` in turn.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn interleave_second32(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u32(vzip2q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)))
}

/// The even 32-bit lanes of `a`, then those of `b`.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn pick_even32(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u32(vuzp1q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)))
}

/// The odd 32-bit lanes of `a`, then those of `b`.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn pick_odd32(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u32(vuzp2q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)))
}

/// `sum` in 32-bit lanes plus the products of unsigned bytes `u` and signed bytes `s`, four in each lane.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn dot(sum: uint8x16_t, u: uint8x16_t, s: uint8x16_t) -> uint8x16_t {
    let mut sum = sum;
    // SAFETY: works on three registers and touches nothing else.
    unsafe {
        core::arch::asm!(
            "usdot {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) sum, in (vreg) u, in
            (vreg) s, options(pure, nomem, nostack, preserves_flags)
        )
    };
    sum
}

/// The products of two rows of eight unsigned bytes `u` and two of signed bytes `s`: row `i` times row `j` onto lane `2 i + j`.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn multiply_2x2(sum: uint8x16_t, u: uint8x16_t, s: uint8x16_t) -> uint8x16_t {
    let mut sum = sum;
    // SAFETY: works on three registers and touches nothing else.
    unsafe {
        core::arch::asm!(
            "usmmla {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) sum, in (vreg) u, in
            (vreg) s, options(pure, nomem, nostack, preserves_flags)
        )
    };
    sum
}
