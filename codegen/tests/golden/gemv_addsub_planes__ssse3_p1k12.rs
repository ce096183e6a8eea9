/// `gemv_addsub_planes__ssse3_p1k12`: masked additions and subtractions on ssse3.
///
/// Packing `planes_l16_p1_k12`: 16 rows x 8 columns in 32 bytes a step and panel, 2.000 bits a weight.
/// 7 of 16 vector registers. Steps before narrow sums are widened: 1 (bound 1). Steps in a K block: 12 (bound 257). Adds the `i32` sum of each row to `out`.
/// Emitted by `codegen/src/skeleton/addsub.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "ssse3")]
pub unsafe fn gemv_addsub_planes__ssse3_p1k12(args: &GemvArgs) {
    let GemvArgs { tokens, count, steps, prefetch, .. } = *args;
    // SAFETY: by the contract of `GemvArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        for token in core::slice::from_raw_parts(tokens, count) {
            let Token { operand, out, .. } = *token;
            let mut weights = args.weights;
            let mut out = out.cast::<u8>();
            for _ in 0..args.strips {
                let mut low_words0 = _mm_setzero_si128();
                let mut low_odd0 = _mm_setzero_si128();
                let mut high_words0 = _mm_setzero_si128();
                let mut high_odd0 = _mm_setzero_si128();
                let mut at = operand;
                for _ in 0..steps {
                    let mut low0 = _mm_set1_epi8(-128);
                    let mut high0 = _mm_set1_epi8(-128);
                    let ahead = weights.wrapping_add(prefetch);
                    _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                    let mut plus0 = _mm_loadu_si128(weights.cast());
                    let mut minus0 = _mm_loadu_si128(weights.add(16).cast());
                    let (low_digit0, high_digit0) = (
                        _mm_set1_epi32(at.cast::<i32>().read_unaligned()),
                        _mm_set1_epi32(at.add(4).cast::<i32>().read_unaligned()),
                    );
                    let condition = _mm_cmpgt_epi8(_mm_setzero_si128(), plus0);
                    low0 = _mm_add_epi8(low0, _mm_and_si128(condition, low_digit0));
                    high0 = _mm_add_epi8(high0, _mm_and_si128(condition, high_digit0));
                    plus0 = _mm_slli_epi16::<1>(plus0);
                    let condition = _mm_cmpgt_epi8(_mm_setzero_si128(), minus0);
                    low0 = _mm_sub_epi8(low0, _mm_and_si128(condition, low_digit0));
                    high0 = _mm_sub_epi8(high0, _mm_and_si128(condition, high_digit0));
                    minus0 = _mm_slli_epi16::<1>(minus0);
                    let (low_digit0, high_digit0) = (
                        _mm_set1_epi32(at.add(8).cast::<i32>().read_unaligned()),
                        _mm_set1_epi32(at.add(12).cast::<i32>().read_unaligned()),
                    );
                    let condition = _mm_cmpgt_epi8(_mm_setzero_si128(), plus0);
                    low0 = _mm_add_epi8(low0, _mm_and_si128(condition, low_digit0));
                    high0 = _mm_add_epi8(high0, _mm_and_si128(condition, high_digit0));
                    plus0 = _mm_slli_epi16::<1>(plus0);
                    let condition = _mm_cmpgt_epi8(_mm_setzero_si128(), minus0);
                    low0 = _mm_sub_epi8(low0, _mm_and_si128(condition, low_digit0));
                    high0 = _mm_sub_epi8(high0, _mm_and_si128(condition, high_digit0));
                    minus0 = _mm_slli_epi16::<1>(minus0);
                    let (low_digit0, high_digit0) = (
                        _mm_set1_epi32(at.add(16).cast::<i32>().read_unaligned()),
                        _mm_set1_epi32(at.add(20).cast::<i32>().read_unaligned()),
                    );
                    let condition = _mm_cmpgt_epi8(_mm_setzero_si128(), plus0);
                    low0 = _mm_add_epi8(low0, _mm_and_si128(condition, low_digit0));
                    high0 = _mm_add_epi8(high0, _mm_and_si128(condition, high_digit0));
                    plus0 = _mm_slli_epi16::<1>(plus0);
                    let condition = _mm_cmpgt_epi8(_mm_setzero_si128(), minus0);
                    low0 = _mm_sub_epi8(low0, _mm_and_si128(condition, low_digit0));
                    high0 = _mm_sub_epi8(high0, _mm_and_si128(condition, high_digit0));
                    minus0 = _mm_slli_epi16::<1>(minus0);
                    let (low_digit0, high_digit0) = (
                        _mm_set1_epi32(at.add(24).cast::<i32>().read_unaligned()),
                        _mm_set1_epi32(at.add(28).cast::<i32>().read_unaligned()),
                    );
                    let condition = _mm_cmpgt_epi8(_mm_setzero_si128(), plus0);
                    low0 = _mm_add_epi8(low0, _mm_and_si128(condition, low_digit0));
                    high0 = _mm_add_epi8(high0, _mm_and_si128(condition, high_digit0));
                    plus0 = _mm_slli_epi16::<1>(plus0);
                    let condition = _mm_cmpgt_epi8(_mm_setzero_si128(), minus0);
                    low0 = _mm_sub_epi8(low0, _mm_and_si128(condition, low_digit0));
                    high0 = _mm_sub_epi8(high0, _mm_and_si128(condition, high_digit0));
                    minus0 = _mm_slli_epi16::<1>(minus0);
                    let (low_digit0, high_digit0) = (
                        _mm_set1_epi32(at.add(32).cast::<i32>().read_unaligned()),
                        _mm_set1_epi32(at.add(36).cast::<i32>().read_unaligned()),
                    );
                    let condition = _mm_cmpgt_epi8(_mm_setzero_si128(), plus0);
                    low0 = _mm_add_epi8(low0, _mm_and_si128(condition, low_digit0));
                    high0 = _mm_add_epi8(high0, _mm_and_si128(condition, high_digit0));
                    plus0 = _mm_slli_epi16::<1>(plus0);
                    let condition = _mm_cmpgt_epi8(_mm_setzero_si128(), minus0);
                    low0 = _mm_sub_epi8(low0, _mm_and_si128(condition, low_digit0));
                    high0 = _mm_sub_epi8(high0, _mm_and_si128(condition, high_digit0));
                    minus0 = _mm_slli_epi16::<1>(minus0);
                    let (low_digit0, high_digit0) = (
                        _mm_set1_epi32(at.add(40).cast::<i32>().read_unaligned()),
                        _mm_set1_epi32(at.add(44).cast::<i32>().read_unaligned()),
                    );
                    let condition = _mm_cmpgt_epi8(_mm_setzero_si128(), plus0);
                    low0 = _mm_add_epi8(low0, _mm_and_si128(condition, low_digit0));
                    high0 = _mm_add_epi8(high0, _mm_and_si128(condition, high_digit0));
                    plus0 = _mm_slli_epi16::<1>(plus0);
                    let condition = _mm_cmpgt_epi8(_mm_setzero_si128(), minus0);
                    low0 = _mm_sub_epi8(low0, _mm_and_si128(condition, low_digit0));
                    high0 = _mm_sub_epi8(high0, _mm_and_si128(condition, high_digit0));
                    minus0 = _mm_slli_epi16::<1>(minus0);
                    let (low_digit0, high_digit0) = (
                        _mm_set1_epi32(at.add(48).cast::<i32>().read_unaligned()),
                        _mm_set1_epi32(at.add(52).cast::<i32>().read_unaligned()),
                    );
                    let condition = _mm_cmpgt_epi8(_mm_setzero_si128(), plus0);
                    low0 = _mm_add_epi8(low0, _mm_and_si128(condition, low_digit0));
                    high0 = _mm_add_epi8(high0, _mm_and_si128(condition, high_digit0));
                    plus0 = _mm_slli_epi16::<1>(plus0);
                    let condition = _mm_cmpgt_epi8(_mm_setzero_si128(), minus0);
                    low0 = _mm_sub_epi8(low0, _mm_and_si128(condition, low_digit0));
                    high0 = _mm_sub_epi8(high0, _mm_and_si128(condition, high_digit0));
                    minus0 = _mm_slli_epi16::<1>(minus0);
                    let (low_digit0, high_digit0) = (
                        _mm_set1_epi32(at.add(56).cast::<i32>().read_unaligned()),
                        _mm_set1_epi32(at.add(60).cast::<i32>().read_unaligned()),
                    );
                    let condition = _mm_cmpgt_epi8(_mm_setzero_si128(), plus0);
                    low0 = _mm_add_epi8(low0, _mm_and_si128(condition, low_digit0));
                    high0 = _mm_add_epi8(high0, _mm_and_si128(condition, high_digit0));
                    let condition = _mm_cmpgt_epi8(_mm_setzero_si128(), minus0);
                    low0 = _mm_sub_epi8(low0, _mm_and_si128(condition, low_digit0));
                    high0 = _mm_sub_epi8(high0, _mm_and_si128(condition, high_digit0));
                    weights = weights.add(32);
                    at = at.add(64);
                    low_words0 = _mm_add_epi16(low_words0, low0);
                    low_odd0 = _mm_add_epi16(low_odd0, _mm_srli_epi16::<8>(low0));
                    high_words0 = _mm_add_epi16(high_words0, high0);
                    high_odd0 = _mm_add_epi16(high_odd0, _mm_srli_epi16::<8>(high0));
                }
                let (radix, total, first, second) = (
                    _mm_set1_epi16(16),
                    _mm_set1_epi16((-2176 * steps.div_ceil(1) as i32) as i16),
                    _mm_set1_epi32(1),
                    _mm_set1_epi32(1 << 16),
                );
                let (both, odd) = (
                    _mm_add_epi16(low_words0, _mm_mullo_epi16(high_words0, radix)),
                    _mm_add_epi16(low_odd0, _mm_mullo_epi16(high_odd0, radix)),
                );
                let (even, odd) = (
                    _mm_add_epi16(_mm_sub_epi16(both, _mm_slli_epi16::<8>(odd)), total),
                    _mm_add_epi16(odd, total),
                );
                _mm_storeu_si128(
                    out.cast(),
                    _mm_add_epi32(
                        _mm_madd_epi16(even, first),
                        _mm_loadu_si128(out.cast()),
                    ),
                );
                _mm_storeu_si128(
                    out.add(16).cast(),
                    _mm_add_epi32(
                        _mm_madd_epi16(odd, first),
                        _mm_loadu_si128(out.add(16).cast()),
                    ),
                );
                _mm_storeu_si128(
                    out.add(32).cast(),
                    _mm_add_epi32(
                        _mm_madd_epi16(even, second),
                        _mm_loadu_si128(out.add(32).cast()),
                    ),
                );
                _mm_storeu_si128(
                    out.add(48).cast(),
                    _mm_add_epi32(
                        _mm_madd_epi16(odd, second),
                        _mm_loadu_si128(out.add(48).cast()),
                    ),
                );
                out = out.add(64);
            }
        }
    }
}

/// Prepares activations for the kernels of packing `planes_l16_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "ssse3")]
pub unsafe fn build_planes__ssse3(args: &BuildArgs) {
    // SAFETY: by the contract of `BuildArgs`, which gives both ranges, apart from each other.
    let (activations, operand) = unsafe {
        (
            core::slice::from_raw_parts(args.activations.cast::<i8>(), args.steps * 8),
            core::slice::from_raw_parts_mut(args.operand, args.steps * 64),
        )
    };
    for (step, out) in activations.chunks_exact(8).zip(operand.chunks_exact_mut(64)) {
        for (&a, out) in step.iter().zip(out.chunks_exact_mut(8)) {
            let high = (i16::from(a) + 8) >> 4;
            let low = i16::from(a) - 16 * high;
            out[..4].fill(low as u8);
            out[4..].fill(high as u8);
        }
    }
}
