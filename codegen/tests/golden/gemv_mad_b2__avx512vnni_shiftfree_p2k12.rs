/// `gemv_mad_b2__avx512vnni_shiftfree_p2k12`: two-bit multiply-add, shiftfree on avx512vnni.
///
/// Packing `b2_l16_p2_k12`: 16 rows x 16 columns in 64 bytes a step and panel, 2.000 bits a weight.
/// 18 of 32 vector registers. Sums are `i32` throughout. Steps in a K block: 12 (bound 32767). Adds the `i32` sum of each row to `out`.
/// Emitted by `codegen/src/skeleton/mad.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub unsafe fn gemv_mad_b2__avx512vnni_shiftfree_p2k12(args: &GemvArgs) {
    let GemvArgs { tokens, count, steps, prefetch, .. } = *args;
    // SAFETY: by the contract of `GemvArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        for token in core::slice::from_raw_parts(tokens, count) {
            let Token { operand, out, correction } = *token;
            let total = _mm512_set1_epi32(correction);
            let mut weights = args.weights;
            let mut out = out.cast::<u8>();
            for _ in 0..args.strips {
                let mut sum0_0 = _mm512_setzero_si512();
                let mut sum0_1 = _mm512_setzero_si512();
                let mut sum0_2 = _mm512_setzero_si512();
                let mut sum0_3 = _mm512_setzero_si512();
                let mut sum1_0 = _mm512_setzero_si512();
                let mut sum1_1 = _mm512_setzero_si512();
                let mut sum1_2 = _mm512_setzero_si512();
                let mut sum1_3 = _mm512_setzero_si512();
                let mut at = operand;
                for _ in 0..steps {
                    let ahead = weights.wrapping_add(prefetch);
                    _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                    _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(64).cast());
                    let activations0 = _mm512_set1_epi32(
                        at.cast::<i32>().read_unaligned(),
                    );
                    let activations1 = _mm512_set1_epi32(
                        at.add(4).cast::<i32>().read_unaligned(),
                    );
                    let activations2 = _mm512_set1_epi32(
                        at.add(8).cast::<i32>().read_unaligned(),
                    );
                    let activations3 = _mm512_set1_epi32(
                        at.add(12).cast::<i32>().read_unaligned(),
                    );
                    let codes = _mm512_loadu_si512(weights.cast());
                    sum0_0 = _mm512_dpbusd_epi32(
                        sum0_0,
                        _mm512_and_si512(codes, _mm512_set1_epi8(3)),
                        activations0,
                    );
                    sum0_1 = _mm512_dpbusd_epi32(
                        sum0_1,
                        _mm512_and_si512(codes, _mm512_set1_epi8(12)),
                        activations1,
                    );
                    sum0_2 = _mm512_dpbusd_epi32(
                        sum0_2,
                        _mm512_and_si512(codes, _mm512_set1_epi8(48)),
                        activations2,
                    );
                    sum0_3 = _mm512_dpbusd_epi32(
                        sum0_3,
                        _mm512_and_si512(codes, _mm512_set1_epi8(-64)),
                        activations3,
                    );
                    let codes = _mm512_loadu_si512(weights.add(64).cast());
                    sum1_0 = _mm512_dpbusd_epi32(
                        sum1_0,
                        _mm512_and_si512(codes, _mm512_set1_epi8(3)),
                        activations0,
                    );
                    sum1_1 = _mm512_dpbusd_epi32(
                        sum1_1,
                        _mm512_and_si512(codes, _mm512_set1_epi8(12)),
                        activations1,
                    );
                    sum1_2 = _mm512_dpbusd_epi32(
                        sum1_2,
                        _mm512_and_si512(codes, _mm512_set1_epi8(48)),
                        activations2,
                    );
                    sum1_3 = _mm512_dpbusd_epi32(
                        sum1_3,
                        _mm512_and_si512(codes, _mm512_set1_epi8(-64)),
                        activations3,
                    );
                    weights = weights.add(128);
                    at = at.add(16);
                }
                _mm512_storeu_si512(
                    out.cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(
                            _mm512_add_epi32(
                                _mm512_add_epi32(
                                    _mm512_add_epi32(sum0_0, _mm512_srai_epi32::<2>(sum0_1)),
                                    _mm512_srai_epi32::<4>(sum0_2),
                                ),
                                _mm512_srai_epi32::<6>(sum0_3),
                            ),
                            total,
                        ),
                        _mm512_loadu_si512(out.cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out.add(64).cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(
                            _mm512_add_epi32(
                                _mm512_add_epi32(
                                    _mm512_add_epi32(sum1_0, _mm512_srai_epi32::<2>(sum1_1)),
                                    _mm512_srai_epi32::<4>(sum1_2),
                                ),
                                _mm512_srai_epi32::<6>(sum1_3),
                            ),
                            total,
                        ),
                        _mm512_loadu_si512(out.add(64).cast()),
                    ),
                );
                out = out.add(128);
            }
            // Panels that fill no strip follow one by one.
            for _ in 0..args.singles {
                let mut sum0_0 = _mm512_setzero_si512();
                let mut sum0_1 = _mm512_setzero_si512();
                let mut sum0_2 = _mm512_setzero_si512();
                let mut sum0_3 = _mm512_setzero_si512();
                let mut at = operand;
                for _ in 0..steps {
                    let ahead = weights.wrapping_add(prefetch);
                    _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                    let activations0 = _mm512_set1_epi32(
                        at.cast::<i32>().read_unaligned(),
                    );
                    let activations1 = _mm512_set1_epi32(
                        at.add(4).cast::<i32>().read_unaligned(),
                    );
                    let activations2 = _mm512_set1_epi32(
                        at.add(8).cast::<i32>().read_unaligned(),
                    );
                    let activations3 = _mm512_set1_epi32(
                        at.add(12).cast::<i32>().read_unaligned(),
                    );
                    let codes = _mm512_loadu_si512(weights.cast());
                    sum0_0 = _mm512_dpbusd_epi32(
                        sum0_0,
                        _mm512_and_si512(codes, _mm512_set1_epi8(3)),
                        activations0,
                    );
                    sum0_1 = _mm512_dpbusd_epi32(
                        sum0_1,
                        _mm512_and_si512(codes, _mm512_set1_epi8(12)),
                        activations1,
                    );
                    sum0_2 = _mm512_dpbusd_epi32(
                        sum0_2,
                        _mm512_and_si512(codes, _mm512_set1_epi8(48)),
                        activations2,
                    );
                    sum0_3 = _mm512_dpbusd_epi32(
                        sum0_3,
                        _mm512_and_si512(codes, _mm512_set1_epi8(-64)),
                        activations3,
                    );
                    weights = weights.add(64);
                    at = at.add(16);
                }
                _mm512_storeu_si512(
                    out.cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(
                            _mm512_add_epi32(
                                _mm512_add_epi32(
                                    _mm512_add_epi32(sum0_0, _mm512_srai_epi32::<2>(sum0_1)),
                                    _mm512_srai_epi32::<4>(sum0_2),
                                ),
                                _mm512_srai_epi32::<6>(sum0_3),
                            ),
                            total,
                        ),
                        _mm512_loadu_si512(out.cast()),
                    ),
                );
                out = out.add(64);
            }
        }
    }
}

/// Prepares activations for the kernels of packing `b2_l16_p2_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub unsafe fn build_b2__avx512vnni(args: &BuildArgs) {
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
