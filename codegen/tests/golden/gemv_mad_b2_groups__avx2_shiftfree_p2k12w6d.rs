/// `gemv_mad_b2_groups__avx2_shiftfree_p2k12w6d`: two-bit multiply-add, shiftfree on avx2.
///
/// Packing `b2_l8_p1_k12`: 8 rows x 16 columns in 32 bytes a step and panel, 2.000 bits a weight.
/// 12 of 16 vector registers. Steps before narrow sums are widened: 6 (bound 8). Steps in a K block: 12 (bound 32767). Adds each row's sum times its scale, as `f32`, to `out`.
/// Emitted by `codegen/src/skeleton/mad.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "avx2")]
pub unsafe fn gemv_mad_b2_groups__avx2_shiftfree_p2k12w6d(args: &GemvArgs) {
    let GemvArgs { tokens, count, steps, prefetch, .. } = *args;
    // SAFETY: by the contract of `GemvArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        for token in core::slice::from_raw_parts(tokens, count) {
            let Token { operand, out, correction } = *token;
            let total = _mm256_set1_epi32(correction);
            let mut weights = args.weights;
            // The panels of a strip lie far apart, so that each is a stream of its own.
            let stream_bytes = args.strips * steps * 32;
            let row_stride = args.strips * 32;
            let mut weights1 = weights.add(stream_bytes);
            let mut out = out.cast::<u8>();
            let mut scales = args.scales.cast::<u8>();
            for _ in 0..args.strips {
                let mut wide0 = _mm256_setzero_si256();
                let mut wide1 = _mm256_setzero_si256();
                let mut at = operand;
                let mut left = steps;
                while left >= 6 {
                    let mut sum0_0 = _mm256_setzero_si256();
                    let mut sum0_1 = _mm256_setzero_si256();
                    let mut sum1_0 = _mm256_setzero_si256();
                    let mut sum1_1 = _mm256_setzero_si256();
                    for _ in 0..6 {
                        let ahead = weights.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        let ahead = weights1.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        let activations0 = _mm256_set1_epi32(
                            at.cast::<i32>().read_unaligned(),
                        );
                        let activations1 = _mm256_set1_epi32(
                            at.add(4).cast::<i32>().read_unaligned(),
                        );
                        let activations2 = _mm256_set1_epi32(
                            at.add(8).cast::<i32>().read_unaligned(),
                        );
                        let activations3 = _mm256_set1_epi32(
                            at.add(12).cast::<i32>().read_unaligned(),
                        );
                        let codes = _mm256_loadu_si256(weights.cast());
                        sum0_0 = _mm256_add_epi16(
                            sum0_0,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(codes, _mm256_set1_epi8(3)),
                                activations0,
                            ),
                        );
                        sum0_1 = _mm256_add_epi16(
                            sum0_1,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(codes, _mm256_set1_epi8(12)),
                                activations1,
                            ),
                        );
                        sum0_0 = _mm256_add_epi16(
                            sum0_0,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(
                                    _mm256_srli_epi16::<4>(codes),
                                    _mm256_set1_epi8(3),
                                ),
                                activations2,
                            ),
                        );
                        sum0_1 = _mm256_add_epi16(
                            sum0_1,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(
                                    _mm256_srli_epi16::<4>(codes),
                                    _mm256_set1_epi8(12),
                                ),
                                activations3,
                            ),
                        );
                        let codes = _mm256_loadu_si256(weights1.cast());
                        sum1_0 = _mm256_add_epi16(
                            sum1_0,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(codes, _mm256_set1_epi8(3)),
                                activations0,
                            ),
                        );
                        sum1_1 = _mm256_add_epi16(
                            sum1_1,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(codes, _mm256_set1_epi8(12)),
                                activations1,
                            ),
                        );
                        sum1_0 = _mm256_add_epi16(
                            sum1_0,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(
                                    _mm256_srli_epi16::<4>(codes),
                                    _mm256_set1_epi8(3),
                                ),
                                activations2,
                            ),
                        );
                        sum1_1 = _mm256_add_epi16(
                            sum1_1,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(
                                    _mm256_srli_epi16::<4>(codes),
                                    _mm256_set1_epi8(12),
                                ),
                                activations3,
                            ),
                        );
                        weights = weights.add(32);
                        weights1 = weights1.add(32);
                        at = at.add(16);
                    }
                    wide0 = _mm256_add_epi32(
                        wide0,
                        _mm256_madd_epi16(sum0_0, _mm256_set1_epi16(4)),
                    );
                    wide0 = _mm256_add_epi32(
                        wide0,
                        _mm256_madd_epi16(sum0_1, _mm256_set1_epi16(1)),
                    );
                    wide1 = _mm256_add_epi32(
                        wide1,
                        _mm256_madd_epi16(sum1_0, _mm256_set1_epi16(4)),
                    );
                    wide1 = _mm256_add_epi32(
                        wide1,
                        _mm256_madd_epi16(sum1_1, _mm256_set1_epi16(1)),
                    );
                    left -= 6;
                }
                if left > 0 {
                    let mut sum0_0 = _mm256_setzero_si256();
                    let mut sum0_1 = _mm256_setzero_si256();
                    let mut sum1_0 = _mm256_setzero_si256();
                    let mut sum1_1 = _mm256_setzero_si256();
                    for _ in 0..left {
                        let ahead = weights.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        let ahead = weights1.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        let activations0 = _mm256_set1_epi32(
                            at.cast::<i32>().read_unaligned(),
                        );
                        let activations1 = _mm256_set1_epi32(
                            at.add(4).cast::<i32>().read_unaligned(),
                        );
                        let activations2 = _mm256_set1_epi32(
                            at.add(8).cast::<i32>().read_unaligned(),
                        );
                        let activations3 = _mm256_set1_epi32(
                            at.add(12).cast::<i32>().read_unaligned(),
                        );
                        let codes = _mm256_loadu_si256(weights.cast());
                        sum0_0 = _mm256_add_epi16(
                            sum0_0,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(codes, _mm256_set1_epi8(3)),
                                activations0,
                            ),
                        );
                        sum0_1 = _mm256_add_epi16(
                            sum0_1,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(codes, _mm256_set1_epi8(12)),
                                activations1,
                            ),
                        );
                        sum0_0 = _mm256_add_epi16(
                            sum0_0,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(
                                    _mm256_srli_epi16::<4>(codes),
                                    _mm256_set1_epi8(3),
                                ),
                                activations2,
                            ),
                        );
                        sum0_1 = _mm256_add_epi16(
                            sum0_1,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(
                                    _mm256_srli_epi16::<4>(codes),
                                    _mm256_set1_epi8(12),
                                ),
                                activations3,
                            ),
                        );
                        let codes = _mm256_loadu_si256(weights1.cast());
                        sum1_0 = _mm256_add_epi16(
                            sum1_0,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(codes, _mm256_set1_epi8(3)),
                                activations0,
                            ),
                        );
                        sum1_1 = _mm256_add_epi16(
                            sum1_1,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(codes, _mm256_set1_epi8(12)),
                                activations1,
                            ),
                        );
                        sum1_0 = _mm256_add_epi16(
                            sum1_0,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(
                                    _mm256_srli_epi16::<4>(codes),
                                    _mm256_set1_epi8(3),
                                ),
                                activations2,
                            ),
                        );
                        sum1_1 = _mm256_add_epi16(
                            sum1_1,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(
                                    _mm256_srli_epi16::<4>(codes),
                                    _mm256_set1_epi8(12),
                                ),
                                activations3,
                            ),
                        );
                        weights = weights.add(32);
                        weights1 = weights1.add(32);
                        at = at.add(16);
                    }
                    wide0 = _mm256_add_epi32(
                        wide0,
                        _mm256_madd_epi16(sum0_0, _mm256_set1_epi16(4)),
                    );
                    wide0 = _mm256_add_epi32(
                        wide0,
                        _mm256_madd_epi16(sum0_1, _mm256_set1_epi16(1)),
                    );
                    wide1 = _mm256_add_epi32(
                        wide1,
                        _mm256_madd_epi16(sum1_0, _mm256_set1_epi16(4)),
                    );
                    wide1 = _mm256_add_epi32(
                        wide1,
                        _mm256_madd_epi16(sum1_1, _mm256_set1_epi16(1)),
                    );
                }
                _mm256_storeu_si256(
                    out.cast(),
                    _mm256_castps_si256(
                        _mm256_add_ps(
                            _mm256_castsi256_ps(_mm256_loadu_si256(out.cast())),
                            _mm256_mul_ps(
                                _mm256_cvtepi32_ps(
                                    _mm256_add_epi32(_mm256_srai_epi32::<2>(wide0), total),
                                ),
                                _mm256_castsi256_ps(_mm256_loadu_si256(scales.cast())),
                            ),
                        ),
                    ),
                );
                _mm256_storeu_si256(
                    out.add(row_stride).cast(),
                    _mm256_castps_si256(
                        _mm256_add_ps(
                            _mm256_castsi256_ps(
                                _mm256_loadu_si256(out.add(row_stride).cast()),
                            ),
                            _mm256_mul_ps(
                                _mm256_cvtepi32_ps(
                                    _mm256_add_epi32(_mm256_srai_epi32::<2>(wide1), total),
                                ),
                                _mm256_castsi256_ps(
                                    _mm256_loadu_si256(scales.add(row_stride).cast()),
                                ),
                            ),
                        ),
                    ),
                );
                out = out.add(32);
                scales = scales.add(32);
            }
            // Panels that fill no strip follow one by one.
            weights = weights1;
            out = out.add(row_stride);
            scales = scales.add(row_stride);
            for _ in 0..args.singles {
                let mut wide0 = _mm256_setzero_si256();
                let mut at = operand;
                let mut left = steps;
                while left >= 6 {
                    let mut sum0_0 = _mm256_setzero_si256();
                    let mut sum0_1 = _mm256_setzero_si256();
                    for _ in 0..6 {
                        let ahead = weights.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        let activations0 = _mm256_set1_epi32(
                            at.cast::<i32>().read_unaligned(),
                        );
                        let activations1 = _mm256_set1_epi32(
                            at.add(4).cast::<i32>().read_unaligned(),
                        );
                        let activations2 = _mm256_set1_epi32(
                            at.add(8).cast::<i32>().read_unaligned(),
                        );
                        let activations3 = _mm256_set1_epi32(
                            at.add(12).cast::<i32>().read_unaligned(),
                        );
                        let codes = _mm256_loadu_si256(weights.cast());
                        sum0_0 = _mm256_add_epi16(
                            sum0_0,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(codes, _mm256_set1_epi8(3)),
                                activations0,
                            ),
                        );
                        sum0_1 = _mm256_add_epi16(
                            sum0_1,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(codes, _mm256_set1_epi8(12)),
                                activations1,
                            ),
                        );
                        sum0_0 = _mm256_add_epi16(
                            sum0_0,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(
                                    _mm256_srli_epi16::<4>(codes),
                                    _mm256_set1_epi8(3),
                                ),
                                activations2,
                            ),
                        );
                        sum0_1 = _mm256_add_epi16(
                            sum0_1,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(
                                    _mm256_srli_epi16::<4>(codes),
                                    _mm256_set1_epi8(12),
                                ),
                                activations3,
                            ),
                        );
                        weights = weights.add(32);
                        at = at.add(16);
                    }
                    wide0 = _mm256_add_epi32(
                        wide0,
                        _mm256_madd_epi16(sum0_0, _mm256_set1_epi16(4)),
                    );
                    wide0 = _mm256_add_epi32(
                        wide0,
                        _mm256_madd_epi16(sum0_1, _mm256_set1_epi16(1)),
                    );
                    left -= 6;
                }
                if left > 0 {
                    let mut sum0_0 = _mm256_setzero_si256();
                    let mut sum0_1 = _mm256_setzero_si256();
                    for _ in 0..left {
                        let ahead = weights.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        let activations0 = _mm256_set1_epi32(
                            at.cast::<i32>().read_unaligned(),
                        );
                        let activations1 = _mm256_set1_epi32(
                            at.add(4).cast::<i32>().read_unaligned(),
                        );
                        let activations2 = _mm256_set1_epi32(
                            at.add(8).cast::<i32>().read_unaligned(),
                        );
                        let activations3 = _mm256_set1_epi32(
                            at.add(12).cast::<i32>().read_unaligned(),
                        );
                        let codes = _mm256_loadu_si256(weights.cast());
                        sum0_0 = _mm256_add_epi16(
                            sum0_0,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(codes, _mm256_set1_epi8(3)),
                                activations0,
                            ),
                        );
                        sum0_1 = _mm256_add_epi16(
                            sum0_1,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(codes, _mm256_set1_epi8(12)),
                                activations1,
                            ),
                        );
                        sum0_0 = _mm256_add_epi16(
                            sum0_0,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(
                                    _mm256_srli_epi16::<4>(codes),
                                    _mm256_set1_epi8(3),
                                ),
                                activations2,
                            ),
                        );
                        sum0_1 = _mm256_add_epi16(
                            sum0_1,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(
                                    _mm256_srli_epi16::<4>(codes),
                                    _mm256_set1_epi8(12),
                                ),
                                activations3,
                            ),
                        );
                        weights = weights.add(32);
                        at = at.add(16);
                    }
                    wide0 = _mm256_add_epi32(
                        wide0,
                        _mm256_madd_epi16(sum0_0, _mm256_set1_epi16(4)),
                    );
                    wide0 = _mm256_add_epi32(
                        wide0,
                        _mm256_madd_epi16(sum0_1, _mm256_set1_epi16(1)),
                    );
                }
                _mm256_storeu_si256(
                    out.cast(),
                    _mm256_castps_si256(
                        _mm256_add_ps(
                            _mm256_castsi256_ps(_mm256_loadu_si256(out.cast())),
                            _mm256_mul_ps(
                                _mm256_cvtepi32_ps(
                                    _mm256_add_epi32(_mm256_srai_epi32::<2>(wide0), total),
                                ),
                                _mm256_castsi256_ps(_mm256_loadu_si256(scales.cast())),
                            ),
                        ),
                    ),
                );
                out = out.add(32);
                scales = scales.add(32);
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
