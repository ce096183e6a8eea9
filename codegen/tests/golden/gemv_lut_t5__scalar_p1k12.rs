/// `gemv_lut_t5__scalar_p1k12`: lookup of five trits, mirrored on scalar.
///
/// Packing `t5_l8_p1_k12`: 8 rows x 5 columns in 8 bytes a step and panel, 1.600 bits a weight.
/// Sums are `i32` throughout. Adds the `i32` sum of each row to `out`.
/// Emitted by `codegen/src/skeleton/portable.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
pub unsafe fn gemv_lut_t5__scalar_p1k12(args: &GemvArgs) {
    let (panels, steps) = (args.strips + args.singles, args.steps);
    // SAFETY: by the contract of `GemvArgs`, which gives the weights and the tokens.
    let (weights, tokens) = unsafe {
        (
            core::slice::from_raw_parts(args.weights, panels * steps * 8),
            core::slice::from_raw_parts(args.tokens, args.count),
        )
    };
    for token in tokens {
        // SAFETY: by the contract of `GemvArgs`, which gives both ranges, apart from each other.
        let (operand, out) = unsafe {
            (
                core::slice::from_raw_parts(token.operand, steps * 512),
                core::slice::from_raw_parts_mut(token.out, panels * 8),
            )
        };
        for (weights, out) in weights
            .chunks_exact(steps * 8)
            .zip(out.chunks_exact_mut(8))
        {
            let mut sums = [token.correction; 8];
            for (weights, at) in weights.chunks_exact(8).zip(operand.chunks_exact(512)) {
                for (sum, &code) in sums.iter_mut().zip(weights) {
                    let entry = usize::from(code) * 2;
                    *sum += i32::from(i16::from_ne_bytes([at[entry], at[entry + 1]]));
                }
            }
            for (lane, sum) in sums.iter().enumerate() {
                out[lane % 4 * 2 + lane / 4] += sum;
            }
        }
    }
}

/// Prepares activations for the kernels of packing `t5_l8_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
pub unsafe fn build_t5__scalar(args: &BuildArgs) {
    // SAFETY: by the contract of `BuildArgs`, which gives both ranges, apart from each other.
    let (activations, operand) = unsafe {
        (
            core::slice::from_raw_parts(args.activations.cast::<i8>(), args.steps * 5),
            core::slice::from_raw_parts_mut(args.operand, args.steps * 512),
        )
    };
    for (step, out) in activations.chunks_exact(5).zip(operand.chunks_exact_mut(512)) {
        const TRITS: [[i16; 128]; 5] = {
            let (mut trits, mut n) = ([[0; 128]; 5], 0);
            while n < 122 {
                let (mut rest, mut place) = (n + 121, 0);
                while place < 5 {
                    trits[place][n] = (rest % 3) as i16 - 1;
                    rest /= 3;
                    place += 1;
                }
                n += 1;
            }
            trits
        };
        let group = [0, 1, 2, 3, 4].map(|i| i16::from(step[i]));
        let mut sums = [0; 128];
        for (&a, trits) in group.iter().zip(&TRITS) {
            for (sum, t) in sums.iter_mut().zip(trits) {
                *sum += t * a;
            }
        }
        let (plus, minus) = out.split_at_mut(256);
        for ((sum, plus), minus) in sums
            .iter()
            .zip(plus.chunks_exact_mut(2))
            .zip(minus.chunks_exact_mut(2))
        {
            plus.copy_from_slice(&sum.to_ne_bytes());
            minus.copy_from_slice(&(-sum).to_ne_bytes());
        }
    }
}
