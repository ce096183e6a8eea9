/// `gemm_i8__dotprod_r2n1`: the dot-product layout times many tokens on dotprod.
///
/// Tiles of 2 vectors of 4 rows, and 1 tokens.
/// 5 of 32 vector registers. Sums are `i32` throughout.
/// Emitted by `codegen/src/skeleton/gemm.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemmArgs`].
#[target_feature(enable = "neon,dotprod")]
pub unsafe fn gemm_i8__dotprod_r2n1(args: &GemmArgs) {
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
                    let mut sum0_0 = vdupq_n_u8(0);
                    let mut sum1_0 = vdupq_n_u8(0);
                    for _ in 0..quads {
                        let codes0 = vld1q_u8(at);
                        let codes1 = vld1q_u8(at.add(16));
                        let a = vreinterpretq_u8_s32(
                            vdupq_n_s32(four.cast::<i32>().read_unaligned()),
                        );
                        sum0_0 = dot(sum0_0, codes0, a);
                        sum1_0 = dot(sum1_0, codes1, a);
                        at = at.wrapping_add(stride);
                        four = four.wrapping_add(4);
                    }
                    let rows = out.cast::<u8>();
                    vst1q_u8(rows, add32(sum0_0, vld1q_u8(rows)));
                    vst1q_u8(rows.add(16), add32(sum1_0, vld1q_u8(rows.add(16))));
                    weights = weights.wrapping_add(32);
                    out = out.wrapping_add(8);
                }
                for _ in 0..vectors % 2 {
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
#[target_feature(enable = "neon,dotprod")]
fn add32(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u32(vaddq_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)))
}

/// `sum` in 32-bit lanes plus the products of signed bytes, four in each lane.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot(sum: uint8x16_t, u: uint8x16_t, s: uint8x16_t) -> uint8x16_t {
    let mut sum = sum;
    // SAFETY: works on three registers and touches nothing else.
    unsafe {
        core::arch::asm!(
            "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) sum, in (vreg) u, in
            (vreg) s, options(pure, nomem, nostack, preserves_flags)
        )
    };
    sum
}
