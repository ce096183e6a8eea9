/// `gemv_lut_w3_groups__avx512bw_p1k12w6`: lookup of three trits in words on avx512bw.
///
/// Packing `w3_l32_p1_k12`: 32 rows x 9 columns in 64 bytes a step and panel, 1.778 bits a weight.
/// 11 of 32 vector registers. Steps before narrow sums are widened: 6 (bound 28). Steps in a K block: 12 (bound 1864135). Adds each row's sum times its scale, as `f32`, to `out`.
/// Emitted by `codegen/src/skeleton/lut16.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn gemv_lut_w3_groups__avx512bw_p1k12w6(args: &GemvArgs) {
    let GemvArgs { tokens, count, steps, prefetch, .. } = *args;
    // SAFETY: by the contract of `GemvArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        for token in core::slice::from_raw_parts(tokens, count) {
            let Token { operand, out, .. } = *token;
            let (first, second) = (_mm512_set1_epi32(1), _mm512_set1_epi32(1 << 16));
            let mut weights = args.weights;
            let mut out = out.cast::<u8>();
            let mut scales = args.scales.cast::<u8>();
            for _ in 0..args.strips {
                let mut wide0 = _mm512_setzero_si512();
                let mut wide1 = _mm512_setzero_si512();
                let mut at = operand;
                let mut left = steps;
                while left >= 6 {
                    let mut sum0 = _mm512_setzero_si512();
                    for _ in 0..6 {
                        let ahead = weights.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        let table0 = _mm512_loadu_si512(at.cast());
                        let table1 = _mm512_loadu_si512(at.add(64).cast());
                        let table2 = _mm512_loadu_si512(at.add(128).cast());
                        let codes = _mm512_loadu_si512(weights.cast());
                        sum0 = _mm512_add_epi16(
                            sum0,
                            _mm512_permutexvar_epi16(codes, table0),
                        );
                        sum0 = _mm512_add_epi16(
                            sum0,
                            _mm512_permutexvar_epi16(
                                _mm512_srli_epi16::<5>(codes),
                                table1,
                            ),
                        );
                        sum0 = _mm512_add_epi16(
                            sum0,
                            _mm512_permutexvar_epi16(
                                _mm512_srli_epi16::<10>(codes),
                                table2,
                            ),
                        );
                        weights = weights.add(64);
                        at = at.add(192);
                    }
                    wide0 = _mm512_add_epi32(wide0, _mm512_madd_epi16(sum0, first));
                    wide1 = _mm512_add_epi32(wide1, _mm512_madd_epi16(sum0, second));
                    left -= 6;
                }
                if left > 0 {
                    let mut sum0 = _mm512_setzero_si512();
                    for _ in 0..left {
                        let ahead = weights.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        let table0 = _mm512_loadu_si512(at.cast());
                        let table1 = _mm512_loadu_si512(at.add(64).cast());
                        let table2 = _mm512_loadu_si512(at.add(128).cast());
                        let codes = _mm512_loadu_si512(weights.cast());
                        sum0 = _mm512_add_epi16(
                            sum0,
                            _mm512_permutexvar_epi16(codes, table0),
                        );
                        sum0 = _mm512_add_epi16(
                            sum0,
                            _mm512_permutexvar_epi16(
                                _mm512_srli_epi16::<5>(codes),
                                table1,
                            ),
                        );
                        sum0 = _mm512_add_epi16(
                            sum0,
                            _mm512_permutexvar_epi16(
                                _mm512_srli_epi16::<10>(codes),
                                table2,
                            ),
                        );
                        weights = weights.add(64);
                        at = at.add(192);
                    }
                    wide0 = _mm512_add_epi32(wide0, _mm512_madd_epi16(sum0, first));
                    wide1 = _mm512_add_epi32(wide1, _mm512_madd_epi16(sum0, second));
                }
                _mm512_storeu_si512(
                    out.cast(),
                    _mm512_castps_si512(
                        _mm512_add_ps(
                            _mm512_castsi512_ps(_mm512_loadu_si512(out.cast())),
                            _mm512_mul_ps(
                                _mm512_cvtepi32_ps(wide0),
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
                                _mm512_cvtepi32_ps(wide1),
                                _mm512_castsi512_ps(
                                    _mm512_loadu_si512(scales.add(64).cast()),
                                ),
                            ),
                        ),
                    ),
                );
                out = out.add(128);
                scales = scales.add(128);
            }
        }
    }
}

/// Prepares activations for the kernels of packing `w3_l32_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn build_w3__avx512bw(args: &BuildArgs) {
    // SAFETY: by the contract of `BuildArgs`, which gives both ranges, apart from each other.
    let (activations, operand) = unsafe {
        (
            core::slice::from_raw_parts(args.activations.cast::<i8>(), args.steps * 9),
            core::slice::from_raw_parts_mut(args.operand, args.steps * 192),
        )
    };
    for (step, out) in activations.chunks_exact(9).zip(operand.chunks_exact_mut(192)) {
        const TRITS: [[i16; 32]; 3] = {
            let (mut trits, mut n) = ([[0; 32]; 3], 0);
            while n < 27 {
                trits[0][n] = (n / 9) as i16 - 1;
                trits[1][n] = (n / 3 % 3) as i16 - 1;
                trits[2][n] = (n % 3) as i16 - 1;
                n += 1;
            }
            trits
        };
        for (group, out) in step.chunks_exact(3).zip(out.chunks_exact_mut(64)) {
            let group = [0, 1, 2].map(|i| i16::from(group[i]));
            let mut sums = [0; 32];
            for (&a, trits) in group.iter().zip(&TRITS) {
                for (sum, t) in sums.iter_mut().zip(trits) {
                    *sum += t * a;
                }
            }
            for (sum, entry) in sums.iter().zip(out.chunks_exact_mut(2)) {
                entry.copy_from_slice(&sum.to_ne_bytes());
            }
        }
    }
}
