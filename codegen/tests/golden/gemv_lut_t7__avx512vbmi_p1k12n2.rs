/// `gemv_lut_t7__avx512vbmi_p1k12n2`: lookup of three and a half trits on avx512vbmi.
///
/// Packing `t7_l64_p1_k12`: 64 rows x 28 columns in 384 bytes a step and panel, 1.714 bits a weight.
/// 20 of 32 vector registers. Steps before narrow sums are widened: 1 (bound 1). Steps in a K block: 12 (bound 257). Adds the `i32` sum of each row to `out`. Reads the weights once for 2 tokens.
/// Emitted by `codegen/src/skeleton/lut.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni,gfni")]
pub unsafe fn gemv_lut_t7__avx512vbmi_p1k12n2(args: &GemvArgs) {
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
                for _ in 0..steps {
                    let mut low0_t0 = _mm512_setzero_si512();
                    let mut high0_t0 = _mm512_setzero_si512();
                    let mut low0_t1 = _mm512_setzero_si512();
                    let mut high0_t1 = _mm512_setzero_si512();
                    let ahead = weights.wrapping_add(prefetch);
                    _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                    _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(64).cast());
                    _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(128).cast());
                    _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(192).cast());
                    _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(256).cast());
                    _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(320).cast());
                    let (two_bits, four_bits) = (
                        _mm512_set1_epi8(3),
                        _mm512_set1_epi8(15),
                    );
                    let (codes0_0, codes0_1, codes0_2) = (
                        _mm512_loadu_si512(weights.cast()),
                        _mm512_loadu_si512(weights.add(64).cast()),
                        _mm512_loadu_si512(weights.add(128).cast()),
                    );
                    let codes0_3 = _mm512_ternarylogic_epi32::<
                        0xca,
                    >(
                        four_bits,
                        _mm512_ternarylogic_epi32::<
                            0xca,
                        >(
                            two_bits,
                            _mm512_srli_epi16::<6>(codes0_0),
                            _mm512_srli_epi16::<4>(codes0_1),
                        ),
                        _mm512_srli_epi16::<2>(codes0_2),
                    );
                    let (low_table, high_table) = (
                        _mm512_loadu_si512(at_t0.cast()),
                        _mm512_loadu_si512(at_t0.add(64).cast()),
                    );
                    low0_t0 = _mm512_add_epi8(
                        low0_t0,
                        _mm512_permutexvar_epi8(codes0_0, low_table),
                    );
                    high0_t0 = _mm512_add_epi8(
                        high0_t0,
                        _mm512_permutexvar_epi8(codes0_0, high_table),
                    );
                    let (low_table, high_table) = (
                        _mm512_loadu_si512(at_t1.cast()),
                        _mm512_loadu_si512(at_t1.add(64).cast()),
                    );
                    low0_t1 = _mm512_add_epi8(
                        low0_t1,
                        _mm512_permutexvar_epi8(codes0_0, low_table),
                    );
                    high0_t1 = _mm512_add_epi8(
                        high0_t1,
                        _mm512_permutexvar_epi8(codes0_0, high_table),
                    );
                    let (low_table, high_table) = (
                        _mm512_loadu_si512(at_t0.add(128).cast()),
                        _mm512_loadu_si512(at_t0.add(192).cast()),
                    );
                    low0_t0 = _mm512_add_epi8(
                        low0_t0,
                        _mm512_permutexvar_epi8(codes0_1, low_table),
                    );
                    high0_t0 = _mm512_add_epi8(
                        high0_t0,
                        _mm512_permutexvar_epi8(codes0_1, high_table),
                    );
                    let (low_table, high_table) = (
                        _mm512_loadu_si512(at_t1.add(128).cast()),
                        _mm512_loadu_si512(at_t1.add(192).cast()),
                    );
                    low0_t1 = _mm512_add_epi8(
                        low0_t1,
                        _mm512_permutexvar_epi8(codes0_1, low_table),
                    );
                    high0_t1 = _mm512_add_epi8(
                        high0_t1,
                        _mm512_permutexvar_epi8(codes0_1, high_table),
                    );
                    let (low_table, high_table) = (
                        _mm512_loadu_si512(at_t0.add(256).cast()),
                        _mm512_loadu_si512(at_t0.add(320).cast()),
                    );
                    low0_t0 = _mm512_add_epi8(
                        low0_t0,
                        _mm512_permutexvar_epi8(codes0_2, low_table),
                    );
                    high0_t0 = _mm512_add_epi8(
                        high0_t0,
                        _mm512_permutexvar_epi8(codes0_2, high_table),
                    );
                    let (low_table, high_table) = (
                        _mm512_loadu_si512(at_t1.add(256).cast()),
                        _mm512_loadu_si512(at_t1.add(320).cast()),
                    );
                    low0_t1 = _mm512_add_epi8(
                        low0_t1,
                        _mm512_permutexvar_epi8(codes0_2, low_table),
                    );
                    high0_t1 = _mm512_add_epi8(
                        high0_t1,
                        _mm512_permutexvar_epi8(codes0_2, high_table),
                    );
                    let (low_table, high_table) = (
                        _mm512_loadu_si512(at_t0.add(384).cast()),
                        _mm512_loadu_si512(at_t0.add(448).cast()),
                    );
                    low0_t0 = _mm512_add_epi8(
                        low0_t0,
                        _mm512_permutexvar_epi8(codes0_3, low_table),
                    );
                    high0_t0 = _mm512_add_epi8(
                        high0_t0,
                        _mm512_permutexvar_epi8(codes0_3, high_table),
                    );
                    let (low_table, high_table) = (
                        _mm512_loadu_si512(at_t1.add(384).cast()),
                        _mm512_loadu_si512(at_t1.add(448).cast()),
                    );
                    low0_t1 = _mm512_add_epi8(
                        low0_t1,
                        _mm512_permutexvar_epi8(codes0_3, low_table),
                    );
                    high0_t1 = _mm512_add_epi8(
                        high0_t1,
                        _mm512_permutexvar_epi8(codes0_3, high_table),
                    );
                    let (codes0_0, codes0_1, codes0_2) = (
                        _mm512_loadu_si512(weights.add(192).cast()),
                        _mm512_loadu_si512(weights.add(256).cast()),
                        _mm512_loadu_si512(weights.add(320).cast()),
                    );
                    let codes0_3 = _mm512_ternarylogic_epi32::<
                        0xca,
                    >(
                        four_bits,
                        _mm512_ternarylogic_epi32::<
                            0xca,
                        >(
                            two_bits,
                            _mm512_srli_epi16::<6>(codes0_0),
                            _mm512_srli_epi16::<4>(codes0_1),
                        ),
                        _mm512_srli_epi16::<2>(codes0_2),
                    );
                    let (low_table, high_table) = (
                        _mm512_loadu_si512(at_t0.add(512).cast()),
                        _mm512_loadu_si512(at_t0.add(576).cast()),
                    );
                    low0_t0 = _mm512_add_epi8(
                        low0_t0,
                        _mm512_permutexvar_epi8(codes0_0, low_table),
                    );
                    high0_t0 = _mm512_add_epi8(
                        high0_t0,
                        _mm512_permutexvar_epi8(codes0_0, high_table),
                    );
                    let (low_table, high_table) = (
                        _mm512_loadu_si512(at_t1.add(512).cast()),
                        _mm512_loadu_si512(at_t1.add(576).cast()),
                    );
                    low0_t1 = _mm512_add_epi8(
                        low0_t1,
                        _mm512_permutexvar_epi8(codes0_0, low_table),
                    );
                    high0_t1 = _mm512_add_epi8(
                        high0_t1,
                        _mm512_permutexvar_epi8(codes0_0, high_table),
                    );
                    let (low_table, high_table) = (
                        _mm512_loadu_si512(at_t0.add(640).cast()),
                        _mm512_loadu_si512(at_t0.add(704).cast()),
                    );
                    low0_t0 = _mm512_add_epi8(
                        low0_t0,
                        _mm512_permutexvar_epi8(codes0_1, low_table),
                    );
                    high0_t0 = _mm512_add_epi8(
                        high0_t0,
                        _mm512_permutexvar_epi8(codes0_1, high_table),
                    );
                    let (low_table, high_table) = (
                        _mm512_loadu_si512(at_t1.add(640).cast()),
                        _mm512_loadu_si512(at_t1.add(704).cast()),
                    );
                    low0_t1 = _mm512_add_epi8(
                        low0_t1,
                        _mm512_permutexvar_epi8(codes0_1, low_table),
                    );
                    high0_t1 = _mm512_add_epi8(
                        high0_t1,
                        _mm512_permutexvar_epi8(codes0_1, high_table),
                    );
                    let (low_table, high_table) = (
                        _mm512_loadu_si512(at_t0.add(768).cast()),
                        _mm512_loadu_si512(at_t0.add(832).cast()),
                    );
                    low0_t0 = _mm512_add_epi8(
                        low0_t0,
                        _mm512_permutexvar_epi8(codes0_2, low_table),
                    );
                    high0_t0 = _mm512_add_epi8(
                        high0_t0,
                        _mm512_permutexvar_epi8(codes0_2, high_table),
                    );
                    let (low_table, high_table) = (
                        _mm512_loadu_si512(at_t1.add(768).cast()),
                        _mm512_loadu_si512(at_t1.add(832).cast()),
                    );
                    low0_t1 = _mm512_add_epi8(
                        low0_t1,
                        _mm512_permutexvar_epi8(codes0_2, low_table),
                    );
                    high0_t1 = _mm512_add_epi8(
                        high0_t1,
                        _mm512_permutexvar_epi8(codes0_2, high_table),
                    );
                    let (low_table, high_table) = (
                        _mm512_loadu_si512(at_t0.add(896).cast()),
                        _mm512_loadu_si512(at_t0.add(960).cast()),
                    );
                    low0_t0 = _mm512_add_epi8(
                        low0_t0,
                        _mm512_permutexvar_epi8(codes0_3, low_table),
                    );
                    high0_t0 = _mm512_add_epi8(
                        high0_t0,
                        _mm512_permutexvar_epi8(codes0_3, high_table),
                    );
                    let (low_table, high_table) = (
                        _mm512_loadu_si512(at_t1.add(896).cast()),
                        _mm512_loadu_si512(at_t1.add(960).cast()),
                    );
                    low0_t1 = _mm512_add_epi8(
                        low0_t1,
                        _mm512_permutexvar_epi8(codes0_3, low_table),
                    );
                    high0_t1 = _mm512_add_epi8(
                        high0_t1,
                        _mm512_permutexvar_epi8(codes0_3, high_table),
                    );
                    weights = weights.add(384);
                    at_t0 = at_t0.add(1024);
                    at_t1 = at_t1.add(1024);
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
                let (radix, low16, total) = (
                    _mm512_set1_epi32(32),
                    _mm512_set1_epi32(65535),
                    _mm512_set1_epi32(-4096 * steps as i32),
                );
                let low_even0_t0 = _mm512_sub_epi16(
                    low_words0_t0,
                    _mm512_slli_epi16::<8>(low_odd0_t0),
                );
                let high_even0_t0 = _mm512_sub_epi16(
                    high_words0_t0,
                    _mm512_slli_epi16::<8>(high_odd0_t0),
                );
                let low_even0_t1 = _mm512_sub_epi16(
                    low_words0_t1,
                    _mm512_slli_epi16::<8>(low_odd0_t1),
                );
                let high_even0_t1 = _mm512_sub_epi16(
                    high_words0_t1,
                    _mm512_slli_epi16::<8>(high_odd0_t1),
                );
                _mm512_storeu_si512(
                    out_t0.cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(
                            _mm512_add_epi32(
                                _mm512_and_si512(low_even0_t0, low16),
                                _mm512_mullo_epi32(
                                    _mm512_and_si512(high_even0_t0, low16),
                                    radix,
                                ),
                            ),
                            total,
                        ),
                        _mm512_loadu_si512(out_t0.cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out_t0.add(64).cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(
                            _mm512_add_epi32(
                                _mm512_and_si512(low_odd0_t0, low16),
                                _mm512_mullo_epi32(
                                    _mm512_and_si512(high_odd0_t0, low16),
                                    radix,
                                ),
                            ),
                            total,
                        ),
                        _mm512_loadu_si512(out_t0.add(64).cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out_t0.add(128).cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(
                            _mm512_add_epi32(
                                _mm512_srli_epi32::<16>(low_even0_t0),
                                _mm512_mullo_epi32(
                                    _mm512_srli_epi32::<16>(high_even0_t0),
                                    radix,
                                ),
                            ),
                            total,
                        ),
                        _mm512_loadu_si512(out_t0.add(128).cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out_t0.add(192).cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(
                            _mm512_add_epi32(
                                _mm512_srli_epi32::<16>(low_odd0_t0),
                                _mm512_mullo_epi32(
                                    _mm512_srli_epi32::<16>(high_odd0_t0),
                                    radix,
                                ),
                            ),
                            total,
                        ),
                        _mm512_loadu_si512(out_t0.add(192).cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out_t1.cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(
                            _mm512_add_epi32(
                                _mm512_and_si512(low_even0_t1, low16),
                                _mm512_mullo_epi32(
                                    _mm512_and_si512(high_even0_t1, low16),
                                    radix,
                                ),
                            ),
                            total,
                        ),
                        _mm512_loadu_si512(out_t1.cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out_t1.add(64).cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(
                            _mm512_add_epi32(
                                _mm512_and_si512(low_odd0_t1, low16),
                                _mm512_mullo_epi32(
                                    _mm512_and_si512(high_odd0_t1, low16),
                                    radix,
                                ),
                            ),
                            total,
                        ),
                        _mm512_loadu_si512(out_t1.add(64).cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out_t1.add(128).cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(
                            _mm512_add_epi32(
                                _mm512_srli_epi32::<16>(low_even0_t1),
                                _mm512_mullo_epi32(
                                    _mm512_srli_epi32::<16>(high_even0_t1),
                                    radix,
                                ),
                            ),
                            total,
                        ),
                        _mm512_loadu_si512(out_t1.add(128).cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out_t1.add(192).cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(
                            _mm512_add_epi32(
                                _mm512_srli_epi32::<16>(low_odd0_t1),
                                _mm512_mullo_epi32(
                                    _mm512_srli_epi32::<16>(high_odd0_t1),
                                    radix,
                                ),
                            ),
                            total,
                        ),
                        _mm512_loadu_si512(out_t1.add(192).cast()),
                    ),
                );
                out_t0 = out_t0.add(256);
                out_t1 = out_t1.add(256);
            }
        }
        // Tokens that fill no batch follow one by one.
        gemv_lut_t7__avx512vbmi_p1k12(
            &GemvArgs {
                tokens: rest.as_ptr(),
                count: rest.len(),
                ..*args
            },
        );
    }
}

/// Prepares activations for the kernels of packing `t7_l64_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni,gfni")]
pub unsafe fn build_t7__avx512vbmi(args: &BuildArgs) {
    // SAFETY: by the contract of `BuildArgs`, which gives both ranges, apart from each other.
    let (activations, operand) = unsafe {
        (
            core::slice::from_raw_parts(args.activations.cast::<i8>(), args.steps * 28),
            core::slice::from_raw_parts_mut(args.operand, args.steps * 1024),
        )
    };
    for (step, out) in activations.chunks_exact(28).zip(operand.chunks_exact_mut(1024)) {
        const TRITS: [[i16; 64]; 4] = {
            let (mut trits, mut n) = ([[0; 64]; 4], 0);
            while n < 54 {
                trits[0][n] = (n / 9 % 3) as i16 - 1;
                trits[1][n] = (n / 3 % 3) as i16 - 1;
                trits[2][n] = (n % 3) as i16 - 1;
                trits[3][n] = (n / 27) as i16;
                n += 1;
            }
            trits
        };
        for (seven, out) in step.chunks_exact(7).zip(out.chunks_exact_mut(256)) {
            let a = |i: usize| i16::from(seven[i]);
            let codes = [[a(0), a(1), a(2), a(3)], [a(4), a(5), a(6), -a(3)]];
            for (code, out) in codes.iter().zip(out.chunks_exact_mut(128)) {
                let mut sums = [512; 64];
                for (&a, trits) in code.iter().zip(&TRITS) {
                    for (sum, t) in sums.iter_mut().zip(trits) {
                        *sum += t * a;
                    }
                }
                let (low, high) = out.split_at_mut(64);
                for ((sum, low), high) in sums.iter().zip(low).zip(high) {
                    *low = (sum & 31) as u8;
                    *high = (sum >> 5) as u8;
                }
            }
        }
    }
}
