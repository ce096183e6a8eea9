/// `gemv_mad_b2__ssse3_classic_p1k12w12n2`: two-bit multiply-add, classic on ssse3.
///
/// Packing `b2_l4_p1_k12`: 4 rows x 16 columns in 16 bytes a step and panel, 2.000 bits a weight.
/// 7 of 16 vector registers. Steps before narrow sums are widened: 12 (bound 16). Steps in a K block: 12 (bound 32767). Adds the `i32` sum of each row to `out`. Reads the weights once for 2 tokens.
/// Emitted by `codegen/src/skeleton/mad.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "ssse3")]
pub unsafe fn gemv_mad_b2__ssse3_classic_p1k12w12n2(args: &GemvArgs) {
    let GemvArgs { tokens, count, steps, prefetch, .. } = *args;
    // SAFETY: by the contract of `GemvArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        let (batches, rest) = core::slice::from_raw_parts(tokens, count)
            .as_chunks::<2>();
        for [t0, t1] in batches {
            let Token { operand: operand_t0, out: out_t0, correction: correction_t0 } = *t0;
            let Token { operand: operand_t1, out: out_t1, correction: correction_t1 } = *t1;
            let total_t0 = _mm_set1_epi32(correction_t0);
            let total_t1 = _mm_set1_epi32(correction_t1);
            let mut weights = args.weights;
            let mut out_t0 = out_t0.cast::<u8>();
            let mut out_t1 = out_t1.cast::<u8>();
            for _ in 0..args.strips {
                let mut wide0_t0 = _mm_setzero_si128();
                let mut wide0_t1 = _mm_setzero_si128();
                let mut at_t0 = operand_t0;
                let mut at_t1 = operand_t1;
                let mut left = steps;
                while left >= 12 {
                    let mut sum0_0_t0 = _mm_setzero_si128();
                    let mut sum0_0_t1 = _mm_setzero_si128();
                    for _ in 0..12 {
                        let ahead = weights.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        let codes0 = _mm_loadu_si128(weights.cast());
                        let fields0 = _mm_and_si128(codes0, _mm_set1_epi8(3));
                        let activations0 = _mm_set1_epi32(
                            at_t0.cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t0 = _mm_adds_epi16(
                            sum0_0_t0,
                            _mm_maddubs_epi16(fields0, activations0),
                        );
                        let activations0 = _mm_set1_epi32(
                            at_t1.cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t1 = _mm_adds_epi16(
                            sum0_0_t1,
                            _mm_maddubs_epi16(fields0, activations0),
                        );
                        let fields0 = _mm_and_si128(
                            _mm_srli_epi16::<2>(codes0),
                            _mm_set1_epi8(3),
                        );
                        let activations1 = _mm_set1_epi32(
                            at_t0.add(4).cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t0 = _mm_adds_epi16(
                            sum0_0_t0,
                            _mm_maddubs_epi16(fields0, activations1),
                        );
                        let activations1 = _mm_set1_epi32(
                            at_t1.add(4).cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t1 = _mm_adds_epi16(
                            sum0_0_t1,
                            _mm_maddubs_epi16(fields0, activations1),
                        );
                        let fields0 = _mm_and_si128(
                            _mm_srli_epi16::<4>(codes0),
                            _mm_set1_epi8(3),
                        );
                        let activations2 = _mm_set1_epi32(
                            at_t0.add(8).cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t0 = _mm_adds_epi16(
                            sum0_0_t0,
                            _mm_maddubs_epi16(fields0, activations2),
                        );
                        let activations2 = _mm_set1_epi32(
                            at_t1.add(8).cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t1 = _mm_adds_epi16(
                            sum0_0_t1,
                            _mm_maddubs_epi16(fields0, activations2),
                        );
                        let fields0 = _mm_and_si128(
                            _mm_srli_epi16::<6>(codes0),
                            _mm_set1_epi8(3),
                        );
                        let activations3 = _mm_set1_epi32(
                            at_t0.add(12).cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t0 = _mm_adds_epi16(
                            sum0_0_t0,
                            _mm_maddubs_epi16(fields0, activations3),
                        );
                        let activations3 = _mm_set1_epi32(
                            at_t1.add(12).cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t1 = _mm_adds_epi16(
                            sum0_0_t1,
                            _mm_maddubs_epi16(fields0, activations3),
                        );
                        weights = weights.add(16);
                        at_t0 = at_t0.add(16);
                        at_t1 = at_t1.add(16);
                    }
                    wide0_t0 = _mm_add_epi32(
                        wide0_t0,
                        _mm_madd_epi16(sum0_0_t0, _mm_set1_epi16(1)),
                    );
                    wide0_t1 = _mm_add_epi32(
                        wide0_t1,
                        _mm_madd_epi16(sum0_0_t1, _mm_set1_epi16(1)),
                    );
                    left -= 12;
                }
                if left > 0 {
                    let mut sum0_0_t0 = _mm_setzero_si128();
                    let mut sum0_0_t1 = _mm_setzero_si128();
                    for _ in 0..left {
                        let ahead = weights.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        let codes0 = _mm_loadu_si128(weights.cast());
                        let fields0 = _mm_and_si128(codes0, _mm_set1_epi8(3));
                        let activations0 = _mm_set1_epi32(
                            at_t0.cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t0 = _mm_adds_epi16(
                            sum0_0_t0,
                            _mm_maddubs_epi16(fields0, activations0),
                        );
                        let activations0 = _mm_set1_epi32(
                            at_t1.cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t1 = _mm_adds_epi16(
                            sum0_0_t1,
                            _mm_maddubs_epi16(fields0, activations0),
                        );
                        let fields0 = _mm_and_si128(
                            _mm_srli_epi16::<2>(codes0),
                            _mm_set1_epi8(3),
                        );
                        let activations1 = _mm_set1_epi32(
                            at_t0.add(4).cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t0 = _mm_adds_epi16(
                            sum0_0_t0,
                            _mm_maddubs_epi16(fields0, activations1),
                        );
                        let activations1 = _mm_set1_epi32(
                            at_t1.add(4).cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t1 = _mm_adds_epi16(
                            sum0_0_t1,
                            _mm_maddubs_epi16(fields0, activations1),
                        );
                        let fields0 = _mm_and_si128(
                            _mm_srli_epi16::<4>(codes0),
                            _mm_set1_epi8(3),
                        );
                        let activations2 = _mm_set1_epi32(
                            at_t0.add(8).cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t0 = _mm_adds_epi16(
                            sum0_0_t0,
                            _mm_maddubs_epi16(fields0, activations2),
                        );
                        let activations2 = _mm_set1_epi32(
                            at_t1.add(8).cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t1 = _mm_adds_epi16(
                            sum0_0_t1,
                            _mm_maddubs_epi16(fields0, activations2),
                        );
                        let fields0 = _mm_and_si128(
                            _mm_srli_epi16::<6>(codes0),
                            _mm_set1_epi8(3),
                        );
                        let activations3 = _mm_set1_epi32(
                            at_t0.add(12).cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t0 = _mm_adds_epi16(
                            sum0_0_t0,
                            _mm_maddubs_epi16(fields0, activations3),
                        );
                        let activations3 = _mm_set1_epi32(
                            at_t1.add(12).cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t1 = _mm_adds_epi16(
                            sum0_0_t1,
                            _mm_maddubs_epi16(fields0, activations3),
                        );
                        weights = weights.add(16);
                        at_t0 = at_t0.add(16);
                        at_t1 = at_t1.add(16);
                    }
                    wide0_t0 = _mm_add_epi32(
                        wide0_t0,
                        _mm_madd_epi16(sum0_0_t0, _mm_set1_epi16(1)),
                    );
                    wide0_t1 = _mm_add_epi32(
                        wide0_t1,
                        _mm_madd_epi16(sum0_0_t1, _mm_set1_epi16(1)),
                    );
                }
                _mm_storeu_si128(
                    out_t0.cast(),
                    _mm_add_epi32(
                        _mm_add_epi32(wide0_t0, total_t0),
                        _mm_loadu_si128(out_t0.cast()),
                    ),
                );
                _mm_storeu_si128(
                    out_t1.cast(),
                    _mm_add_epi32(
                        _mm_add_epi32(wide0_t1, total_t1),
                        _mm_loadu_si128(out_t1.cast()),
                    ),
                );
                out_t0 = out_t0.add(16);
                out_t1 = out_t1.add(16);
            }
        }
        // Tokens that fill no batch follow one by one.
        gemv_mad_b2__ssse3_classic_p1k12w12(
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
#[target_feature(enable = "ssse3")]
pub unsafe fn build_b2__ssse3(args: &BuildArgs) {
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
