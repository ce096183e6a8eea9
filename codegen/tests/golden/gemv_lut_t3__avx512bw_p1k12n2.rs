/// `gemv_lut_t3__avx512bw_p1k12n2`: lookup of three trits, mirrored on avx512bw.
///
/// Packing `t3_l64_p1_k12`: 64 rows x 24 columns in 320 bytes a step and panel, 1.667 bits a weight.
/// 11 of 32 vector registers. Steps before narrow sums are widened: 1 (bound 1). Steps in a K block: 12 (bound 257). Adds the `i32` sum of each row to `out`. Reads the weights once for 2 tokens.
/// Emitted by `codegen/src/skeleton/lut.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn gemv_lut_t3__avx512bw_p1k12n2(args: &GemvArgs) {
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
                    let mut low0_t0 = _mm512_set1_epi8(-128);
                    let mut high0_t0 = _mm512_set1_epi8(-128);
                    let mut low0_t1 = _mm512_set1_epi8(-128);
                    let mut high0_t1 = _mm512_set1_epi8(-128);
                    let ahead = weights.wrapping_add(prefetch);
                    _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                    _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(64).cast());
                    _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(128).cast());
                    _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(192).cast());
                    _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(256).cast());
                    let nibble = _mm512_set1_epi8(15);
                    let mut signs0 = _mm512_loadu_si512(weights.add(256).cast());
                    let pair0 = _mm512_loadu_si512(weights.cast());
                    let codes0 = _mm512_and_si512(pair0, nibble);
                    let sign0 = _mm512_movm_epi8(_mm512_movepi8_mask(signs0));
                    let (low_table, high_table) = (
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t0.cast())),
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t0.add(16).cast())),
                    );
                    low0_t0 = _mm512_add_epi8(
                        low0_t0,
                        _mm512_xor_si512(_mm512_shuffle_epi8(low_table, codes0), sign0),
                    );
                    high0_t0 = _mm512_add_epi8(
                        high0_t0,
                        _mm512_xor_si512(_mm512_shuffle_epi8(high_table, codes0), sign0),
                    );
                    let (low_table, high_table) = (
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t1.cast())),
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t1.add(16).cast())),
                    );
                    low0_t1 = _mm512_add_epi8(
                        low0_t1,
                        _mm512_xor_si512(_mm512_shuffle_epi8(low_table, codes0), sign0),
                    );
                    high0_t1 = _mm512_add_epi8(
                        high0_t1,
                        _mm512_xor_si512(_mm512_shuffle_epi8(high_table, codes0), sign0),
                    );
                    signs0 = _mm512_add_epi8(signs0, signs0);
                    let codes0 = _mm512_and_si512(_mm512_srli_epi16::<4>(pair0), nibble);
                    let sign0 = _mm512_movm_epi8(_mm512_movepi8_mask(signs0));
                    let (low_table, high_table) = (
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t0.add(32).cast())),
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t0.add(48).cast())),
                    );
                    low0_t0 = _mm512_add_epi8(
                        low0_t0,
                        _mm512_xor_si512(_mm512_shuffle_epi8(low_table, codes0), sign0),
                    );
                    high0_t0 = _mm512_add_epi8(
                        high0_t0,
                        _mm512_xor_si512(_mm512_shuffle_epi8(high_table, codes0), sign0),
                    );
                    let (low_table, high_table) = (
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t1.add(32).cast())),
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t1.add(48).cast())),
                    );
                    low0_t1 = _mm512_add_epi8(
                        low0_t1,
                        _mm512_xor_si512(_mm512_shuffle_epi8(low_table, codes0), sign0),
                    );
                    high0_t1 = _mm512_add_epi8(
                        high0_t1,
                        _mm512_xor_si512(_mm512_shuffle_epi8(high_table, codes0), sign0),
                    );
                    signs0 = _mm512_add_epi8(signs0, signs0);
                    let pair0 = _mm512_loadu_si512(weights.add(64).cast());
                    let codes0 = _mm512_and_si512(pair0, nibble);
                    let sign0 = _mm512_movm_epi8(_mm512_movepi8_mask(signs0));
                    let (low_table, high_table) = (
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t0.add(64).cast())),
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t0.add(80).cast())),
                    );
                    low0_t0 = _mm512_add_epi8(
                        low0_t0,
                        _mm512_xor_si512(_mm512_shuffle_epi8(low_table, codes0), sign0),
                    );
                    high0_t0 = _mm512_add_epi8(
                        high0_t0,
                        _mm512_xor_si512(_mm512_shuffle_epi8(high_table, codes0), sign0),
                    );
                    let (low_table, high_table) = (
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t1.add(64).cast())),
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t1.add(80).cast())),
                    );
                    low0_t1 = _mm512_add_epi8(
                        low0_t1,
                        _mm512_xor_si512(_mm512_shuffle_epi8(low_table, codes0), sign0),
                    );
                    high0_t1 = _mm512_add_epi8(
                        high0_t1,
                        _mm512_xor_si512(_mm512_shuffle_epi8(high_table, codes0), sign0),
                    );
                    signs0 = _mm512_add_epi8(signs0, signs0);
                    let codes0 = _mm512_and_si512(_mm512_srli_epi16::<4>(pair0), nibble);
                    let sign0 = _mm512_movm_epi8(_mm512_movepi8_mask(signs0));
                    let (low_table, high_table) = (
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t0.add(96).cast())),
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t0.add(112).cast())),
                    );
                    low0_t0 = _mm512_add_epi8(
                        low0_t0,
                        _mm512_xor_si512(_mm512_shuffle_epi8(low_table, codes0), sign0),
                    );
                    high0_t0 = _mm512_add_epi8(
                        high0_t0,
                        _mm512_xor_si512(_mm512_shuffle_epi8(high_table, codes0), sign0),
                    );
                    let (low_table, high_table) = (
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t1.add(96).cast())),
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t1.add(112).cast())),
                    );
                    low0_t1 = _mm512_add_epi8(
                        low0_t1,
                        _mm512_xor_si512(_mm512_shuffle_epi8(low_table, codes0), sign0),
                    );
                    high0_t1 = _mm512_add_epi8(
                        high0_t1,
                        _mm512_xor_si512(_mm512_shuffle_epi8(high_table, codes0), sign0),
                    );
                    signs0 = _mm512_add_epi8(signs0, signs0);
                    let pair0 = _mm512_loadu_si512(weights.add(128).cast());
                    let codes0 = _mm512_and_si512(pair0, nibble);
                    let sign0 = _mm512_movm_epi8(_mm512_movepi8_mask(signs0));
                    let (low_table, high_table) = (
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t0.add(128).cast())),
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t0.add(144).cast())),
                    );
                    low0_t0 = _mm512_add_epi8(
                        low0_t0,
                        _mm512_xor_si512(_mm512_shuffle_epi8(low_table, codes0), sign0),
                    );
                    high0_t0 = _mm512_add_epi8(
                        high0_t0,
                        _mm512_xor_si512(_mm512_shuffle_epi8(high_table, codes0), sign0),
                    );
                    let (low_table, high_table) = (
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t1.add(128).cast())),
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t1.add(144).cast())),
                    );
                    low0_t1 = _mm512_add_epi8(
                        low0_t1,
                        _mm512_xor_si512(_mm512_shuffle_epi8(low_table, codes0), sign0),
                    );
                    high0_t1 = _mm512_add_epi8(
                        high0_t1,
                        _mm512_xor_si512(_mm512_shuffle_epi8(high_table, codes0), sign0),
                    );
                    signs0 = _mm512_add_epi8(signs0, signs0);
                    let codes0 = _mm512_and_si512(_mm512_srli_epi16::<4>(pair0), nibble);
                    let sign0 = _mm512_movm_epi8(_mm512_movepi8_mask(signs0));
                    let (low_table, high_table) = (
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t0.add(160).cast())),
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t0.add(176).cast())),
                    );
                    low0_t0 = _mm512_add_epi8(
                        low0_t0,
                        _mm512_xor_si512(_mm512_shuffle_epi8(low_table, codes0), sign0),
                    );
                    high0_t0 = _mm512_add_epi8(
                        high0_t0,
                        _mm512_xor_si512(_mm512_shuffle_epi8(high_table, codes0), sign0),
                    );
                    let (low_table, high_table) = (
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t1.add(160).cast())),
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t1.add(176).cast())),
                    );
                    low0_t1 = _mm512_add_epi8(
                        low0_t1,
                        _mm512_xor_si512(_mm512_shuffle_epi8(low_table, codes0), sign0),
                    );
                    high0_t1 = _mm512_add_epi8(
                        high0_t1,
                        _mm512_xor_si512(_mm512_shuffle_epi8(high_table, codes0), sign0),
                    );
                    signs0 = _mm512_add_epi8(signs0, signs0);
                    let pair0 = _mm512_loadu_si512(weights.add(192).cast());
                    let codes0 = _mm512_and_si512(pair0, nibble);
                    let sign0 = _mm512_movm_epi8(_mm512_movepi8_mask(signs0));
                    let (low_table, high_table) = (
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t0.add(192).cast())),
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t0.add(208).cast())),
                    );
                    low0_t0 = _mm512_add_epi8(
                        low0_t0,
                        _mm512_xor_si512(_mm512_shuffle_epi8(low_table, codes0), sign0),
                    );
                    high0_t0 = _mm512_add_epi8(
                        high0_t0,
                        _mm512_xor_si512(_mm512_shuffle_epi8(high_table, codes0), sign0),
                    );
                    let (low_table, high_table) = (
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t1.add(192).cast())),
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t1.add(208).cast())),
                    );
                    low0_t1 = _mm512_add_epi8(
                        low0_t1,
                        _mm512_xor_si512(_mm512_shuffle_epi8(low_table, codes0), sign0),
                    );
                    high0_t1 = _mm512_add_epi8(
                        high0_t1,
                        _mm512_xor_si512(_mm512_shuffle_epi8(high_table, codes0), sign0),
                    );
                    signs0 = _mm512_add_epi8(signs0, signs0);
                    let codes0 = _mm512_and_si512(_mm512_srli_epi16::<4>(pair0), nibble);
                    let sign0 = _mm512_movm_epi8(_mm512_movepi8_mask(signs0));
                    let (low_table, high_table) = (
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t0.add(224).cast())),
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t0.add(240).cast())),
                    );
                    low0_t0 = _mm512_add_epi8(
                        low0_t0,
                        _mm512_xor_si512(_mm512_shuffle_epi8(low_table, codes0), sign0),
                    );
                    high0_t0 = _mm512_add_epi8(
                        high0_t0,
                        _mm512_xor_si512(_mm512_shuffle_epi8(high_table, codes0), sign0),
                    );
                    let (low_table, high_table) = (
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t1.add(224).cast())),
                        _mm512_broadcast_i32x4(_mm_loadu_si128(at_t1.add(240).cast())),
                    );
                    low0_t1 = _mm512_add_epi8(
                        low0_t1,
                        _mm512_xor_si512(_mm512_shuffle_epi8(low_table, codes0), sign0),
                    );
                    high0_t1 = _mm512_add_epi8(
                        high0_t1,
                        _mm512_xor_si512(_mm512_shuffle_epi8(high_table, codes0), sign0),
                    );
                    weights = weights.add(320);
                    at_t0 = at_t0.add(256);
                    at_t1 = at_t1.add(256);
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
                    _mm512_set1_epi32(27),
                    _mm512_set1_epi32(65535),
                    _mm512_set1_epi32(
                        112 * steps as i32 - 3584 * steps.div_ceil(1) as i32,
                    ),
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
        gemv_lut_t3__avx512bw_p1k12(
            &GemvArgs {
                tokens: rest.as_ptr(),
                count: rest.len(),
                ..*args
            },
        );
    }
}

/// Prepares activations for the kernels of packing `t3_l64_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn build_t3__avx512bw(args: &BuildArgs) {
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
