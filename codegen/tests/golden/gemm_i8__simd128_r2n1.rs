/// `gemm_i8__simd128_r2n1`: the dot-product layout times many tokens on simd128.
///
/// Tiles of 2 vectors of 4 rows, and 1 tokens.
/// 9 of 16 vector registers. Sums are `i32` throughout.
/// Emitted by `codegen/src/skeleton/gemm.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemmArgs`].
#[target_feature(enable = "simd128")]
pub unsafe fn gemm_i8__simd128_r2n1(args: &GemmArgs) {
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
                    let mut sum0_0 = i32x4_splat(0);
                    let mut sum1_0 = i32x4_splat(0);
                    for _ in 0..quads / 2 {
                        // Two quads a turn: the compiler unrolls the inner loop.
                        for _ in 0..2 {
                            let codes0 = v128_load(at.cast());
                            let codes1 = v128_load(at.add(16).cast());
                            let a = v128_load32_splat(four.cast());
                            sum0_0 = {
                                let (u, s) = (codes0, a);
                                let even = i32x4_dot_i16x8(
                                    v128_and(u, i16x8_splat(0xff)),
                                    i16x8_shr(i16x8_shl(s, 8), 8),
                                );
                                let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                                i32x4_add(sum0_0, i32x4_add(even, odd))
                            };
                            sum1_0 = {
                                let (u, s) = (codes1, a);
                                let even = i32x4_dot_i16x8(
                                    v128_and(u, i16x8_splat(0xff)),
                                    i16x8_shr(i16x8_shl(s, 8), 8),
                                );
                                let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                                i32x4_add(sum1_0, i32x4_add(even, odd))
                            };
                            at = at.wrapping_add(stride);
                            four = four.wrapping_add(4);
                        }
                    }
                    if quads % 2 == 1 {
                        let codes0 = v128_load(at.cast());
                        let codes1 = v128_load(at.add(16).cast());
                        let a = v128_load32_splat(four.cast());
                        sum0_0 = {
                            let (u, s) = (codes0, a);
                            let even = i32x4_dot_i16x8(
                                v128_and(u, i16x8_splat(0xff)),
                                i16x8_shr(i16x8_shl(s, 8), 8),
                            );
                            let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                            i32x4_add(sum0_0, i32x4_add(even, odd))
                        };
                        sum1_0 = {
                            let (u, s) = (codes1, a);
                            let even = i32x4_dot_i16x8(
                                v128_and(u, i16x8_splat(0xff)),
                                i16x8_shr(i16x8_shl(s, 8), 8),
                            );
                            let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                            i32x4_add(sum1_0, i32x4_add(even, odd))
                        };
                    }
                    let rows = out.cast::<u8>();
                    v128_store(rows.cast(), i32x4_add(sum0_0, v128_load(rows.cast())));
                    v128_store(
                        rows.add(16).cast(),
                        i32x4_add(sum1_0, v128_load(rows.add(16).cast())),
                    );
                    weights = weights.wrapping_add(32);
                    out = out.wrapping_add(8);
                }
                for _ in 0..vectors % 2 {
                    let (mut at, mut four) = (weights, activations);
                    let mut sum0_0 = i32x4_splat(0);
                    for _ in 0..quads {
                        let codes0 = v128_load(at.cast());
                        let a = v128_load32_splat(four.cast());
                        sum0_0 = {
                            let (u, s) = (codes0, a);
                            let even = i32x4_dot_i16x8(
                                v128_and(u, i16x8_splat(0xff)),
                                i16x8_shr(i16x8_shl(s, 8), 8),
                            );
                            let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
                            i32x4_add(sum0_0, i32x4_add(even, odd))
                        };
                        at = at.wrapping_add(stride);
                        four = four.wrapping_add(4);
                    }
                    let rows = out.cast::<u8>();
                    v128_store(rows.cast(), i32x4_add(sum0_0, v128_load(rows.cast())));
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
