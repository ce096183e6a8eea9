/// `gemv_lut_p3__avx2_p1k12w6`: lookup of three trits, mirrored, its sums in byte planes on avx2.
///
/// Packing `p3_l32_p1_k12`: 32 rows x 24 columns in 160 bytes a step and panel, 1.667 bits a weight.
/// 10 of 16 vector registers. Steps before narrow sums are widened: 6 (bound 8). Steps in a K block: 12 (bound 32). Adds the `i32` sum of each row to `out`.
/// Emitted by `codegen/src/skeleton/lut.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "avx2")]
pub unsafe fn gemv_lut_p3__avx2_p1k12w6(args: &GemvArgs) {
    let GemvArgs { tokens, count, steps, prefetch, .. } = *args;
    // SAFETY: by the contract of `GemvArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        for token in core::slice::from_raw_parts(tokens, count) {
            let Token { operand, out, .. } = *token;
            let mut weights = args.weights;
            let mut out = out.cast::<u8>();
            for _ in 0..args.strips {
                let mut low_words0 = _mm256_setzero_si256();
                let mut low_odd0 = _mm256_setzero_si256();
                let mut high_words0 = _mm256_setzero_si256();
                let mut high_odd0 = _mm256_setzero_si256();
                let mut at = operand;
                let mut left = steps;
                while left >= 6 {
                    let mut high0 = _mm256_set1_epi8(-128);
                    for _ in 0..6 {
                        let ahead = weights.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(64).cast());
                        _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(128).cast());
                        let nibble = _mm256_set1_epi8(15);
                        let mut signs0 = _mm256_loadu_si256(weights.add(128).cast());
                        let (low_table, high_table) = (
                            _mm256_broadcastsi128_si256(_mm_loadu_si128(at.cast())),
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(16).cast()),
                            ),
                        );
                        let pair0 = _mm256_loadu_si256(weights.cast());
                        let codes = _mm256_and_si256(pair0, nibble);
                        let sign = _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs0);
                        let found = _mm256_xor_si256(
                            _mm256_shuffle_epi8(low_table, codes),
                            sign,
                        );
                        low_words0 = _mm256_add_epi16(low_words0, found);
                        low_odd0 = _mm256_add_epi16(
                            low_odd0,
                            _mm256_srli_epi16::<8>(found),
                        );
                        high0 = _mm256_add_epi8(
                            high0,
                            _mm256_xor_si256(
                                _mm256_shuffle_epi8(high_table, codes),
                                sign,
                            ),
                        );
                        signs0 = _mm256_add_epi8(signs0, signs0);
                        let (low_table, high_table) = (
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(32).cast()),
                            ),
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(48).cast()),
                            ),
                        );
                        let codes = _mm256_and_si256(
                            _mm256_srli_epi16::<4>(pair0),
                            nibble,
                        );
                        let sign = _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs0);
                        let found = _mm256_xor_si256(
                            _mm256_shuffle_epi8(low_table, codes),
                            sign,
                        );
                        low_words0 = _mm256_add_epi16(low_words0, found);
                        low_odd0 = _mm256_add_epi16(
                            low_odd0,
                            _mm256_srli_epi16::<8>(found),
                        );
                        high0 = _mm256_add_epi8(
                            high0,
                            _mm256_xor_si256(
                                _mm256_shuffle_epi8(high_table, codes),
                                sign,
                            ),
                        );
                        signs0 = _mm256_add_epi8(signs0, signs0);
                        let (low_table, high_table) = (
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(64).cast()),
                            ),
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(80).cast()),
                            ),
                        );
                        let pair0 = _mm256_loadu_si256(weights.add(32).cast());
                        let codes = _mm256_and_si256(pair0, nibble);
                        let sign = _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs0);
                        let found = _mm256_xor_si256(
                            _mm256_shuffle_epi8(low_table, codes),
                            sign,
                        );
                        low_words0 = _mm256_add_epi16(low_words0, found);
                        low_odd0 = _mm256_add_epi16(
                            low_odd0,
                            _mm256_srli_epi16::<8>(found),
                        );
                        high0 = _mm256_add_epi8(
                            high0,
                            _mm256_xor_si256(
                                _mm256_shuffle_epi8(high_table, codes),
                                sign,
                            ),
                        );
                        signs0 = _mm256_add_epi8(signs0, signs0);
                        let (low_table, high_table) = (
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(96).cast()),
                            ),
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(112).cast()),
                            ),
                        );
                        let codes = _mm256_and_si256(
                            _mm256_srli_epi16::<4>(pair0),
                            nibble,
                        );
                        let sign = _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs0);
                        let found = _mm256_xor_si256(
                            _mm256_shuffle_epi8(low_table, codes),
                            sign,
                        );
                        low_words0 = _mm256_add_epi16(low_words0, found);
                        low_odd0 = _mm256_add_epi16(
                            low_odd0,
                            _mm256_srli_epi16::<8>(found),
                        );
                        high0 = _mm256_add_epi8(
                            high0,
                            _mm256_xor_si256(
                                _mm256_shuffle_epi8(high_table, codes),
                                sign,
                            ),
                        );
                        signs0 = _mm256_add_epi8(signs0, signs0);
                        let (low_table, high_table) = (
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(128).cast()),
                            ),
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(144).cast()),
                            ),
                        );
                        let pair0 = _mm256_loadu_si256(weights.add(64).cast());
                        let codes = _mm256_and_si256(pair0, nibble);
                        let sign = _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs0);
                        let found = _mm256_xor_si256(
                            _mm256_shuffle_epi8(low_table, codes),
                            sign,
                        );
                        low_words0 = _mm256_add_epi16(low_words0, found);
                        low_odd0 = _mm256_add_epi16(
                            low_odd0,
                            _mm256_srli_epi16::<8>(found),
                        );
                        high0 = _mm256_add_epi8(
                            high0,
                            _mm256_xor_si256(
                                _mm256_shuffle_epi8(high_table, codes),
                                sign,
                            ),
                        );
                        signs0 = _mm256_add_epi8(signs0, signs0);
                        let (low_table, high_table) = (
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(160).cast()),
                            ),
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(176).cast()),
                            ),
                        );
                        let codes = _mm256_and_si256(
                            _mm256_srli_epi16::<4>(pair0),
                            nibble,
                        );
                        let sign = _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs0);
                        let found = _mm256_xor_si256(
                            _mm256_shuffle_epi8(low_table, codes),
                            sign,
                        );
                        low_words0 = _mm256_add_epi16(low_words0, found);
                        low_odd0 = _mm256_add_epi16(
                            low_odd0,
                            _mm256_srli_epi16::<8>(found),
                        );
                        high0 = _mm256_add_epi8(
                            high0,
                            _mm256_xor_si256(
                                _mm256_shuffle_epi8(high_table, codes),
                                sign,
                            ),
                        );
                        signs0 = _mm256_add_epi8(signs0, signs0);
                        let (low_table, high_table) = (
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(192).cast()),
                            ),
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(208).cast()),
                            ),
                        );
                        let pair0 = _mm256_loadu_si256(weights.add(96).cast());
                        let codes = _mm256_and_si256(pair0, nibble);
                        let sign = _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs0);
                        let found = _mm256_xor_si256(
                            _mm256_shuffle_epi8(low_table, codes),
                            sign,
                        );
                        low_words0 = _mm256_add_epi16(low_words0, found);
                        low_odd0 = _mm256_add_epi16(
                            low_odd0,
                            _mm256_srli_epi16::<8>(found),
                        );
                        high0 = _mm256_add_epi8(
                            high0,
                            _mm256_xor_si256(
                                _mm256_shuffle_epi8(high_table, codes),
                                sign,
                            ),
                        );
                        signs0 = _mm256_add_epi8(signs0, signs0);
                        let (low_table, high_table) = (
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(224).cast()),
                            ),
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(240).cast()),
                            ),
                        );
                        let codes = _mm256_and_si256(
                            _mm256_srli_epi16::<4>(pair0),
                            nibble,
                        );
                        let sign = _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs0);
                        let found = _mm256_xor_si256(
                            _mm256_shuffle_epi8(low_table, codes),
                            sign,
                        );
                        low_words0 = _mm256_add_epi16(low_words0, found);
                        low_odd0 = _mm256_add_epi16(
                            low_odd0,
                            _mm256_srli_epi16::<8>(found),
                        );
                        high0 = _mm256_add_epi8(
                            high0,
                            _mm256_xor_si256(
                                _mm256_shuffle_epi8(high_table, codes),
                                sign,
                            ),
                        );
                        weights = weights.add(160);
                        at = at.add(256);
                    }
                    high_words0 = _mm256_add_epi16(high_words0, high0);
                    high_odd0 = _mm256_add_epi16(
                        high_odd0,
                        _mm256_srli_epi16::<8>(high0),
                    );
                    left -= 6;
                }
                if left > 0 {
                    let mut high0 = _mm256_set1_epi8(-128);
                    for _ in 0..left {
                        let ahead = weights.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(64).cast());
                        _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(128).cast());
                        let nibble = _mm256_set1_epi8(15);
                        let mut signs0 = _mm256_loadu_si256(weights.add(128).cast());
                        let (low_table, high_table) = (
                            _mm256_broadcastsi128_si256(_mm_loadu_si128(at.cast())),
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(16).cast()),
                            ),
                        );
                        let pair0 = _mm256_loadu_si256(weights.cast());
                        let codes = _mm256_and_si256(pair0, nibble);
                        let sign = _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs0);
                        let found = _mm256_xor_si256(
                            _mm256_shuffle_epi8(low_table, codes),
                            sign,
                        );
                        low_words0 = _mm256_add_epi16(low_words0, found);
                        low_odd0 = _mm256_add_epi16(
                            low_odd0,
                            _mm256_srli_epi16::<8>(found),
                        );
                        high0 = _mm256_add_epi8(
                            high0,
                            _mm256_xor_si256(
                                _mm256_shuffle_epi8(high_table, codes),
                                sign,
                            ),
                        );
                        signs0 = _mm256_add_epi8(signs0, signs0);
                        let (low_table, high_table) = (
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(32).cast()),
                            ),
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(48).cast()),
                            ),
                        );
                        let codes = _mm256_and_si256(
                            _mm256_srli_epi16::<4>(pair0),
                            nibble,
                        );
                        let sign = _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs0);
                        let found = _mm256_xor_si256(
                            _mm256_shuffle_epi8(low_table, codes),
                            sign,
                        );
                        low_words0 = _mm256_add_epi16(low_words0, found);
                        low_odd0 = _mm256_add_epi16(
                            low_odd0,
                            _mm256_srli_epi16::<8>(found),
                        );
                        high0 = _mm256_add_epi8(
                            high0,
                            _mm256_xor_si256(
                                _mm256_shuffle_epi8(high_table, codes),
                                sign,
                            ),
                        );
                        signs0 = _mm256_add_epi8(signs0, signs0);
                        let (low_table, high_table) = (
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(64).cast()),
                            ),
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(80).cast()),
                            ),
                        );
                        let pair0 = _mm256_loadu_si256(weights.add(32).cast());
                        let codes = _mm256_and_si256(pair0, nibble);
                        let sign = _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs0);
                        let found = _mm256_xor_si256(
                            _mm256_shuffle_epi8(low_table, codes),
                            sign,
                        );
                        low_words0 = _mm256_add_epi16(low_words0, found);
                        low_odd0 = _mm256_add_epi16(
                            low_odd0,
                            _mm256_srli_epi16::<8>(found),
                        );
                        high0 = _mm256_add_epi8(
                            high0,
                            _mm256_xor_si256(
                                _mm256_shuffle_epi8(high_table, codes),
                                sign,
                            ),
                        );
                        signs0 = _mm256_add_epi8(signs0, signs0);
                        let (low_table, high_table) = (
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(96).cast()),
                            ),
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(112).cast()),
                            ),
                        );
                        let codes = _mm256_and_si256(
                            _mm256_srli_epi16::<4>(pair0),
                            nibble,
                        );
                        let sign = _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs0);
                        let found = _mm256_xor_si256(
                            _mm256_shuffle_epi8(low_table, codes),
                            sign,
                        );
                        low_words0 = _mm256_add_epi16(low_words0, found);
                        low_odd0 = _mm256_add_epi16(
                            low_odd0,
                            _mm256_srli_epi16::<8>(found),
                        );
                        high0 = _mm256_add_epi8(
                            high0,
                            _mm256_xor_si256(
                                _mm256_shuffle_epi8(high_table, codes),
                                sign,
                            ),
                        );
                        signs0 = _mm256_add_epi8(signs0, signs0);
                        let (low_table, high_table) = (
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(128).cast()),
                            ),
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(144).cast()),
                            ),
                        );
                        let pair0 = _mm256_loadu_si256(weights.add(64).cast());
                        let codes = _mm256_and_si256(pair0, nibble);
                        let sign = _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs0);
                        let found = _mm256_xor_si256(
                            _mm256_shuffle_epi8(low_table, codes),
                            sign,
                        );
                        low_words0 = _mm256_add_epi16(low_words0, found);
                        low_odd0 = _mm256_add_epi16(
                            low_odd0,
                            _mm256_srli_epi16::<8>(found),
                        );
                        high0 = _mm256_add_epi8(
                            high0,
                            _mm256_xor_si256(
                                _mm256_shuffle_epi8(high_table, codes),
                                sign,
                            ),
                        );
                        signs0 = _mm256_add_epi8(signs0, signs0);
                        let (low_table, high_table) = (
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(160).cast()),
                            ),
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(176).cast()),
                            ),
                        );
                        let codes = _mm256_and_si256(
                            _mm256_srli_epi16::<4>(pair0),
                            nibble,
                        );
                        let sign = _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs0);
                        let found = _mm256_xor_si256(
                            _mm256_shuffle_epi8(low_table, codes),
                            sign,
                        );
                        low_words0 = _mm256_add_epi16(low_words0, found);
                        low_odd0 = _mm256_add_epi16(
                            low_odd0,
                            _mm256_srli_epi16::<8>(found),
                        );
                        high0 = _mm256_add_epi8(
                            high0,
                            _mm256_xor_si256(
                                _mm256_shuffle_epi8(high_table, codes),
                                sign,
                            ),
                        );
                        signs0 = _mm256_add_epi8(signs0, signs0);
                        let (low_table, high_table) = (
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(192).cast()),
                            ),
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(208).cast()),
                            ),
                        );
                        let pair0 = _mm256_loadu_si256(weights.add(96).cast());
                        let codes = _mm256_and_si256(pair0, nibble);
                        let sign = _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs0);
                        let found = _mm256_xor_si256(
                            _mm256_shuffle_epi8(low_table, codes),
                            sign,
                        );
                        low_words0 = _mm256_add_epi16(low_words0, found);
                        low_odd0 = _mm256_add_epi16(
                            low_odd0,
                            _mm256_srli_epi16::<8>(found),
                        );
                        high0 = _mm256_add_epi8(
                            high0,
                            _mm256_xor_si256(
                                _mm256_shuffle_epi8(high_table, codes),
                                sign,
                            ),
                        );
                        signs0 = _mm256_add_epi8(signs0, signs0);
                        let (low_table, high_table) = (
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(224).cast()),
                            ),
                            _mm256_broadcastsi128_si256(
                                _mm_loadu_si128(at.add(240).cast()),
                            ),
                        );
                        let codes = _mm256_and_si256(
                            _mm256_srli_epi16::<4>(pair0),
                            nibble,
                        );
                        let sign = _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs0);
                        let found = _mm256_xor_si256(
                            _mm256_shuffle_epi8(low_table, codes),
                            sign,
                        );
                        low_words0 = _mm256_add_epi16(low_words0, found);
                        low_odd0 = _mm256_add_epi16(
                            low_odd0,
                            _mm256_srli_epi16::<8>(found),
                        );
                        high0 = _mm256_add_epi8(
                            high0,
                            _mm256_xor_si256(
                                _mm256_shuffle_epi8(high_table, codes),
                                sign,
                            ),
                        );
                        weights = weights.add(160);
                        at = at.add(256);
                    }
                    high_words0 = _mm256_add_epi16(high_words0, high0);
                    high_odd0 = _mm256_add_epi16(
                        high_odd0,
                        _mm256_srli_epi16::<8>(high0),
                    );
                }
                let (radix, low16, total) = (
                    _mm256_set1_epi32(255),
                    _mm256_set1_epi32(65535),
                    _mm256_set1_epi32(-32640 * steps.div_ceil(6) as i32),
                );
                let low_even0 = _mm256_sub_epi16(
                    low_words0,
                    _mm256_slli_epi16::<8>(low_odd0),
                );
                let high_even0 = _mm256_sub_epi16(
                    high_words0,
                    _mm256_slli_epi16::<8>(high_odd0),
                );
                _mm256_storeu_si256(
                    out.cast(),
                    _mm256_add_epi32(
                        _mm256_add_epi32(
                            _mm256_add_epi32(
                                _mm256_and_si256(low_even0, low16),
                                _mm256_mullo_epi32(
                                    _mm256_and_si256(high_even0, low16),
                                    radix,
                                ),
                            ),
                            total,
                        ),
                        _mm256_loadu_si256(out.cast()),
                    ),
                );
                _mm256_storeu_si256(
                    out.add(32).cast(),
                    _mm256_add_epi32(
                        _mm256_add_epi32(
                            _mm256_add_epi32(
                                _mm256_and_si256(low_odd0, low16),
                                _mm256_mullo_epi32(
                                    _mm256_and_si256(high_odd0, low16),
                                    radix,
                                ),
                            ),
                            total,
                        ),
                        _mm256_loadu_si256(out.add(32).cast()),
                    ),
                );
                _mm256_storeu_si256(
                    out.add(64).cast(),
                    _mm256_add_epi32(
                        _mm256_add_epi32(
                            _mm256_add_epi32(
                                _mm256_srli_epi32::<16>(low_even0),
                                _mm256_mullo_epi32(
                                    _mm256_srli_epi32::<16>(high_even0),
                                    radix,
                                ),
                            ),
                            total,
                        ),
                        _mm256_loadu_si256(out.add(64).cast()),
                    ),
                );
                _mm256_storeu_si256(
                    out.add(96).cast(),
                    _mm256_add_epi32(
                        _mm256_add_epi32(
                            _mm256_add_epi32(
                                _mm256_srli_epi32::<16>(low_odd0),
                                _mm256_mullo_epi32(
                                    _mm256_srli_epi32::<16>(high_odd0),
                                    radix,
                                ),
                            ),
                            total,
                        ),
                        _mm256_loadu_si256(out.add(96).cast()),
                    ),
                );
                out = out.add(128);
            }
        }
    }
}

/// Prepares activations for the kernels of packing `p3_l32_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "avx2")]
pub unsafe fn build_p3__avx2(args: &BuildArgs) {
    // SAFETY: by the contract of `BuildArgs`, which gives both ranges, apart from each other.
    let (activations, operand) = unsafe {
        (
            core::slice::from_raw_parts(args.activations.cast::<i8>(), args.steps * 24),
            core::slice::from_raw_parts_mut(args.operand, args.steps * 256),
        )
    };
    for (step, out) in activations.chunks_exact(24).zip(operand.chunks_exact_mut(256)) {
        const TRITS: [[i16; 16]; 3] = {
            let (mut trits, mut n) = ([[0; 16]; 3], 0);
            while n < 14 {
                let (mut rest, mut place) = (n + 13, 0);
                while place < 3 {
                    trits[place][n] = (rest % 3) as i16 - 1;
                    rest /= 3;
                    place += 1;
                }
                n += 1;
            }
            trits
        };
        for (group, out) in step.chunks_exact(3).zip(out.chunks_exact_mut(32)) {
            let group = [i16::from(group[0]), i16::from(group[1]), i16::from(group[2])];
            let mut sums = [0; 16];
            for (&a, trits) in group.iter().zip(&TRITS) {
                for (sum, t) in sums.iter_mut().zip(trits) {
                    *sum += t * a;
                }
            }
            let (low, high) = out.split_at_mut(16);
            for ((sum, low), high) in sums.iter().zip(low).zip(high) {
                let digit = ((i32::from(*sum) * 257) >> 16) as i16;
                *high = digit as u8;
                *low = (*sum - 128 - 255 * digit) as u8 ^ 0x80;
            }
        }
    }
}
