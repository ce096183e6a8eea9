/// `gemv_mad_b2__dotprod_shiftfree_p1k12`: two-bit multiply-add, shiftfree on dotprod.
///
/// Packing `b2_l4_p1_k12`: 4 rows x 16 columns in 16 bytes a step and panel, 2.000 bits a weight.
/// 12 of 32 vector registers. Sums are `i32` throughout. Steps in a K block: 12 (bound 32767). Adds the `i32` sum of each row to `out`.
/// Emitted by `codegen/src/skeleton/mad.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "neon,dotprod")]
pub unsafe fn gemv_mad_b2__dotprod_shiftfree_p1k12(args: &GemvArgs) {
    let GemvArgs { tokens, count, steps, prefetch, .. } = *args;
    // SAFETY: by the contract of `GemvArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        for token in core::slice::from_raw_parts(tokens, count) {
            let Token { operand, out, correction } = *token;
            let total = vreinterpretq_u8_s32(vdupq_n_s32(correction));
            let mut weights = args.weights;
            let mut out = out.cast::<u8>();
            for _ in 0..args.strips {
                let mut sum0_0 = vdupq_n_u8(0);
                let mut sum0_1 = vdupq_n_u8(0);
                let mut sum0_2 = vdupq_n_u8(0);
                let mut at = operand;
                for _ in 0..steps {
                    let ahead = weights.wrapping_add(prefetch);
                    prefetch_line(ahead);
                    let activations0 = vreinterpretq_u8_s32(
                        vdupq_n_s32(at.cast::<i32>().read_unaligned()),
                    );
                    let activations1 = vreinterpretq_u8_s32(
                        vdupq_n_s32(at.add(4).cast::<i32>().read_unaligned()),
                    );
                    let activations2 = vreinterpretq_u8_s32(
                        vdupq_n_s32(at.add(8).cast::<i32>().read_unaligned()),
                    );
                    let activations3 = vreinterpretq_u8_s32(
                        vdupq_n_s32(at.add(12).cast::<i32>().read_unaligned()),
                    );
                    let codes = vld1q_u8(weights);
                    sum0_0 = dot(sum0_0, vandq_u8(codes, vdupq_n_u8(3)), activations0);
                    sum0_1 = dot(sum0_1, vandq_u8(codes, vdupq_n_u8(12)), activations1);
                    sum0_2 = dot(sum0_2, vandq_u8(codes, vdupq_n_u8(48)), activations2);
                    sum0_0 = dot(sum0_0, vshrq_n_u8::<6>(codes), activations3);
                    weights = weights.add(16);
                    at = at.add(16);
                }
                vst1q_u8(
                    out,
                    add32(
                        add32(
                            add32(
                                add32(sum0_0, shift_right_signed32::<2>(sum0_1)),
                                shift_right_signed32::<4>(sum0_2),
                            ),
                            total,
                        ),
                        vld1q_u8(out),
                    ),
                );
                out = out.add(16);
            }
        }
    }
}

/// Prepares activations for the kernels of packing `b2_l4_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "neon,dotprod")]
pub unsafe fn build_b2__dotprod(args: &BuildArgs) {
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
#[target_feature(enable = "neon,dotprod")]
fn add32(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_u32(vaddq_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)))
}

/// `a >> BY` in signed 32-bit lanes.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn shift_right_signed32<const BY: i32>(a: uint8x16_t) -> uint8x16_t {
    vreinterpretq_u8_s32(vshrq_n_s32::<BY>(vreinterpretq_s32_u8(a)))
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

/// Asks for the cache line at `at`, which may be any address, in the second-level cache.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn prefetch_line(at: *const u8) {
    // SAFETY: a prefetch neither reads nor writes, whatever the address.
    unsafe {
        core::arch::asm!(
            "prfm pldl2keep, [{}]", in (reg) at, options(nomem, nostack, preserves_flags)
        )
    };
}
