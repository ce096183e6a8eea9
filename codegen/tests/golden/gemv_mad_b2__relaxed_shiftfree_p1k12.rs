/// `gemv_mad_b2__relaxed_shiftfree_p1k12`: two-bit multiply-add, shiftfree on relaxed.
///
/// Packing `b2_l4_p1_k12`: 4 rows x 16 columns in 16 bytes a step and panel, 2.000 bits a weight.
/// 10 of 16 vector registers. Sums are `i32` throughout. Steps in a K block: 12 (bound 32767). Adds the `i32` sum of each row to `out`.
/// Emitted by `codegen/src/skeleton/mad.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "simd128,relaxed-simd")]
pub unsafe fn gemv_mad_b2__relaxed_shiftfree_p1k12(args: &GemvArgs) {
    let GemvArgs { tokens, count, steps, .. } = *args;
    // SAFETY: by the contract of `GemvArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        for token in core::slice::from_raw_parts(tokens, count) {
            let Token { operand, out, correction } = *token;
            let total = i32x4_splat(correction);
            let mut weights = args.weights;
            let mut out = out.cast::<u8>();
            for _ in 0..args.strips {
                let mut sum0_0 = i32x4_splat(0);
                let mut sum0_1 = i32x4_splat(0);
                let mut at = operand;
                for _ in 0..steps {
                    let activations0 = v128_load32_splat(at.cast());
                    let activations1 = v128_load32_splat(at.add(4).cast());
                    let activations2 = v128_load32_splat(at.add(8).cast());
                    let activations3 = v128_load32_splat(at.add(12).cast());
                    let codes = v128_load(weights.cast());
                    sum0_0 = i32x4_relaxed_dot_i8x16_i7x16_add(
                        activations0,
                        v128_and(codes, i8x16_splat(3)),
                        sum0_0,
                    );
                    sum0_1 = i32x4_relaxed_dot_i8x16_i7x16_add(
                        activations1,
                        v128_and(codes, i8x16_splat(12)),
                        sum0_1,
                    );
                    sum0_0 = i32x4_relaxed_dot_i8x16_i7x16_add(
                        activations2,
                        v128_and(u16x8_shr(codes, 4), i8x16_splat(3)),
                        sum0_0,
                    );
                    sum0_1 = i32x4_relaxed_dot_i8x16_i7x16_add(
                        activations3,
                        v128_and(u16x8_shr(codes, 4), i8x16_splat(12)),
                        sum0_1,
                    );
                    weights = weights.add(16);
                    at = at.add(16);
                }
                v128_store(
                    out.cast(),
                    i32x4_add(
                        i32x4_add(i32x4_add(sum0_0, i32x4_shr(sum0_1, 2)), total),
                        v128_load(out.cast()),
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
#[target_feature(enable = "simd128,relaxed-simd")]
pub unsafe fn build_b2__relaxed(args: &BuildArgs) {
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
