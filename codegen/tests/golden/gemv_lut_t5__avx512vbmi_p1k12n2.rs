/// `gemv_lut_t5__avx512vbmi_p1k12n2`: lookup of five trits, mirrored on avx512vbmi.
///
/// Packing `t5_l64_p1_k12`: 64 rows x 5 columns in 64 bytes a step and panel, 1.600 bits a weight.
/// 12 of 32 vector registers. Steps before narrow sums are widened: 6 (bound 6). Steps in a K block: 12 (bound 1542). Adds the `i32` sum of each row to `out`. Reads the weights once for 2 tokens.
/// Emitted by `codegen/src/skeleton/lut.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni,gfni")]
pub unsafe fn gemv_lut_t5__avx512vbmi_p1k12n2(args: &GemvArgs) {
    let GemvArgs { tokens, count, steps, prefetch, .. } = *args;
    // SAFETY: by the contract of `GemvArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        let (batches, rest) = core::slice::from_raw_parts(tokens, count)
            .as_chunks::<2>();
        for [t0, t1] in batches {
            let Token { operand: operand_t0, out: out_t0, .. } = *t0;
            let Token { operand: operand_t1, out: out_t1, .. } = *t1;
            let mut weights = args.weights;
            let mut out_t0 = out_t0.cast::<u8>();
            let mut out_t1 = out_t1.cast::<u8>();
            for _ in 0..args.strips {
                let mut low_words0_t0 = _mm512_setzero_si512();
                let mut low_odd0_t0 = _mm512_setzero_si512();
                let mut high_words0_t0 = _mm512_setzero_si512();
                let mut high_odd0_t0 = _mm512_setzero_si512();
                let mut low_words0_t1 = _mm512_setzero_si512();
                let mut low_odd0_t1 = _mm512_setzero_si512();
                let mut high_words0_t1 = _mm512_setzero_si512();
                let mut high_odd0_t1 = _mm512_setzero_si512();
                let mut at_t0 = operand_t0;
                let mut at_t1 = operand_t1;
                let mut left = steps;
                while left >= 6 {
                    let mut low0_t0 = _mm512_set1_epi8(-128);
                    let mut high0_t0 = _mm512_set1_epi8(-128);
                    let mut low0_t1 = _mm512_set1_epi8(-128);
                    let mut high0_t1 = _mm512_set1_epi8(-128);
                    for _ in 0..6 {
                        let ahead = weights.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        let codes0 = _mm512_loadu_si512(weights.cast());
                        let signs0 = _mm512_gf2p8affine_epi64_epi8::<
                            0,
                        >(codes0, _mm512_set1_epi8(-128));
                        let (low_table0, low_table1) = (
                            _mm512_loadu_si512(at_t0.cast()),
                            _mm512_loadu_si512(at_t0.add(64).cast()),
                        );
                        let (high_table0, high_table1) = (
                            _mm512_loadu_si512(at_t0.add(128).cast()),
                            _mm512_loadu_si512(at_t0.add(192).cast()),
                        );
                        let (found_low, found_high) = (
                            _mm512_permutex2var_epi8(low_table0, codes0, low_table1),
                            _mm512_permutex2var_epi8(high_table0, codes0, high_table1),
                        );
                        low0_t0 = _mm512_add_epi8(
                            low0_t0,
                            _mm512_xor_si512(found_low, signs0),
                        );
                        high0_t0 = _mm512_add_epi8(
                            high0_t0,
                            _mm512_xor_si512(found_high, signs0),
                        );
                        let (low_table0, low_table1) = (
                            _mm512_loadu_si512(at_t1.cast()),
                            _mm512_loadu_si512(at_t1.add(64).cast()),
                        );
                        let (high_table0, high_table1) = (
                            _mm512_loadu_si512(at_t1.add(128).cast()),
                            _mm512_loadu_si512(at_t1.add(192).cast()),
                        );
                        let (found_low, found_high) = (
                            _mm512_permutex2var_epi8(low_table0, codes0, low_table1),
                            _mm512_permutex2var_epi8(high_table0, codes0, high_table1),
                        );
                        low0_t1 = _mm512_add_epi8(
                            low0_t1,
                            _mm512_xor_si512(found_low, signs0),
                        );
                        high0_t1 = _mm512_add_epi8(
                            high0_t1,
                            _mm512_xor_si512(found_high, signs0),
                        );
                        weights = weights.add(64);
                        at_t0 = at_t0.add(256);
                        at_t1 = at_t1.add(256);
                    }
                    low_words0_t0 = _mm512_add_epi16(low_words0_t0, low0_t0);
                    low_odd0_t0 = _mm512_add_epi16(
                        low_odd0_t0,
                        _mm512_srli_epi16::<8>(low0_t0),
                    );
                    high_words0_t0 = _mm512_add_epi16(high_words0_t0, high0_t0);
                    high_odd0_t0 = _mm512_add_epi16(
                        high_odd0_t0,
                        _mm512_srli_epi16::<8>(high0_t0),
                    );
                    low_words0_t1 = _mm512_add_epi16(low_words0_t1, low0_t1);
                    low_odd0_t1 = _mm512_add_epi16(
                        low_odd0_t1,
                        _mm512_srli_epi16::<8>(low0_t1),
                    );
                    high_words0_t1 = _mm512_add_epi16(high_words0_t1, high0_t1);
                    high_odd0_t1 = _mm512_add_epi16(
                        high_odd0_t1,
                        _mm512_srli_epi16::<8>(high0_t1),
                    );
                    left -= 6;
                }
                if left > 0 {
                    let mut low0_t0 = _mm512_set1_epi8(-128);
                    let mut high0_t0 = _mm512_set1_epi8(-128);
                    let mut low0_t1 = _mm512_set1_epi8(-128);
                    let mut high0_t1 = _mm512_set1_epi8(-128);
                    for _ in 0..left {
                        let ahead = weights.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        let codes0 = _mm512_loadu_si512(weights.cast());
                        let signs0 = _mm512_gf2p8affine_epi64_epi8::<
                            0,
                        >(codes0, _mm512_set1_epi8(-128));
                        let (low_table0, low_table1) = (
                            _mm512_loadu_si512(at_t0.cast()),
                            _mm512_loadu_si512(at_t0.add(64).cast()),
                        );
                        let (high_table0, high_table1) = (
                            _mm512_loadu_si512(at_t0.add(128).cast()),
                            _mm512_loadu_si512(at_t0.add(192).cast()),
                        );
                        let (found_low, found_high) = (
                            _mm512_permutex2var_epi8(low_table0, codes0, low_table1),
                            _mm512_permutex2var_epi8(high_table0, codes0, high_table1),
                        );
                        low0_t0 = _mm512_add_epi8(
                            low0_t0,
                            _mm512_xor_si512(found_low, signs0),
                        );
                        high0_t0 = _mm512_add_epi8(
                            high0_t0,
                            _mm512_xor_si512(found_high, signs0),
                        );
                        let (low_table0, low_table1) = (
                            _mm512_loadu_si512(at_t1.cast()),
                            _mm512_loadu_si512(at_t1.add(64).cast()),
                        );
                        let (high_table0, high_table1) = (
                            _mm512_loadu_si512(at_t1.add(128).cast()),
                            _mm512_loadu_si512(at_t1.add(192).cast()),
                        );
                        let (found_low, found_high) = (
                            _mm512_permutex2var_epi8(low_table0, codes0, low_table1),
                            _mm512_permutex2var_epi8(high_table0, codes0, high_table1),
                        );
                        low0_t1 = _mm512_add_epi8(
                            low0_t1,
                            _mm512_xor_si512(found_low, signs0),
                        );
                        high0_t1 = _mm512_add_epi8(
                            high0_t1,
                            _mm512_xor_si512(found_high, signs0),
                        );
                        weights = weights.add(64);
                        at_t0 = at_t0.add(256);
                        at_t1 = at_t1.add(256);
                    }
                    low_words0_t0 = _mm512_add_epi16(low_words0_t0, low0_t0);
                    low_odd0_t0 = _mm512_add_epi16(
                        low_odd0_t0,
                        _mm512_srli_epi16::<8>(low0_t0),
                    );
                    high_words0_t0 = _mm512_add_epi16(high_words0_t0, high0_t0);
                    high_odd0_t0 = _mm512_add_epi16(
                        high_odd0_t0,
                        _mm512_srli_epi16::<8>(high0_t0),
                    );
                    low_words0_t1 = _mm512_add_epi16(low_words0_t1, low0_t1);
                    low_odd0_t1 = _mm512_add_epi16(
                        low_odd0_t1,
                        _mm512_srli_epi16::<8>(low0_t1),
                    );
                    high_words0_t1 = _mm512_add_epi16(high_words0_t1, high0_t1);
                    high_odd0_t1 = _mm512_add_epi16(
                        high_odd0_t1,
                        _mm512_srli_epi16::<8>(high0_t1),
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
                    _mm512_add_epi16(
                        low_words0_t0,
                        _mm512_mullo_epi16(high_words0_t0, radix),
                    ),
                    _mm512_add_epi16(
                        low_odd0_t0,
                        _mm512_mullo_epi16(high_odd0_t0, radix),
                    ),
                );
                let (even, odd) = (
                    _mm512_add_epi16(
                        _mm512_sub_epi16(both, _mm512_slli_epi16::<8>(odd)),
                        total,
                    ),
                    _mm512_add_epi16(odd, total),
                );
                _mm512_storeu_si512(
                    out_t0.cast(),
                    _mm512_add_epi32(
                        _mm512_madd_epi16(even, first),
                        _mm512_loadu_si512(out_t0.cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out_t0.add(64).cast(),
                    _mm512_add_epi32(
                        _mm512_madd_epi16(odd, first),
                        _mm512_loadu_si512(out_t0.add(64).cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out_t0.add(128).cast(),
                    _mm512_add_epi32(
                        _mm512_madd_epi16(even, second),
                        _mm512_loadu_si512(out_t0.add(128).cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out_t0.add(192).cast(),
                    _mm512_add_epi32(
                        _mm512_madd_epi16(odd, second),
                        _mm512_loadu_si512(out_t0.add(192).cast()),
                    ),
                );
                let (both, odd) = (
                    _mm512_add_epi16(
                        low_words0_t1,
                        _mm512_mullo_epi16(high_words0_t1, radix),
                    ),
                    _mm512_add_epi16(
                        low_odd0_t1,
                        _mm512_mullo_epi16(high_odd0_t1, radix),
                    ),
                );
                let (even, odd) = (
                    _mm512_add_epi16(
                        _mm512_sub_epi16(both, _mm512_slli_epi16::<8>(odd)),
                        total,
                    ),
                    _mm512_add_epi16(odd, total),
                );
                _mm512_storeu_si512(
                    out_t1.cast(),
                    _mm512_add_epi32(
                        _mm512_madd_epi16(even, first),
                        _mm512_loadu_si512(out_t1.cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out_t1.add(64).cast(),
                    _mm512_add_epi32(
                        _mm512_madd_epi16(odd, first),
                        _mm512_loadu_si512(out_t1.add(64).cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out_t1.add(128).cast(),
                    _mm512_add_epi32(
                        _mm512_madd_epi16(even, second),
                        _mm512_loadu_si512(out_t1.add(128).cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out_t1.add(192).cast(),
                    _mm512_add_epi32(
                        _mm512_madd_epi16(odd, second),
                        _mm512_loadu_si512(out_t1.add(192).cast()),
                    ),
                );
                out_t0 = out_t0.add(256);
                out_t1 = out_t1.add(256);
            }
        }
        // Tokens that fill no batch follow one by one.
        gemv_lut_t5__avx512vbmi_p1k12(
            &GemvArgs {
                tokens: rest.as_ptr(),
                count: rest.len(),
                ..*args
            },
        );
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
