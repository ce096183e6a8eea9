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
    let rows = args.vectors * 8;
    for token in 0..args.tokens {
        // SAFETY: by the contract of `GemmArgs`, which gives the activations and the sums of every
        // token.
        let (activations, out) = unsafe {
            (
                core::slice::from_raw_parts(
                    args.activations.add(token * args.token_stride),
                    4 * args.quads,
                ),
                core::slice::from_raw_parts_mut(
                    args.out.add(token * args.out_stride),
                    rows,
                ),
            )
        };
        for (quad, four) in activations.chunks_exact(4).enumerate() {
            let four = [0, 1, 2, 3].map(|i| i32::from(four[i]));
            // SAFETY: by the contract of `GemmArgs`, which gives every quad.
            let weights = unsafe {
                core::slice::from_raw_parts(
                    args.weights.add(quad * args.stride),
                    args.vectors * 32,
                )
            };
            for (sum, u) in out.iter_mut().zip(weights.chunks_exact(4)) {
                for (&u, a) in u.iter().zip(four) {
                    *sum = sum.wrapping_add(i32::from(u) * a);
                }
            }
        }
    }
}
