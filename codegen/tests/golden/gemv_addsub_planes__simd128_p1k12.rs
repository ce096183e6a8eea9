/// `gemv_addsub_planes__simd128_p1k12`: masked additions and subtractions on simd128.
///
/// Packing `planes_l16_p1_k12`: 16 rows x 8 columns in 32 bytes a step and panel, 2.000 bits a weight.
/// 7 of 16 vector registers. Steps before narrow sums are widened: 1 (bound 1). Steps in a K block: 12 (bound 257). Adds the `i32` sum of each row to `out`.
/// Emitted by `codegen/src/skeleton/addsub.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "simd128")]
pub unsafe fn gemv_addsub_planes__simd128_p1k12(args: &GemvArgs) {
    let GemvArgs { tokens, count, steps, .. } = *args;
    // SAFETY: by the contract of `GemvArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        for token in core::slice::from_raw_parts(tokens, count) {
            let Token { operand, out, .. } = *token;
            let mut weights = args.weights;
            let mut out = out.cast::<u8>();
            for _ in 0..args.strips {
                let mut low_words0 = i32x4_splat(0);
                let mut low_odd0 = i32x4_splat(0);
                let mut high_words0 = i32x4_splat(0);
                let mut high_odd0 = i32x4_splat(0);
                let mut at = operand;
                for _ in 0..steps {
                    let mut low0 = i8x16_splat(-128);
                    let mut high0 = i8x16_splat(-128);
                    let mut plus0 = v128_load(weights.cast());
                    let mut minus0 = v128_load(weights.add(16).cast());
                    let (low_digit0, high_digit0) = (
                        v128_load32_splat(at.cast()),
                        v128_load32_splat(at.add(4).cast()),
                    );
                    let condition = i8x16_lt(plus0, i8x16_splat(0));
                    low0 = i8x16_add(low0, v128_and(condition, low_digit0));
                    high0 = i8x16_add(high0, v128_and(condition, high_digit0));
                    plus0 = i16x8_shl(plus0, 1);
                    let condition = i8x16_lt(minus0, i8x16_splat(0));
                    low0 = i8x16_sub(low0, v128_and(condition, low_digit0));
                    high0 = i8x16_sub(high0, v128_and(condition, high_digit0));
                    minus0 = i16x8_shl(minus0, 1);
                    let (low_digit0, high_digit0) = (
                        v128_load32_splat(at.add(8).cast()),
                        v128_load32_splat(at.add(12).cast()),
                    );
                    let condition = i8x16_lt(plus0, i8x16_splat(0));
                    low0 = i8x16_add(low0, v128_and(condition, low_digit0));
                    high0 = i8x16_add(high0, v128_and(condition, high_digit0));
                    plus0 = i16x8_shl(plus0, 1);
                    let condition = i8x16_lt(minus0, i8x16_splat(0));
                    low0 = i8x16_sub(low0, v128_and(condition, low_digit0));
                    high0 = i8x16_sub(high0, v128_and(condition, high_digit0));
                    minus0 = i16x8_shl(minus0, 1);
                    let (low_digit0, high_digit0) = (
                        v128_load32_splat(at.add(16).cast()),
                        v128_load32_splat(at.add(20).cast()),
                    );
                    let condition = i8x16_lt(plus0, i8x16_splat(0));
                    low0 = i8x16_add(low0, v128_and(condition, low_digit0));
                    high0 = i8x16_add(high0, v128_and(condition, high_digit0));
                    plus0 = i16x8_shl(plus0, 1);
                    let condition = i8x16_lt(minus0, i8x16_splat(0));
                    low0 = i8x16_sub(low0, v128_and(condition, low_digit0));
                    high0 = i8x16_sub(high0, v128_and(condition, high_digit0));
                    minus0 = i16x8_shl(minus0, 1);
                    let (low_digit0, high_digit0) = (
                        v128_load32_splat(at.add(24).cast()),
                        v128_load32_splat(at.add(28).cast()),
                    );
                    let condition = i8x16_lt(plus0, i8x16_splat(0));
                    low0 = i8x16_add(low0, v128_and(condition, low_digit0));
                    high0 = i8x16_add(high0, v128_and(condition, high_digit0));
                    plus0 = i16x8_shl(plus0, 1);
                    let condition = i8x16_lt(minus0, i8x16_splat(0));
                    low0 = i8x16_sub(low0, v128_and(condition, low_digit0));
                    high0 = i8x16_sub(high0, v128_and(condition, high_digit0));
                    minus0 = i16x8_shl(minus0, 1);
                    let (low_digit0, high_digit0) = (
                        v128_load32_splat(at.add(32).cast()),
                        v128_load32_splat(at.add(36).cast()),
                    );
                    let condition = i8x16_lt(plus0, i8x16_splat(0));
                    low0 = i8x16_add(low0, v128_and(condition, low_digit0));
                    high0 = i8x16_add(high0, v128_and(condition, high_digit0));
                    plus0 = i16x8_shl(plus0, 1);
                    let condition = i8x16_lt(minus0, i8x16_splat(0));
                    low0 = i8x16_sub(low0, v128_and(condition, low_digit0));
                    high0 = i8x16_sub(high0, v128_and(condition, high_digit0));
                    minus0 = i16x8_shl(minus0, 1);
                    let (low_digit0, high_digit0) = (
                        v128_load32_splat(at.add(40).cast()),
                        v128_load32_splat(at.add(44).cast()),
                    );
                    let condition = i8x16_lt(plus0, i8x16_splat(0));
                    low0 = i8x16_add(low0, v128_and(condition, low_digit0));
                    high0 = i8x16_add(high0, v128_and(condition, high_digit0));
                    plus0 = i16x8_shl(plus0, 1);
                    let condition = i8x16_lt(minus0, i8x16_splat(0));
                    low0 = i8x16_sub(low0, v128_and(condition, low_digit0));
                    high0 = i8x16_sub(high0, v128_and(condition, high_digit0));
                    minus0 = i16x8_shl(minus0, 1);
                    let (low_digit0, high_digit0) = (
                        v128_load32_splat(at.add(48).cast()),
                        v128_load32_splat(at.add(52).cast()),
                    );
                    let condition = i8x16_lt(plus0, i8x16_splat(0));
                    low0 = i8x16_add(low0, v128_and(condition, low_digit0));
                    high0 = i8x16_add(high0, v128_and(condition, high_digit0));
                    plus0 = i16x8_shl(plus0, 1);
                    let condition = i8x16_lt(minus0, i8x16_splat(0));
                    low0 = i8x16_sub(low0, v128_and(condition, low_digit0));
                    high0 = i8x16_sub(high0, v128_and(condition, high_digit0));
                    minus0 = i16x8_shl(minus0, 1);
                    let (low_digit0, high_digit0) = (
                        v128_load32_splat(at.add(56).cast()),
                        v128_load32_splat(at.add(60).cast()),
                    );
                    let condition = i8x16_lt(plus0, i8x16_splat(0));
                    low0 = i8x16_add(low0, v128_and(condition, low_digit0));
                    high0 = i8x16_add(high0, v128_and(condition, high_digit0));
                    let condition = i8x16_lt(minus0, i8x16_splat(0));
                    low0 = i8x16_sub(low0, v128_and(condition, low_digit0));
                    high0 = i8x16_sub(high0, v128_and(condition, high_digit0));
                    weights = weights.add(32);
                    at = at.add(64);
                    low_words0 = i16x8_add(low_words0, low0);
                    low_odd0 = i16x8_add(low_odd0, u16x8_shr(low0, 8));
                    high_words0 = i16x8_add(high_words0, high0);
                    high_odd0 = i16x8_add(high_odd0, u16x8_shr(high0, 8));
                }
                let (radix, total, first, second) = (
                    i16x8_splat(16),
                    i16x8_splat((-2176 * steps.div_ceil(1) as i32) as i16),
                    i32x4_splat(1),
                    i32x4_splat(1 << 16),
                );
                let (both, odd) = (
                    i16x8_add(low_words0, i16x8_mul(high_words0, radix)),
                    i16x8_add(low_odd0, i16x8_mul(high_odd0, radix)),
                );
                let (even, odd) = (
                    i16x8_add(i16x8_sub(both, i16x8_shl(odd, 8)), total),
                    i16x8_add(odd, total),
                );
                v128_store(
                    out.cast(),
                    i32x4_add(i32x4_dot_i16x8(even, first), v128_load(out.cast())),
                );
                v128_store(
                    out.add(16).cast(),
                    i32x4_add(i32x4_dot_i16x8(odd, first), v128_load(out.add(16).cast())),
                );
                v128_store(
                    out.add(32).cast(),
                    i32x4_add(
                        i32x4_dot_i16x8(even, second),
                        v128_load(out.add(32).cast()),
                    ),
                );
                v128_store(
                    out.add(48).cast(),
                    i32x4_add(
                        i32x4_dot_i16x8(odd, second),
                        v128_load(out.add(48).cast()),
                    ),
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
#[target_feature(enable = "simd128")]
pub unsafe fn build_planes__simd128(args: &BuildArgs) {
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
