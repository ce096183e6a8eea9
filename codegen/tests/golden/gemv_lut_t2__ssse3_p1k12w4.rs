/// `gemv_lut_t2__ssse3_p1k12w4`: lookup of two trits on ssse3.
///
/// Packing `t2_l16_p1_k12`: 16 rows x 4 columns in 16 bytes a step and panel, 2.000 bits a weight.
/// 10 of 16 vector registers. Steps before narrow sums are widened: 4 (bound 5). Steps in a K block: 12 (bound 1028). Adds the `i32` sum of each row to `out`.
/// Emitted by `codegen/src/skeleton/lut.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "ssse3")]
pub unsafe fn gemv_lut_t2__ssse3_p1k12w4(args: &GemvArgs) {
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
                let mut left = steps;
                while left >= 4 {
                    let mut low0 = _mm_setzero_si128();
                    let mut high0 = _mm_setzero_si128();
                    for _ in 0..4 {
                        let ahead = weights.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        let nibble = _mm_set1_epi8(15);
                        let (low_table0, high_table0) = (
                            _mm_loadu_si128(at.cast()),
                            _mm_loadu_si128(at.add(16).cast()),
                        );
                        let (low_table1, high_table1) = (
                            _mm_loadu_si128(at.add(32).cast()),
                            _mm_loadu_si128(at.add(48).cast()),
                        );
                        let pair = _mm_loadu_si128(weights.cast());
                        let (first, second) = (
                            _mm_and_si128(pair, nibble),
                            _mm_and_si128(_mm_srli_epi16::<4>(pair), nibble),
                        );
                        low0 = _mm_add_epi8(low0, _mm_shuffle_epi8(low_table0, first));
                        high0 = _mm_add_epi8(
                            high0,
                            _mm_shuffle_epi8(high_table0, first),
                        );
                        low0 = _mm_add_epi8(low0, _mm_shuffle_epi8(low_table1, second));
                        high0 = _mm_add_epi8(
                            high0,
                            _mm_shuffle_epi8(high_table1, second),
                        );
                        weights = weights.add(16);
                        at = at.add(64);
                    }
                    low_words0 = _mm_add_epi16(low_words0, low0);
                    low_odd0 = _mm_add_epi16(low_odd0, _mm_srli_epi16::<8>(low0));
                    high_words0 = _mm_add_epi16(high_words0, high0);
                    high_odd0 = _mm_add_epi16(high_odd0, _mm_srli_epi16::<8>(high0));
                    left -= 4;
                }
                if left > 0 {
                    let mut low0 = _mm_setzero_si128();
                    let mut high0 = _mm_setzero_si128();
                    for _ in 0..left {
                        let ahead = weights.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        let nibble = _mm_set1_epi8(15);
                        let (low_table0, high_table0) = (
                            _mm_loadu_si128(at.cast()),
                            _mm_loadu_si128(at.add(16).cast()),
                        );
                        let (low_table1, high_table1) = (
                            _mm_loadu_si128(at.add(32).cast()),
                            _mm_loadu_si128(at.add(48).cast()),
                        );
                        let pair = _mm_loadu_si128(weights.cast());
                        let (first, second) = (
                            _mm_and_si128(pair, nibble),
                            _mm_and_si128(_mm_srli_epi16::<4>(pair), nibble),
                        );
                        low0 = _mm_add_epi8(low0, _mm_shuffle_epi8(low_table0, first));
                        high0 = _mm_add_epi8(
                            high0,
                            _mm_shuffle_epi8(high_table0, first),
                        );
                        low0 = _mm_add_epi8(low0, _mm_shuffle_epi8(low_table1, second));
                        high0 = _mm_add_epi8(
                            high0,
                            _mm_shuffle_epi8(high_table1, second),
                        );
                        weights = weights.add(16);
                        at = at.add(64);
                    }
                    low_words0 = _mm_add_epi16(low_words0, low0);
                    low_odd0 = _mm_add_epi16(low_odd0, _mm_srli_epi16::<8>(low0));
                    high_words0 = _mm_add_epi16(high_words0, high0);
                    high_odd0 = _mm_add_epi16(high_odd0, _mm_srli_epi16::<8>(high0));
                }
                let (radix, total, first, second) = (
                    _mm_set1_epi16(23),
                    _mm_set1_epi16((-512 * steps as i32) as i16),
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

/// Prepares activations for the kernels of packing `t2_l16_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "ssse3")]
pub unsafe fn build_t2__ssse3(args: &BuildArgs) {
    // SAFETY: by the contract of `BuildArgs`, which gives both ranges, apart from each other.
    let (activations, operand) = unsafe {
        (
            core::slice::from_raw_parts(args.activations.cast::<i8>(), args.steps * 4),
            core::slice::from_raw_parts_mut(args.operand, args.steps * 64),
        )
    };
    for (step, out) in activations.chunks_exact(4).zip(operand.chunks_exact_mut(64)) {
        const TRITS: [[i16; 16]; 2] = {
            let (mut trits, mut n) = ([[0; 16]; 2], 0);
            while n < 9 {
                trits[0][n] = (n / 3) as i16 - 1;
                trits[1][n] = (n % 3) as i16 - 1;
                n += 1;
            }
            trits
        };
        for (group, out) in step.chunks_exact(2).zip(out.chunks_exact_mut(32)) {
            let group = [i16::from(group[0]), i16::from(group[1])];
            let mut sums = [256; 16];
            for (&a, trits) in group.iter().zip(&TRITS) {
                for (sum, t) in sums.iter_mut().zip(trits) {
                    *sum += t * a;
                }
            }
            let (low, high) = out.split_at_mut(16);
            for ((&sum, low), high) in sums.iter().zip(low).zip(high) {
                let sum = sum as u16;
                *low = (sum % 23) as u8;
                *high = (sum / 23) as u8;
            }
        }
    }
}
