/// `gemv_mad_b2_groups__avx2_shiftfree_p1k12w6n2`: two-bit multiply-add, shiftfree on avx2.
///
/// Packing `b2_l8_p1_k12`: 8 rows x 16 columns in 32 bytes a step and panel, 2.000 bits a weight.
/// 10 of 16 vector registers. Steps before narrow sums are widened: 6 (bound 8). Steps in a K block: 12 (bound 32767). Adds each row's sum times its scale, as `f32`, to `out`. Reads the weights once for 2 tokens.
/// Emitted by `codegen/src/skeleton/mad.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "avx2")]
pub unsafe fn gemv_mad_b2_groups__avx2_shiftfree_p1k12w6n2(args: &GemvArgs) {
    let GemvArgs { tokens, count, steps, prefetch, .. } = *args;
    // SAFETY: by the contract of `GemvArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        let (batches, rest) = core::slice::from_raw_parts(tokens, count)
            .as_chunks::<2>();
        for [t0, t1] in batches {
            let Token { operand: operand_t0, out: out_t0, correction: correction_t0 } = *t0;
            let Token { operand: operand_t1, out: out_t1, correction: correction_t1 } = *t1;
            let total_t0 = _mm256_set1_epi32(correction_t0);
            let total_t1 = _mm256_set1_epi32(correction_t1);
            let mut weights = args.weights;
            let mut out_t0 = out_t0.cast::<u8>();
            let mut out_t1 = out_t1.cast::<u8>();
            let mut scales = args.scales.cast::<u8>();
            for _ in 0..args.strips {
                let mut wide0_t0 = _mm256_setzero_si256();
                let mut wide0_t1 = _mm256_setzero_si256();
                let mut at_t0 = operand_t0;
                let mut at_t1 = operand_t1;
                let mut left = steps;
                while left >= 6 {
                    let mut sum0_0_t0 = _mm256_setzero_si256();
                    let mut sum0_1_t0 = _mm256_setzero_si256();
                    let mut sum0_0_t1 = _mm256_setzero_si256();
                    let mut sum0_1_t1 = _mm256_setzero_si256();
                    for _ in 0..6 {
                        let ahead = weights.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        let codes0 = _mm256_loadu_si256(weights.cast());
                        let fields0 = _mm256_and_si256(codes0, _mm256_set1_epi8(3));
                        let activations0 = _mm256_set1_epi32(
                            at_t0.cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t0 = _mm256_adds_epi16(
                            sum0_0_t0,
                            _mm256_maddubs_epi16(fields0, activations0),
                        );
                        let activations0 = _mm256_set1_epi32(
                            at_t1.cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t1 = _mm256_adds_epi16(
                            sum0_0_t1,
                            _mm256_maddubs_epi16(fields0, activations0),
                        );
                        let fields0 = _mm256_and_si256(codes0, _mm256_set1_epi8(12));
                        let activations1 = _mm256_set1_epi32(
                            at_t0.add(4).cast::<i32>().read_unaligned(),
                        );
                        sum0_1_t0 = _mm256_adds_epi16(
                            sum0_1_t0,
                            _mm256_maddubs_epi16(fields0, activations1),
                        );
                        let activations1 = _mm256_set1_epi32(
                            at_t1.add(4).cast::<i32>().read_unaligned(),
                        );
                        sum0_1_t1 = _mm256_adds_epi16(
                            sum0_1_t1,
                            _mm256_maddubs_epi16(fields0, activations1),
                        );
                        let fields0 = _mm256_and_si256(
                            _mm256_srli_epi16::<4>(codes0),
                            _mm256_set1_epi8(3),
                        );
                        let activations2 = _mm256_set1_epi32(
                            at_t0.add(8).cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t0 = _mm256_adds_epi16(
                            sum0_0_t0,
                            _mm256_maddubs_epi16(fields0, activations2),
                        );
                        let activations2 = _mm256_set1_epi32(
                            at_t1.add(8).cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t1 = _mm256_adds_epi16(
                            sum0_0_t1,
                            _mm256_maddubs_epi16(fields0, activations2),
                        );
                        let fields0 = _mm256_and_si256(
                            _mm256_srli_epi16::<4>(codes0),
                            _mm256_set1_epi8(12),
                        );
                        let activations3 = _mm256_set1_epi32(
                            at_t0.add(12).cast::<i32>().read_unaligned(),
                        );
                        sum0_1_t0 = _mm256_adds_epi16(
                            sum0_1_t0,
                            _mm256_maddubs_epi16(fields0, activations3),
                        );
                        let activations3 = _mm256_set1_epi32(
                            at_t1.add(12).cast::<i32>().read_unaligned(),
                        );
                        sum0_1_t1 = _mm256_adds_epi16(
                            sum0_1_t1,
                            _mm256_maddubs_epi16(fields0, activations3),
                        );
                        weights = weights.add(32);
                        at_t0 = at_t0.add(16);
                        at_t1 = at_t1.add(16);
                    }
                    wide0_t0 = _mm256_add_epi32(
                        wide0_t0,
                        _mm256_madd_epi16(sum0_0_t0, _mm256_set1_epi16(4)),
                    );
                    wide0_t0 = _mm256_add_epi32(
                        wide0_t0,
                        _mm256_madd_epi16(sum0_1_t0, _mm256_set1_epi16(1)),
                    );
                    wide0_t1 = _mm256_add_epi32(
                        wide0_t1,
                        _mm256_madd_epi16(sum0_0_t1, _mm256_set1_epi16(4)),
                    );
                    wide0_t1 = _mm256_add_epi32(
                        wide0_t1,
                        _mm256_madd_epi16(sum0_1_t1, _mm256_set1_epi16(1)),
                    );
                    left -= 6;
                }
                if left > 0 {
                    let mut sum0_0_t0 = _mm256_setzero_si256();
                    let mut sum0_1_t0 = _mm256_setzero_si256();
                    let mut sum0_0_t1 = _mm256_setzero_si256();
                    let mut sum0_1_t1 = _mm256_setzero_si256();
                    for _ in 0..left {
                        let ahead = weights.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        let codes0 = _mm256_loadu_si256(weights.cast());
                        let fields0 = _mm256_and_si256(codes0, _mm256_set1_epi8(3));
                        let activations0 = _mm256_set1_epi32(
                            at_t0.cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t0 = _mm256_adds_epi16(
                            sum0_0_t0,
                            _mm256_maddubs_epi16(fields0, activations0),
                        );
                        let activations0 = _mm256_set1_epi32(
                            at_t1.cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t1 = _mm256_adds_epi16(
                            sum0_0_t1,
                            _mm256_maddubs_epi16(fields0, activations0),
                        );
                        let fields0 = _mm256_and_si256(codes0, _mm256_set1_epi8(12));
                        let activations1 = _mm256_set1_epi32(
                            at_t0.add(4).cast::<i32>().read_unaligned(),
                        );
                        sum0_1_t0 = _mm256_adds_epi16(
                            sum0_1_t0,
                            _mm256_maddubs_epi16(fields0, activations1),
                        );
                        let activations1 = _mm256_set1_epi32(
                            at_t1.add(4).cast::<i32>().read_unaligned(),
                        );
                        sum0_1_t1 = _mm256_adds_epi16(
                            sum0_1_t1,
                            _mm256_maddubs_epi16(fields0, activations1),
                        );
                        let fields0 = _mm256_and_si256(
                            _mm256_srli_epi16::<4>(codes0),
                            _mm256_set1_epi8(3),
                        );
                        let activations2 = _mm256_set1_epi32(
                            at_t0.add(8).cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t0 = _mm256_adds_epi16(
                            sum0_0_t0,
                            _mm256_maddubs_epi16(fields0, activations2),
                        );
                        let activations2 = _mm256_set1_epi32(
                            at_t1.add(8).cast::<i32>().read_unaligned(),
                        );
                        sum0_0_t1 = _mm256_adds_epi16(
                            sum0_0_t1,
                            _mm256_maddubs_epi16(fields0, activations2),
                        );
                        let fields0 = _mm256_and_si256(
                            _mm256_srli_epi16::<4>(codes0),
                            _mm256_set1_epi8(12),
                        );
                        let activations3 = _mm256_set1_epi32(
                            at_t0.add(12).cast::<i32>().read_unaligned(),
                        );
                        sum0_1_t0 = _mm256_adds_epi16(
                            sum0_1_t0,
                            _mm256_maddubs_epi16(fields0, activations3),
                        );
                        let activations3 = _mm256_set1_epi32(
                            at_t1.add(12).cast::<i32>().read_unaligned(),
                        );
                        sum0_1_t1 = _mm256_adds_epi16(
                            sum0_1_t1,
                            _mm256_maddubs_epi16(fields0, activations3),
                        );
                        weights = weights.add(32);
                        at_t0 = at_t0.add(16);
                        at_t1 = at_t1.add(16);
                    }
                    wide0_t0 = _mm256_add_epi32(
                        wide0_t0,
                        _mm256_madd_epi16(sum0_0_t0, _mm256_set1_epi16(4)),
                    );
                    wide0_t0 = _mm256_add_epi32(
                        wide0_t0,
                        _mm256_madd_epi16(sum0_1_t0, _mm256_set1_epi16(1)),
                    );
                    wide0_t1 = _mm256_add_epi32(
                        wide0_t1,
                        _mm256_madd_epi16(sum0_0_t1, _mm256_set1_epi16(4)),
                    );
                    wide0_t1 = _mm256_add_epi32(
                        wide0_t1,
                        _mm256_madd_epi16(sum0_1_t1, _mm256_set1_epi16(1)),
                    );
                }
                _mm256_storeu_si256(
                    out_t0.cast(),
                    _mm256_castps_si256(
                        _mm256_add_ps(
                            _mm256_castsi256_ps(_mm256_loadu_si256(out_t0.cast())),
                            _mm256_mul_ps(
                                _mm256_cvtepi32_ps(
                                    _mm256_add_epi32(_mm256_srai_epi32::<2>(wide0_t0), total_t0),
                                ),
                                _mm256_castsi256_ps(_mm256_loadu_si256(scales.cast())),
                            ),
                        ),
                    ),
                );
                _mm256_storeu_si256(
                    out_t1.cast(),
                    _mm256_castps_si256(
                        _mm256_add_ps(
                            _mm256_castsi256_ps(_mm256_loadu_si256(out_t1.cast())),
                            _mm256_mul_ps(
                                _mm256_cvtepi32_ps(
                                    _mm256_add_epi32(_mm256_srai_epi32::<2>(wide0_t1), total_t1),
                                ),
                                _mm256_castsi256_ps(_mm256_loadu_si256(scales.cast())),
                            ),
                        ),
                    ),
                );
                out_t0 = out_t0.add(32);
                out_t1 = out_t1.add(32);
                scales = scales.add(32);
            }
        }
        // Tokens that fill no batch follow one by one.
        gemv_mad_b2_groups__avx2_shiftfree_p1k12w6(
            &GemvArgs {
                tokens: rest.as_ptr(),
                count: rest.len(),
                ..*args
            },
        );
    }
}

/// Prepares activations for the kernels of packing `b2_l8_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "avx2")]
pub unsafe fn build_b2__avx2(args: &BuildArgs) {
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
