/// `gemv_mad_b2__simd128_classic_p1k12n2`: two-bit multiply-add, classic on simd128.
///
/// Packing `b2_l4_p1_k12`: 4 rows x 16 columns in 16 bytes a step and panel, 2.000 bits a weight.
/// 6 of 16 vector registers. Sums are `i32` throughout. Steps in a K block: 12 (bound 32767). Adds the `i32` sum of each row to `out`. Reads the weights once for 2 tokens.
/// Emitted by `codegen/src/skeleton/mad.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "simd128")]
pub unsafe fn gemv_mad_b2__simd128_classic_p1k12n2(args: &GemvArgs) {
    let GemvArgs { tokens, count, steps, .. } = *args;
    // SAFETY: by the contract of `GemvArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        let (batches, rest) = core::slice::from_raw_parts(tokens, count)
            .as_chunks::<2>();
        for [t0, t1] in batches {
            let Token { operand: operand_t0, out: out_t0, correction: correction_t0 } = *t0;
            let Token { operand: operand_t1, out: out_t1, correction: correction_t1 } = *t1;
            let total_t0 = i32x4_splat(correction_t0);
            let total_t1 = i32x4_splat(correction_t1);
            let mut weights = args.weights;
            let mut out_t0 = out_t0.cast::<u8>();
            let mut out_t1 = out_t1.cast::<u8>();
            for _ in 0..args.strips {
                let mut sum0_0_t0 = i32x4_splat(0);
                let mut sum0_0_t1 = i32x4_splat(0);
                let mut at_t0 = operand_t0;
                let mut at_t1 = operand_t1;
                for _ in 0..steps {
                    let codes0 = v128_load(weights.cast());
                    let fields0 = v128_and(codes0, i8x16_splat(3));
                    let activations0 = v128_load32_splat(at_t0.cast());
                    sum0_0_t0 = {
                        let (u, s) = (fields0, activations0);
                        let even = i32x4_dot_i16x8(
                            v128_and(u, i16x8_splat(0xff)),
                            i16x8_shr(i16x8_shl(s, 8), 8),
                        );
                        let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                        i32x4_add(sum0_0_t0, i32x4_add(even, odd))
                    };
                    let activations0 = v128_load32_splat(at_t1.cast());
                    sum0_0_t1 = {
                        let (u, s) = (fields0, activations0);
                        let even = i32x4_dot_i16x8(
                            v128_and(u, i16x8_splat(0xff)),
                            i16x8_shr(i16x8_shl(s, 8), 8),
                        );
                        let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                        i32x4_add(sum0_0_t1, i32x4_add(even, odd))
                    };
                    let fields0 = v128_and(u16x8_shr(codes0, 2), i8x16_splat(3));
                    let activations1 = v128_load32_splat(at_t0.add(4).cast());
                    sum0_0_t0 = {
                        let (u, s) = (fields0, activations1);
                        let even = i32x4_dot_i16x8(
                            v128_and(u, i16x8_splat(0xff)),
                            i16x8_shr(i16x8_shl(s, 8), 8),
                        );
                        let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                        i32x4_add(sum0_0_t0, i32x4_add(even, odd))
                    };
                    let activations1 = v128_load32_splat(at_t1.add(4).cast());
                    sum0_0_t1 = {
                        let (u, s) = (fields0, activations1);
                        let even = i32x4_dot_i16x8(
                            v128_and(u, i16x8_splat(0xff)),
                            i16x8_shr(i16x8_shl(s, 8), 8),
                        );
                        let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                        i32x4_add(sum0_0_t1, i32x4_add(even, odd))
                    };
                    let fields0 = v128_and(u16x8_shr(codes0, 4), i8x16_splat(3));
                    let activations2 = v128_load32_splat(at_t0.add(8).cast());
                    sum0_0_t0 = {
                        let (u, s) = (fields0, activations2);
                        let even = i32x4_dot_i16x8(
                            v128_and(u, i16x8_splat(0xff)),
                            i16x8_shr(i16x8_shl(s, 8), 8),
                        );
                        let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                        i32x4_add(sum0_0_t0, i32x4_add(even, odd))
                    };
                    let activations2 = v128_load32_splat(at_t1.add(8).cast());
                    sum0_0_t1 = {
                        let (u, s) = (fields0, activations2);
                        let even = i32x4_dot_i16x8(
                            v128_and(u, i16x8_splat(0xff)),
                            i16x8_shr(i16x8_shl(s, 8), 8),
                        );
                        let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                        i32x4_add(sum0_0_t1, i32x4_add(even, odd))
                    };
                    let fields0 = v128_and(u16x8_shr(codes0, 6), i8x16_splat(3));
                    let activations3 = v128_load32_splat(at_t0.add(12).cast());
                    sum0_0_t0 = {
                        let (u, s) = (fields0, activations3);
                        let even = i32x4_dot_i16x8(
                            v128_and(u, i16x8_splat(0xff)),
                            i16x8_shr(i16x8_shl(s, 8), 8),
                        );
                        let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                        i32x4_add(sum0_0_t0, i32x4_add(even, odd))
                    };
                    let activations3 = v128_load32_splat(at_t1.add(12).cast());
                    sum0_0_t1 = {
                        let (u, s) = (fields0, activations3);
                        let even = i32x4_dot_i16x8(
                            v128_and(u, i16x8_splat(0xff)),
                            i16x8_shr(i16x8_shl(s, 8), 8),
                        );
                        let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                        i32x4_add(sum0_0_t1, i32x4_add(even, odd))
                    };
                    weights = weights.add(16);
                    at_t0 = at_t0.add(16);
                    at_t1 = at_t1.add(16);
                }
                v128_store(
                    out_t0.cast(),
                    i32x4_add(i32x4_add(sum0_0_t0, total_t0), v128_load(out_t0.cast())),
                );
                v128_store(
                    out_t1.cast(),
                    i32x4_add(i32x4_add(sum0_0_t1, total_t1), v128_load(out_t1.cast())),
                );
                out_t0 = out_t0.add(16);
                out_t1 = out_t1.add(16);
            }
        }
        // Tokens that fill no batch follow one by one.
        gemv_mad_b2__simd128_classic_p1k12(
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
