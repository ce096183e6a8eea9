/// `gemv_mad_b2__dotprod_classic_p1k12n2`: two-bit multiply-add, classic on dotprod.
///
/// Packing `b2_l4_p1_k12`: 4 rows x 16 columns in 16 bytes a step and panel, 2.000 bits a weight.
/// 6 of 32 vector registers. Sums are `i32` throughout. Steps in a K block: 12 (bound 32767). Adds the `i32` sum of each row to `out`. Reads the weights once for 2 tokens.
/// Emitted by `codegen/src/skeleton/mad.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "neon,dotprod")]
pub unsafe fn gemv_mad_b2__dotprod_classic_p1k12n2(args: &GemvArgs) {
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
                let mut sum0_0_t0 = vdupq_n_u8(0);
                let mut sum0_0_t1 = vdupq_n_u8(0);
                let mut at_t0 = operand_t0;
                let mut at_t1 = operand_t1;
                for _ in 0..steps {
                    let ahead = weights.wrapping_add(prefetch);
                    prefetch_line(ahead);
                    let codes0 = vld1q_u8(weights);
                    let fields0 = vandq_u8(codes0, vdupq_n_u8(3));
                    let activations0 = vreinterpretq_u8_s32(
                        vdupq_n_s32(at_t0.cast::<i32>().read_unaligned()),
                    );
                    sum0_0_t0 = dot(sum0_0_t0, fields0, activations0);
                    let activations0 = vreinterpretq_u8_s32(
                        vdupq_n_s32(at_t1.cast::<i32>().read_unaligned()),
                    );
                    sum0_0_t1 = dot(sum0_0_t1, fields0, activations0);
                    let fields0 = vandq_u8(vshrq_n_u8::<2>(codes0), vdupq_n_u8(3));
                    let activations1 = vreinterpretq_u8_s32(
                        vdupq_n_s32(at_t0.add(4).cast::<i32>().read_unaligned()),
                    );
                    sum0_0_t0 = dot(sum0_0_t0, fields0, activations1);
                    let activations1 = vreinterpretq_u8_s32(
                        vdupq_n_s32(at_t1.add(4).cast::<i32>().read_unaligned()),
                    );
                    sum0_0_t1 = dot(sum0_0_t1, fields0, activations1);
                    let fields0 = vandq_u8(vshrq_n_u8::<4>(codes0), vdupq_n_u8(3));
                    let activations2 = vreinterpretq_u8_s32(
                        vdupq_n_s32(at_t0.add(8).cast::<i32>().read_unaligned()),
                    );
                    sum0_0_t0 = dot(sum0_0_t0, fields0, activations2);
                    let activations2 = vreinterpretq_u8_s32(
                        vdupq_n_s32(at_t1.add(8).cast::<i32>().read_unaligned()),
                    );
                    sum0_0_t1 = dot(sum0_0_t1, fields0, activations2);
                    let fields0 = vshrq_n_u8::<6>(codes0);
                    let activations3 = vreinterpretq_u8_s32(
                        vdupq_n_s32(at_t0.add(12).cast::<i32>().read_unaligned()),
                    );
                    sum0_0_t0 = dot(sum0_0_t0, fields0, activations3);
                    let activations3 = vreinterpretq_u8_s32(
                        vdupq_n_s32(at_t1.add(12).cast::<i32>().read_unaligned()),
                    );
                    sum0_0_t1 = dot(sum0_0_t1, fields0, activations3);
                    weights = weights.add(16);
                    at_t0 = at_t0.add(16);
                    at_t1 = at_t1.add(16);
                }
                vst1q_u8(out_t0, add32(add32(sum0_0_t0, total_t0), vld1q_u8(out_t0)));
                vst1q_u8(out_t1, add32(add32(sum0_0_t1, total_t1), vld1q_u8(out_t1)));
                out_t0 = out_t0.add(16);
                out_t1 = out_t1.add(16);
            }
        }
        // Tokens that fill no batch follow one by one.
        gemv_mad_b2__dotprod_classic_p1k12(
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
