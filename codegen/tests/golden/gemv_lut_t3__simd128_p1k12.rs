/// `gemv_lut_t3__simd128_p1k12`: lookup of three trits, mirrored on simd128.
///
/// Packing `t3_l16_p1_k12`: 16 rows x 24 columns in 80 bytes a step and panel, 1.667 bits a weight.
/// 9 of 16 vector registers. Steps before narrow sums are widened: 1 (bound 1). Steps in a K block: 12 (bound 257). Adds the `i32` sum of each row to `out`.
/// Emitted by `codegen/src/skeleton/lut.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "simd128")]
pub unsafe fn gemv_lut_t3__simd128_p1k12(args: &GemvArgs) {
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
                    let nibble = i8x16_splat(15);
                    let mut signs0 = v128_load(weights.add(64).cast());
                    let (low_table, high_table) = (
                        v128_load(at.cast()),
                        v128_load(at.add(16).cast()),
                    );
                    let pair0 = v128_load(weights.cast());
                    let codes = v128_and(pair0, nibble);
                    let sign = i8x16_lt(signs0, i8x16_splat(0));
                    low0 = i8x16_add(
                        low0,
                        v128_xor(i8x16_swizzle(low_table, codes), sign),
                    );
                    high0 = i8x16_add(
                        high0,
                        v128_xor(i8x16_swizzle(high_table, codes), sign),
                    );
                    signs0 = i8x16_add(signs0, signs0);
                    let (low_table, high_table) = (
                        v128_load(at.add(32).cast()),
                        v128_load(at.add(48).cast()),
                    );
                    let codes = v128_and(u16x8_shr(pair0, 4), nibble);
                    let sign = i8x16_lt(signs0, i8x16_splat(0));
                    low0 = i8x16_add(
                        low0,
                        v128_xor(i8x16_swizzle(low_table, codes), sign),
                    );
                    high0 = i8x16_add(
                        high0,
                        v128_xor(i8x16_swizzle(high_table, codes), sign),
                    );
                    signs0 = i8x16_add(signs0, signs0);
                    let (low_table, high_table) = (
                        v128_load(at.add(64).cast()),
                        v128_load(at.add(80).cast()),
                    );
                    let pair0 = v128_load(weights.add(16).cast());
                    let codes = v128_and(pair0, nibble);
                    let sign = i8x16_lt(signs0, i8x16_splat(0));
                    low0 = i8x16_add(
                        low0,
                        v128_xor(i8x16_swizzle(low_table, codes), sign),
                    );
                    high0 = i8x16_add(
                        high0,
                        v128_xor(i8x16_swizzle(high_table, codes), sign),
                    );
                    signs0 = i8x16_add(signs0, signs0);
                    let (low_table, high_table) = (
                        v128_load(at.add(96).cast()),
                        v128_load(at.add(112).cast()),
                    );
                    let codes = v128_and(u16x8_shr(pair0, 4), nibble);
                    let sign = i8x16_lt(signs0, i8x16_splat(0));
                    low0 = i8x16_add(
                        low0,
                        v128_xor(i8x16_swizzle(low_table, codes), sign),
                    );
                    high0 = i8x16_add(
                        high0,
                        v128_xor(i8x16_swizzle(high_table, codes), sign),
                    );
                    signs0 = i8x16_add(signs0, signs0);
                    let (low_table, high_table) = (
                        v128_load(at.add(128).cast()),
                        v128_load(at.add(144).cast()),
                    );
                    let pair0 = v128_load(weights.add(32).cast());
                    let codes = v128_and(pair0, nibble);
                    let sign = i8x16_lt(signs0, i8x16_splat(0));
                    low0 = i8x16_add(
                        low0,
                        v128_xor(i8x16_swizzle(low_table, codes), sign),
                    );
                    high0 = i8x16_add(
                        high0,
                        v128_xor(i8x16_swizzle(high_table, codes), sign),
                    );
                    signs0 = i8x16_add(signs0, signs0);
                    let (low_table, high_table) = (
                        v128_load(at.add(160).cast()),
                        v128_load(at.add(176).cast()),
                    );
                    let codes = v128_and(u16x8_shr(pair0, 4), nibble);
                    let sign = i8x16_lt(signs0, i8x16_splat(0));
                    low0 = i8x16_add(
                        low0,
                        v128_xor(i8x16_swizzle(low_table, codes), sign),
                    );
                    high0 = i8x16_add(
                        high0,
                        v128_xor(i8x16_swizzle(high_table, codes), sign),
                    );
                    signs0 = i8x16_add(signs0, signs0);
                    let (low_table, high_table) = (
                        v128_load(at.add(192).cast()),
                        v128_load(at.add(208).cast()),
                    );
                    let pair0 = v128_load(weights.add(48).cast());
                    let codes = v128_and(pair0, nibble);
                    let sign = i8x16_lt(signs0, i8x16_splat(0));
                    low0 = i8x16_add(
                        low0,
                        v128_xor(i8x16_swizzle(low_table, codes), sign),
                    );
                    high0 = i8x16_add(
                        high0,
                        v128_xor(i8x16_swizzle(high_table, codes), sign),
                    );
                    signs0 = i8x16_add(signs0, signs0);
                    let (low_table, high_table) = (
                        v128_load(at.add(224).cast()),
                        v128_load(at.add(240).cast()),
                    );
                    let codes = v128_and(u16x8_shr(pair0, 4), nibble);
                    let sign = i8x16_lt(signs0, i8x16_splat(0));
                    low0 = i8x16_add(
                        low0,
                        v128_xor(i8x16_swizzle(low_table, codes), sign),
                    );
                    high0 = i8x16_add(
                        high0,
                        v128_xor(i8x16_swizzle(high_table, codes), sign),
                    );
                    weights = weights.add(80);
                    at = at.add(256);
                    low_words0 = i16x8_add(low_words0, low0);
                    low_odd0 = i16x8_add(low_odd0, u16x8_shr(low0, 8));
                    high_words0 = i16x8_add(high_words0, high0);
                    high_odd0 = i16x8_add(high_odd0, u16x8_shr(high0, 8));
                }
                let (radix, low16, total) = (
                    i32x4_splat(27),
                    i32x4_splat(65535),
                    i32x4_splat(112 * steps as i32 - 3584 * steps.div_ceil(1) as i32),
                );
                let low_even0 = i16x8_sub(low_words0, i16x8_shl(low_odd0, 8));
                let high_even0 = i16x8_sub(high_words0, i16x8_shl(high_odd0, 8));
                v128_store(
                    out.cast(),
                    i32x4_add(
                        i32x4_add(
                            i32x4_add(
                                v128_and(low_even0, low16),
                                i32x4_mul(v128_and(high_even0, low16), radix),
                            ),
                            total,
                        ),
                        v128_load(out.cast()),
                    ),
                );
                v128_store(
                    out.add(16).cast(),
                    i32x4_add(
                        i32x4_add(
                            i32x4_add(
                                v128_and(low_odd0, low16),
                                i32x4_mul(v128_and(high_odd0, low16), radix),
                            ),
                            total,
                        ),
                        v128_load(out.add(16).cast()),
                    ),
                );
                v128_store(
                    out.add(32).cast(),
                    i32x4_add(
                        i32x4_add(
                            i32x4_add(
                                u32x4_shr(low_even0, 16),
                                i32x4_mul(u32x4_shr(high_even0, 16), radix),
                            ),
                            total,
                        ),
                        v128_load(out.add(32).cast()),
                    ),
                );
                v128_store(
                    out.add(48).cast(),
                    i32x4_add(
                        i32x4_add(
                            i32x4_add(
                                u32x4_shr(low_odd0, 16),
                                i32x4_mul(u32x4_shr(high_odd0, 16), radix),
                            ),
                            total,
                        ),
                        v128_load(out.add(48).cast()),
                    ),
                );
                out = out.add(64);
            }
        }
    }
}

/// Prepares activations for the kernels of packing `t3_l16_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "simd128")]
pub unsafe fn build_t3__simd128(args: &BuildArgs) {
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
