/// `gemm_i8__scalar_r1n1`: the dot-product layout times many tokens on scalar.
///
/// Rows in groups of 8, tokens one by one.
/// Sums are `i32` throughout.
/// Emitted by `codegen/src/skeleton/gemm.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemmArgs`].
pub unsafe fn gemm_i8__scalar_r1n1(args: &GemmArgs) {
    let (rows, stride) = (args.vectors * 8, args.vectors * 32);
    for token in 0..args.tokens {
        for strip in 0..args.strips {
            // SAFETY: by the contract of `GemmArgs`, which gives every strip, and the activations
            // and the sums of every token.
            let (weights, activations, out) = unsafe {
                (
                    core::slice::from_raw_parts(
                        args.weights.add(strip * args.strip_stride),
                        args.quads * stride,
                    ),
                    core::slice::from_raw_parts(
                        args.activations.add(token * args.token_stride),
                        4 * args.quads,
                    ),
                    core::slice::from_raw_parts_mut(
                        args.out.add(token * args.out_stride + strip * rows),
                        rows,
                    ),
                )
            };
            for (four, quad) in activations
                .chunks_exact(4)
                .zip(weights.chunks_exact(stride))
            {
                let four = [0, 1, 2, 3].map(|i| i32::from(four[i]));
                for (sum, u) in out.iter_mut().zip(quad.chunks_exact(4)) {
                    for (&u, a) in u.iter().zip(four) {
                        *sum = sum.wrapping_add(i32::from(u) * a);
                    }
                }
            }
        }
    }
}
