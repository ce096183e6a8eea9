/// `gemv_lut_t5_groups__avx512vbmi_p1k12`: lookup of five trits, mirrored on avx512vbmi.
///
/// Packing `t5_l64_p1_k12`: 64 rows x 5 columns in 64 bytes a step and panel, 1.600 bits a weight.
/// 9 of 32 vector registers. Steps before narrow sums are widened: 6 (bound 6). Steps in a K block: 12 (bound 1542). Adds each row's sum times its scale, as `f32`, to `out`.
/// Emitted by `codegen/src/skeleton/lut.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni,gfni")]
pub unsafe fn gemv_lut_t5_groups__avx512vbmi_p1k12(args: &GemvArgs) {
    let GemvArgs { tokens, count, steps, prefetch, .. } = *args;
    // SAFETY: by the contract of `GemvArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        for token in core::slice::from_raw_parts(tokens, count) {
            let Token { operand, out, .. } = *token;
            let mut weights = args.weights;
            let mut out = out.cast::<u8>();
            let mut scales = args.scales.cast::<u8>();
            for _ in 0..args.strips {
                let mut low_words0 = _mm512_setzero_si512();
                let mut low_odd0 = _mm512_setzero_si512();
                let mut high_words0 = _mm512_setzero_si512();
                let mut high_odd0 = _mm512_setzero_si512();
                let mut at = operand;
                let mut left = steps;
                while left >= 6 {
                    let mut low0 = _mm512_set1_epi8(-128);
                    let mut high0 = _mm512_set1_epi8(-128);
                    for _ in 0..6 {
                        let ahead = weights.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        let (low_table0, low_table1) = (
                            _mm512_loadu_si512(at.cast()),
                            _mm512_loadu_si512(at.add(64).cast()),
                        );
                        let (high_table0, high_table1) = (
                            _mm512_loadu_si512(at.add(128).cast()),
                            _mm512_loadu_si512(at.add(192).cast()),
                        );
                        let codes = _mm512_loadu_si512(weights.cast());
                        let signs = _mm512_gf2p8affine_epi64_epi8::<
                            0,
                        >(codes, _mm512_set1_epi8(-128));
                        let (found_low, found_high) = (
                            _mm512_permutex2var_epi8(low_table0, codes, low_table1),
                            _mm512_permutex2var_epi8(high_table0, codes, high_table1),
                        );
                        low0 = _mm512_add_epi8(low0, _mm512_xor_si512(found_low, signs));
                        high0 = _mm512_add_epi8(
                            high0,
                            _mm512_xor_si512(found_high, signs),
                        );
                        weights = weights.add(64);
                        at = at.add(256);
                    }
                    low_words0 = _mm512_add_epi16(low_words0, low0);
                    low_odd0 = _mm512_add_epi16(low_odd0, _mm512_srli_epi16::<8>(low0));
                    high_words0 = _mm512_add_epi16(high_words0, high0);
                    high_odd0 = _mm512_add_epi16(
                        high_odd0,
                        _mm512_srli_epi16::<8>(high0),
                    );
                    left -= 6;
                }
                if left > 0 {
                    let mut low0 = _mm512_set1_epi8(-128);
                    let mut high0 = _mm512_set1_epi8(-128);
                    for _ in 0..left {
                        let ahead = weights.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        let (low_table0, low_table1) = (
                            _mm512_loadu_si512(at.cast()),
                            _mm512_loadu_si512(at.add(64).cast()),
                        );
                        let (high_table0, high_table1) = (
                            _mm512_loadu_si512(at.add(128).cast()),
                            _mm512_loadu_si512(at.add(192).cast()),
                        );
                        let codes = _mm512_loadu_si512(weights.cast());
                        let signs = _mm512_gf2p8affine_epi64_epi8::<
                            0,
                        >(codes, _mm512_set1_epi8(-128));
                        let (found_low, found_high) = (
                            _mm512_permutex2var_epi8(low_table0, codes, low_table1),
                            _mm512_permutex2var_epi8(high_table0, codes, high_table1),
                        );
                        low0 = _mm512_add_epi8(low0, _mm512_xor_si512(found_low, signs));
                        high0 = _mm512_add_epi8(
                            high0,
                            _mm512_xor_si512(found_high, signs),
                        );
                        weights = weights.add(64);
                        at = at.add(256);
                    }
                    low_words0 = _mm512_add_epi16(low_words0, low0);
                    low_odd0 = _mm512_add_epi16(low_odd0, _mm512_srli_epi16::<8>(low0));
                    high_words0 = _mm512_add_epi16(high_words0, high0);
                    high_odd0 = _mm512_add_epi16(
                        high_odd0,
                        _mm512_srli_epi16::<8>(high0),
                    );
                }
                let (radix, total, first, second) = (
                    _mm512_set1_epi16(35),
                    _mm512_set1_epi16(
                        (18 * steps as i32 - 4608 * steps.div_ceil(6) as i32) as i16,
                    ),
                    _mm512_set1_epi32(1),
                    _mm512_set1_epi32(1 << 16),
                );
                let (both, odd) = (
                    _mm512_add_epi16(low_words0, _mm512_mullo_epi16(high_words0, radix)),
                    _mm512_add_epi16(low_odd0, _mm512_mullo_epi16(high_odd0, radix)),
                );
                let (even, odd) = (
                    _mm512_add_epi16(
                        _mm512_sub_epi16(both, _mm512_slli_epi16::<8>(odd)),
                        total,
                    ),
                    _mm512_add_epi16(odd, total),
                );
                _mm512_storeu_si512(
                    out.cast(),
                    _mm512_castps_si512(
                        _mm512_add_ps(
                            _mm512_castsi512_ps(_mm512_loadu_si512(out.cast())),
                            _mm512_mul_ps(
                                _mm512_cvtepi32_ps(_mm512_madd_epi16(even, first)),
                                _mm512_castsi512_ps(_mm512_loadu_si512(scales.cast())),
                            ),
                        ),
                    ),
                );
                _mm512_storeu_si512(
                    out.add(64).cast(),
                    _mm512_castps_si512(
                        _mm512_add_ps(
                            _mm512_castsi512_ps(_mm512_loadu_si512(out.add(64).cast())),
                            _mm512_mul_ps(
                                _mm512_cvtepi32_ps(_mm512_madd_epi16(odd, first)),
                                _mm512_castsi512_ps(
                                    _mm512_loadu_si512(scales.add(64).cast()),
                                ),
                            ),
                        ),
                    ),
                );
                _mm512_storeu_si512(
                    out.add(128).cast(),
                    _mm512_castps_si512(
                        _mm512_add_ps(
                            _mm512_castsi512_ps(_mm512_loadu_si512(out.add(128).cast())),
                            _mm512_mul_ps(
                                _mm512_cvtepi32_ps(_mm512_madd_epi16(even, second)),
                                _mm512_castsi512_ps(
                                    _mm512_loadu_si512(scales.add(128).cast()),
                                ),
                            ),
                        ),
                    ),
                );
                _mm512_storeu_si512(
                    out.add(192).cast(),
                    _mm512_castps_si512(
                        _mm512_add_ps(
                            _mm512_castsi512_ps(_mm512_loadu_si512(out.add(192).cast())),
                            _mm512_mul_ps(
                                _mm512_cvtepi32_ps(_mm512_madd_epi16(odd, second)),
                                _mm512_castsi512_ps(
                                    _mm512_loadu_si512(scales.add(192).cast()),
                                ),
                            ),
                        ),
                    ),
                );
                out = out.add(256);
                scales = scales.add(256);
            }
        }
    }
}

/// Prepares activations for the kernels of packing `t5_l64_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni,gfni")]
pub unsafe fn build_t5__avx512vbmi(args: &BuildArgs) {
    // SAFETY: by the contract of `BuildArgs`, which gives both ranges, apart from each other.
    let (activations, operand) = unsafe {
        (
            core::slice::from_raw_parts(args.activations.cast::<i8>(), args.steps * 5),
            core::slice::from_raw_parts_mut(args.operand, args.steps * 256),
        )
    };
    for (step, out) in activations.chunks_exact(5).zip(operand.chunks_exact_mut(256)) {
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
        for (group, out) in step.chunks_exact(5).zip(out.chunks_exact_mut(256)) {
            let group = [
                i16::from(group[0]),
                i16::from(group[1]),
                i16::from(group[2]),
                i16::from(group[3]),
                i16::from(group[4]),
            ];
            let mut sums = [0; 128];
            for (&a, trits) in group.iter().zip(&TRITS) {
                for (sum, t) in sums.iter_mut().zip(trits) {
                    *sum += t * a;
                }
            }
            let (low, high) = out.split_at_mut(128);
            for ((sum, low), high) in sums.iter().zip(low).zip(high) {
                let digit = ((i32::from(*sum) * 1872) >> 16) as i16;
                *high = digit as u8;
                *low = (*sum - 18 - 35 * digit) as u8;
            }
        }
    }
}
