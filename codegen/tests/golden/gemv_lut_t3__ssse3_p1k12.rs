/// `gemv_lut_t3__ssse3_p1k12`: lookup of three trits, mirrored on ssse3.
///
/// Packing `t3_l16_p1_k12`: 16 rows x 24 columns in 80 bytes a step and panel, 1.667 bits a weight.
/// 9 of 16 vector registers. Steps before narrow sums are widened: 1 (bound 1). Steps in a K block: 12 (bound 257). Adds the `i32` sum of each row to `out`.
/// Emitted by `codegen/src/skeleton/lut.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "ssse3")]
pub unsafe fn gemv_lut_t3__ssse3_p1k12(args: &GemvArgs) {
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
                    _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(64).cast());
                    let nibble = _mm_set1_epi8(15);
                    let mut signs0 = _mm_loadu_si128(weights.add(64).cast());
                    let (low_table, high_table) = (
                        _mm_loadu_si128(at.cast()),
                        _mm_loadu_si128(at.add(16).cast()),
                    );
                    let pair0 = _mm_loadu_si128(weights.cast());
                    let codes = _mm_and_si128(pair0, nibble);
                    let sign = _mm_cmpgt_epi8(_mm_setzero_si128(), signs0);
                    low0 = _mm_add_epi8(
                        low0,
                        _mm_xor_si128(_mm_shuffle_epi8(low_table, codes), sign),
                    );
                    high0 = _mm_add_epi8(
                        high0,
                        _mm_xor_si128(_mm_shuffle_epi8(high_table, codes), sign),
                    );
                    signs0 = _mm_add_epi8(signs0, signs0);
                    let (low_table, high_table) = (
                        _mm_loadu_si128(at.add(32).cast()),
                        _mm_loadu_si128(at.add(48).cast()),
                    );
                    let codes = _mm_and_si128(_mm_srli_epi16::<4>(pair0), nibble);
                    let sign = _mm_cmpgt_epi8(_mm_setzero_si128(), signs0);
                    low0 = _mm_add_epi8(
                        low0,
                        _mm_xor_si128(_mm_shuffle_epi8(low_table, codes), sign),
                    );
                    high0 = _mm_add_epi8(
                        high0,
                        _mm_xor_si128(_mm_shuffle_epi8(high_table, codes), sign),
                    );
                    signs0 = _mm_add_epi8(signs0, signs0);
                    let (low_table, high_table) = (
                        _mm_loadu_si128(at.add(64).cast()),
                        _mm_loadu_si128(at.add(80).cast()),
                    );
                    let pair0 = _mm_loadu_si128(weights.add(16).cast());
                    let codes = _mm_and_si128(pair0, nibble);
                    let sign = _mm_cmpgt_epi8(_mm_setzero_si128(), signs0);
                    low0 = _mm_add_epi8(
                        low0,
                        _mm_xor_si128(_mm_shuffle_epi8(low_table, codes), sign),
                    );
                    high0 = _mm_add_epi8(
                        high0,
                        _mm_xor_si128(_mm_shuffle_epi8(high_table, codes), sign),
                    );
                    signs0 = _mm_add_epi8(signs0, signs0);
                    let (low_table, high_table) = (
                        _mm_loadu_si128(at.add(96).cast()),
                        _mm_loadu_si128(at.add(112).cast()),
                    );
                    let codes = _mm_and_si128(_mm_srli_epi16::<4>(pair0), nibble);
                    let sign = _mm_cmpgt_epi8(_mm_setzero_si128(), signs0);
                    low0 = _mm_add_epi8(
                        low0,
                        _mm_xor_si128(_mm_shuffle_epi8(low_table, codes), sign),
                    );
                    high0 = _mm_add_epi8(
                        high0,
                        _mm_xor_si128(_mm_shuffle_epi8(high_table, codes), sign),
                    );
                    signs0 = _mm_add_epi8(signs0, signs0);
                    let (low_table, high_table) = (
                        _mm_loadu_si128(at.add(128).cast()),
                        _mm_loadu_si128(at.add(144).cast()),
                    );
                    let pair0 = _mm_loadu_si128(weights.add(32).cast());
                    let codes = _mm_and_si128(pair0, nibble);
                    let sign = _mm_cmpgt_epi8(_mm_setzero_si128(), signs0);
                    low0 = _mm_add_epi8(
                        low0,
                        _mm_xor_si128(_mm_shuffle_epi8(low_table, codes), sign),
                    );
                    high0 = _mm_add_epi8(
                        high0,
                        _mm_xor_si128(_mm_shuffle_epi8(high_table, codes), sign),
                    );
                    signs0 = _mm_add_epi8(signs0, signs0);
                    let (low_table, high_table) = (
                        _mm_loadu_si128(at.add(160).cast()),
                        _mm_loadu_si128(at.add(176).cast()),
                    );
                    let codes = _mm_and_si128(_mm_srli_epi16::<4>(pair0), nibble);
                    let sign = _mm_cmpgt_epi8(_mm_setzero_si128(), signs0);
                    low0 = _mm_add_epi8(
                        low0,
                        _mm_xor_si128(_mm_shuffle_epi8(low_table, codes), sign),
                    );
                    high0 = _mm_add_epi8(
                        high0,
                        _mm_xor_si128(_mm_shuffle_epi8(high_table, codes), sign),
                    );
                    signs0 = _mm_add_epi8(signs0, signs0);
                    let (low_table, high_table) = (
                        _mm_loadu_si128(at.add(192).cast()),
                        _mm_loadu_si128(at.add(208).cast()),
                    );
                    let pair0 = _mm_loadu_si128(weights.add(48).cast());
                    let codes = _mm_and_si128(pair0, nibble);
                    let sign = _mm_cmpgt_epi8(_mm_setzero_si128(), signs0);
                    low0 = _mm_add_epi8(
                        low0,
                        _mm_xor_si128(_mm_shuffle_epi8(low_table, codes), sign),
                    );
                    high0 = _mm_add_epi8(
                        high0,
                        _mm_xor_si128(_mm_shuffle_epi8(high_table, codes), sign),
                    );
                    signs0 = _mm_add_epi8(signs0, signs0);
                    let (low_table, high_table) = (
                        _mm_loadu_si128(at.add(224).cast()),
                        _mm_loadu_si128(at.add(240).cast()),
                    );
                    let codes = _mm_and_si128(_mm_srli_epi16::<4>(pair0), nibble);
                    let sign = _mm_cmpgt_epi8(_mm_setzero_si128(), signs0);
                    low0 = _mm_add_epi8(
                        low0,
                        _mm_xor_si128(_mm_shuffle_epi8(low_table, codes), sign),
                    );
                    high0 = _mm_add_epi8(
                        high0,
                        _mm_xor_si128(_mm_shuffle_epi8(high_table, codes), sign),
                    );
                    weights = weights.add(80);
                    at = at.add(256);
                    low_words0 = _mm_add_epi16(low_words0, low0);
                    low_odd0 = _mm_add_epi16(low_odd0, _mm_srli_epi16::<8>(low0));
                    high_words0 = _mm_add_epi16(high_words0, high0);
                    high_odd0 = _mm_add_epi16(high_odd0, _mm_srli_epi16::<8>(high0));
                }
                let (radix, low16, total) = (
                    _mm_set1_epi32(27),
                    _mm_set1_epi32(65535),
                    _mm_set1_epi32(112 * steps as i32 - 3584 * steps.div_ceil(1) as i32),
                );
                let low_even0 = _mm_sub_epi16(low_words0, _mm_slli_epi16::<8>(low_odd0));
                let high_even0 = _mm_sub_epi16(
                    high_words0,
                    _mm_slli_epi16::<8>(high_odd0),
                );
                _mm_storeu_si128(
                    out.cast(),
                    _mm_add_epi32(
                        _mm_add_epi32(
                            _mm_add_epi32(
                                _mm_and_si128(low_even0, low16),
                                {
                                    let (a, b) = (_mm_and_si128(high_even0, low16), radix);
                                    let even = _mm_mul_epu32(a, b);
                                    let odd = _mm_mul_epu32(
                                        _mm_srli_epi64::<32>(a),
                                        _mm_srli_epi64::<32>(b),
                                    );
                                    _mm_unpacklo_epi32(
                                        _mm_shuffle_epi32::<0b10_00>(even),
                                        _mm_shuffle_epi32::<0b10_00>(odd),
                                    )
                                },
                            ),
                            total,
                        ),
                        _mm_loadu_si128(out.cast()),
                    ),
                );
                _mm_storeu_si128(
                    out.add(16).cast(),
                    _mm_add_epi32(
                        _mm_add_epi32(
                            _mm_add_epi32(
                                _mm_and_si128(low_odd0, low16),
                                {
                                    let (a, b) = (_mm_and_si128(high_odd0, low16), radix);
                                    let even = _mm_mul_epu32(a, b);
                                    let odd = _mm_mul_epu32(
                                        _mm_srli_epi64::<32>(a),
                                        _mm_srli_epi64::<32>(b),
                                    );
                                    _mm_unpacklo_epi32(
                                        _mm_shuffle_epi32::<0b10_00>(even),
                                        _mm_shuffle_epi32::<0b10_00>(odd),
                                    )
                                },
                            ),
                            total,
                        ),
                        _mm_loadu_si128(out.add(16).cast()),
                    ),
                );
                _mm_storeu_si128(
                    out.add(32).cast(),
                    _mm_add_epi32(
                        _mm_add_epi32(
                            _mm_add_epi32(
                                _mm_srli_epi32::<16>(low_even0),
                                {
                                    let (a, b) = (_mm_srli_epi32::<16>(high_even0), radix);
                                    let even = _mm_mul_epu32(a, b);
                                    let odd = _mm_mul_epu32(
                                        _mm_srli_epi64::<32>(a),
                                        _mm_srli_epi64::<32>(b),
                                    );
                                    _mm_unpacklo_epi32(
                                        _mm_shuffle_epi32::<0b10_00>(even),
                                        _mm_shuffle_epi32::<0b10_00>(odd),
                                    )
                                },
                            ),
                            total,
                        ),
                        _mm_loadu_si128(out.add(32).cast()),
                    ),
                );
                _mm_storeu_si128(
                    out.add(48).cast(),
                    _mm_add_epi32(
                        _mm_add_epi32(
                            _mm_add_epi32(
                                _mm_srli_epi32::<16>(low_odd0),
                                {
                                    let (a, b) = (_mm_srli_epi32::<16>(high_odd0), radix);
                                    let even = _mm_mul_epu32(a, b);
                                    let odd = _mm_mul_epu32(
                                        _mm_srli_epi64::<32>(a),
                                        _mm_srli_epi64::<32>(b),
                                    );
                                    _mm_unpacklo_epi32(
                                        _mm_shuffle_epi32::<0b10_00>(even),
                                        _mm_shuffle_epi32::<0b10_00>(odd),
                                    )
                                },
                            ),
                            total,
                        ),
                        _mm_loadu_si128(out.add(48).cast()),
                    ),
                );
                out = out.add(64);
            }
        }
    }
}

/// Prepares activations for the kernels of packing `t3_l16_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "ssse3")]
pub unsafe fn build_t3__ssse3(args: &BuildArgs) {
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
                let digit = ((i32::from(*sum) * 2427) >> 16) as i16;
                *high = digit as u8;
                *low = (*sum - 14 - 27 * digit) as u8;
            }
        }
    }
}
