/// `gemv_mad_b2__avxvnni_classic_p1k12`: two-bit multiply-add, classic on avxvnni.
///
/// Packing `b2_l8_p1_k12`: 8 rows x 16 columns in 32 bytes a step and panel, 2.000 bits a weight.
/// 8 of 16 vector registers. Sums are `i32` throughout. Steps in a K block: 12 (bound 32767). Adds the `i32` sum of each row to `out`.
/// Emitted by `codegen/src/skeleton/mad.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "avx2,avxvnni")]
pub unsafe fn gemv_mad_b2__avxvnni_classic_p1k12(args: &GemvArgs) {
    let GemvArgs { tokens, count, steps, prefetch, .. } = *args;
    // SAFETY: by the contract of `GemvArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        for token in core::slice::from_raw_parts(tokens, count) {
            let Token { operand, out, correction } = *token;
            let total = _mm256_set1_epi32(correction);
            let mut weights = args.weights;
            let mut out = out.cast::<u8>();
            for _ in 0..args.strips {
                let mut sum0_0 = _mm256_setzero_si256();
                let mut at = operand;
                for _ in 0..steps {
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
                    sum0_0 = _mm256_dpbusd_avx_epi32(
                        sum0_0,
                        _mm256_and_si256(codes, _mm256_set1_epi8(3)),
                        activations0,
                    );
                    sum0_0 = _mm256_dpbusd_avx_epi32(
                        sum0_0,
                        _mm256_and_si256(
                            _mm256_srli_epi16::<2>(codes),
                            _mm256_set1_epi8(3),
                        ),
                        activations1,
                    );
                    sum0_0 = _mm256_dpbusd_avx_epi32(
                        sum0_0,
                        _mm256_and_si256(
                            _mm256_srli_epi16::<4>(codes),
                            _mm256_set1_epi8(3),
                        ),
                        activations2,
                    );
                    sum0_0 = _mm256_dpbusd_avx_epi32(
                        sum0_0,
                        _mm256_and_si256(
                            _mm256_srli_epi16::<6>(codes),
                            _mm256_set1_epi8(3),
                        ),
                        activations3,
                    );
                    weights = weights.add(32);
                    at = at.add(16);
                }
                _mm256_storeu_si256(
                    out.cast(),
                    _mm256_add_epi32(
                        _mm256_add_epi32(sum0_0, total),
                        _mm256_loadu_si256(out.cast()),
                    ),
                );
                out = out.add(32);
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
#[target_feature(enable = "avx2,avxvnni")]
pub unsafe fn build_b2__avxvnni(args: &BuildArgs) {
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
