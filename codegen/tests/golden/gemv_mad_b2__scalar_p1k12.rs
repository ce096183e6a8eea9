/// `gemv_mad_b2__scalar_p1k12`: two-bit multiply-add on scalar.
///
/// Packing `b2_l8_p1_k12`: 8 rows x 16 columns in 32 bytes a step and panel, 2.000 bits a weight.
/// Sums are `i32` throughout. Adds the `i32` sum of each row to `out`.
/// Emitted by `codegen/src/skeleton/portable.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
pub unsafe fn gemv_mad_b2__scalar_p1k12(args: &GemvArgs) {
    let (panels, steps) = (args.strips + args.singles, args.steps);
    // SAFETY: by the contract of `GemvArgs`, which gives the weights and the tokens.
    let (weights, tokens) = unsafe {
        (
            core::slice::from_raw_parts(args.weights, panels * steps * 32),
            core::slice::from_raw_parts(args.tokens, args.count),
        )
    };
    for token in tokens {
        // SAFETY: by the contract of `GemvArgs`, which gives both ranges, apart from each other.
        let (operand, out) = unsafe {
            (
                core::slice::from_raw_parts(token.operand, steps * 16),
                core::slice::from_raw_parts_mut(token.out, panels * 8),
            )
        };
        for (weights, out) in weights
            .chunks_exact(steps * 32)
            .zip(out.chunks_exact_mut(8))
        {
            let mut sums = [token.correction; 8];
            for (weights, at) in weights.chunks_exact(32).zip(operand.chunks_exact(16)) {
                for (sum, row) in sums.iter_mut().zip(weights.chunks_exact(4)) {
                    for plane in 0..4 {
                        for (code, &a) in row.iter().zip(&at[4 * plane..4 * plane + 4]) {
                            *sum
                                += i32::from(code >> (2 * plane) & 3) * i32::from(a as i8);
                        }
                    }
                }
            }
            for (lane, sum) in sums.iter().enumerate() {
                out[lane] += sum;
            }
        }
    }
}

/// Prepares activations for the kernels of packing `b2_l8_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
pub unsafe fn build_b2__scalar(args: &BuildArgs) {
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
