/// `gemv_mad_b2__simd128_classic_p2k12`: two-bit multiply-add, classic on simd128.
///
/// Packing `b2_l4_p2_k12`: 4 rows x 16 columns in 16 bytes a step and panel, 2.000 bits a weight.
/// 9 of 16 vector registers. Sums are `i32` throughout. Steps in a K block: 12 (bound 32767). Adds the `i32` sum of each row to `out`.
/// Emitted by `codegen/src/skeleton/mad.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "simd128")]
pub unsafe fn gemv_mad_b2__simd128_classic_p2k12(args: &GemvArgs) {
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
                let mut sum1_0 = i32x4_splat(0);
                let mut at = operand;
                for _ in 0..steps {
                    let activations0 = v128_load32_splat(at.cast());
                    let activations1 = v128_load32_splat(at.add(4).cast());
                    let activations2 = v128_load32_splat(at.add(8).cast());
                    let activations3 = v128_load32_splat(at.add(12).cast());
                    let codes = v128_load(weights.cast());
                    sum0_0 = {
                        let (u, s) = (v128_and(codes, i8x16_splat(3)), activations0);
                        let even = i32x4_dot_i16x8(
                            v128_and(u, i16x8_splat(0xff)),
                            i16x8_shr(i16x8_shl(s, 8), 8),
                        );
                        let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                        i32x4_add(sum0_0, i32x4_add(even, odd))
                    };
                    sum0_0 = {
                        let (u, s) = (
                            v128_and(u16x8_shr(codes, 2), i8x16_splat(3)),
                            activations1,
                        );
                        let even = i32x4_dot_i16x8(
                            v128_and(u, i16x8_splat(0xff)),
                            i16x8_shr(i16x8_shl(s, 8), 8),
                        );
                        let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                        i32x4_add(sum0_0, i32x4_add(even, odd))
                    };
                    sum0_0 = {
                        let (u, s) = (
                            v128_and(u16x8_shr(codes, 4), i8x16_splat(3)),
                            activations2,
                        );
                        let even = i32x4_dot_i16x8(
                            v128_and(u, i16x8_splat(0xff)),
                            i16x8_shr(i16x8_shl(s, 8), 8),
                        );
                        let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                        i32x4_add(sum0_0, i32x4_add(even, odd))
                    };
                    sum0_0 = {
                        let (u, s) = (
                            v128_and(u16x8_shr(codes, 6), i8x16_splat(3)),
                            activations3,
                        );
                        let even = i32x4_dot_i16x8(
                            v128_and(u, i16x8_splat(0xff)),
                            i16x8_shr(i16x8_shl(s, 8), 8),
                        );
                        let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                        i32x4_add(sum0_0, i32x4_add(even, odd))
                    };
                    let codes = v128_load(weights.add(16).cast());
                    sum1_0 = {
                        let (u, s) = (v128_and(codes, i8x16_splat(3)), activations0);
                        let even = i32x4_dot_i16x8(
                            v128_and(u, i16x8_splat(0xff)),
                            i16x8_shr(i16x8_shl(s, 8), 8),
                        );
                        let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                        i32x4_add(sum1_0, i32x4_add(even, odd))
                    };
                    sum1_0 = {
                        let (u, s) = (
                            v128_and(u16x8_shr(codes, 2), i8x16_splat(3)),
                            activations1,
                        );
                        let even = i32x4_dot_i16x8(
                            v128_and(u, i16x8_splat(0xff)),
                            i16x8_shr(i16x8_shl(s, 8), 8),
                        );
                        let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                        i32x4_add(sum1_0, i32x4_add(even, odd))
                    };
                    sum1_0 = {
                        let (u, s) = (
                            v128_and(u16x8_shr(codes, 4), i8x16_splat(3)),
                            activations2,
                        );
                        let even = i32x4_dot_i16x8(
                            v128_and(u, i16x8_splat(0xff)),
                            i16x8_shr(i16x8_shl(s, 8), 8),
                        );
                        let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                        i32x4_add(sum1_0, i32x4_add(even, odd))
                    };
                    sum1_0 = {
                        let (u, s) = (
                            v128_and(u16x8_shr(codes, 6), i8x16_splat(3)),
                            activations3,
                        );
                        let even = i32x4_dot_i16x8(
                            v128_and(u, i16x8_splat(0xff)),
                            i16x8_shr(i16x8_shl(s, 8), 8),
                        );
                        let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                        i32x4_add(sum1_0, i32x4_add(even, odd))
                    };
                    weights = weights.add(32);
                    at = at.add(16);
                }
                v128_store(
                    out.cast(),
                    i32x4_add(i32x4_add(sum0_0, total), v128_load(out.cast())),
                );
                v128_store(
                    out.add(16).cast(),
                    i32x4_add(i32x4_add(sum1_0, total), v128_load(out.add(16).cast())),
                );
                out = out.add(32);
            }
            // Panels that fill no strip follow one by one.
            for _ in 0..args.singles {
                let mut sum0_0 = i32x4_splat(0);
                let mut at = operand;
                for _ in 0..steps {
                    let activations0 = v128_load32_splat(at.cast());
                    let activations1 = v128_load32_splat(at.add(4).cast());
                    let activations2 = v128_load32_splat(at.add(8).cast());
                    let activations3 = v128_load32_splat(at.add(12).cast());
                    let codes = v128_load(weights.cast());
                    sum0_0 = {
                        let (u, s) = (v128_and(codes, i8x16_splat(3)), activations0);
                        let even = i32x4_dot_i16x8(
                            v128_and(u, i16x8_splat(0xff)),
                            i16x8_shr(i16x8_shl(s, 8), 8),
                        );
                        let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                        i32x4_add(sum0_0, i32x4_add(even, odd))
                    };
                    sum0_0 = {
                        let (u, s) = (
                            v128_and(u16x8_shr(codes, 2), i8x16_splat(3)),
                            activations1,
                        );
                        let even = i32x4_dot_i16x8(
                            v128_and(u, i16x8_splat(0xff)),
                            i16x8_shr(i16x8_shl(s, 8), 8),
                        );
                        let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                        i32x4_add(sum0_0, i32x4_add(even, odd))
                    };
                    sum0_0 = {
                        let (u, s) = (
                            v128_and(u16x8_shr(codes, 4), i8x16_splat(3)),
                            activations2,
                        );
                        let even = i32x4_dot_i16x8(
                            v128_and(u, i16x8_splat(0xff)),
                            i16x8_shr(i16x8_shl(s, 8), 8),
                        );
                        let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                        i32x4_add(sum0_0, i32x4_add(even, odd))
                    };
                    sum0_0 = {
                        let (u, s) = (
                            v128_and(u16x8_shr(codes, 6), i8x16_splat(3)),
                            activations3,
                        );
                        let even = i32x4_dot_i16x8(
                            v128_and(u, i16x8_splat(0xff)),
                            i16x8_shr(i16x8_shl(s, 8), 8),
                        );
                        let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                        i32x4_add(sum0_0, i32x4_add(even, odd))
                    };
                    weights = weights.add(16);
                    at = at.add(16);
                }
                v128_store(
                    out.cast(),
                    i32x4_add(i32x4_add(sum0_0, total), v128_load(out.cast())),
                );
                out = out.add(16);
            }
        }
    }
}

/// Prepares activations for the kernels of packing `b2_l4_p2_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "simd128")]
pub unsafe fn build_b2__simd128(args: &BuildArgs) {
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
