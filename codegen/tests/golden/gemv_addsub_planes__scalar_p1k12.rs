/// `gemv_addsub_planes__scalar_p1k12`: masked additions and subtractions on scalar.
///
/// Packing `planes_l8_p1_k12`: 8 rows x 8 columns in 16 bytes a step and panel, 2.000 bits a weight.
/// Sums are `i32` throughout. Adds the `i32` sum of each row to `out`.
/// Emitted by `codegen/src/skeleton/portable.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
pub unsafe fn gemv_addsub_planes__scalar_p1k12(args: &GemvArgs) {
    let (panels, steps) = (args.strips + args.singles, args.steps);
    // SAFETY: by the contract of `GemvArgs`, which gives the weights and the tokens.
    let (weights, tokens) = unsafe {
        (
            core::slice::from_raw_parts(args.weights, panels * steps * 16),
            core::slice::from_raw_parts(args.tokens, args.count),
        )
    };
    for token in tokens {
        // SAFETY: by the contract of `GemvArgs`, which gives both ranges, apart from each other.
        let (operand, out) = unsafe {
            (
                core::slice::from_raw_parts(token.operand, steps * 8),
                core::slice::from_raw_parts_mut(token.out, panels * 8),
            )
        };
        for (weights, out) in weights
            .chunks_exact(steps * 16)
            .zip(out.chunks_exact_mut(8))
        {
            let mut sums = [token.correction; 8];
            for (weights, at) in weights.chunks_exact(16).zip(operand.chunks_exact(8)) {
                let (plus, minus) = weights.split_at(8);
                for ((sum, &plus), &minus) in sums.iter_mut().zip(plus).zip(minus) {
                    for (column, &a) in at.iter().enumerate() {
                        let a = i32::from(a as i8);
                        *sum += a & -i32::from(plus >> (7 - column) & 1);
                        *sum -= a & -i32::from(minus >> (7 - column) & 1);
                    }
                }
            }
            for (lane, sum) in sums.iter().enumerate() {
                out[lane % 4 * 2 + lane / 4] += sum;
            }
        }
    }
}

/// Prepares activations for the kernels of packing `planes_l8_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
pub unsafe fn build_planes__scalar(args: &BuildArgs) {
    // SAFETY: by the contract of `BuildArgs`, which gives both ranges, apart from each other.
    let (activations, operand) = unsafe {
        (
            core::slice::from_raw_parts(args.activations.cast::<u8>(), args.steps * 8),
            core::slice::from_raw_parts_mut(args.operand, args.steps * 8),
        )
    };
    for (step, out) in activations.chunks_exact(8).zip(operand.chunks_exact_mut(8)) {
        out.copy_from_slice(step);
    }
}
