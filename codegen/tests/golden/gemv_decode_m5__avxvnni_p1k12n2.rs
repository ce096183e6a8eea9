/// `gemv_decode_m5__avxvnni_p1k12n2`: five trits decoded by small constant tables, multiply-add on avxvnni.
///
/// Packing `m5_l8_p1_k12`: 8 rows x 20 columns in 32 bytes a step and panel, 1.600 bits a weight.
/// 14 of 16 vector registers. Sums are `i32` throughout. Steps in a K block: 12 (bound 131071). Adds the `i32` sum of each row to `out`. Reads the weights once for 2 tokens.
/// Emitted by `codegen/src/skeleton/mixed.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "avx2,avxvnni")]
pub unsafe fn gemv_decode_m5__avxvnni_p1k12n2(args: &GemvArgs) {
    // The fields of the first two trits, by the number of the pair.
    const PAIRS: [u8; 16] = {
        let (mut fields, mut index) = ([0; 16], 0);
        while index < 16 {
            let pair = index;
            fields[index] = ((pair / 3) | ((pair % 3) << 2)) as u8;
            index += 1;
        }
        fields
    };
    // What a pair is worth, by its fields.
    const BASES: [u8; 16] = {
        let (mut bases, mut pair) = ([0; 16], 0);
        while pair < 9 {
            bases[(pair / 3) | ((pair % 3) << 2)] = 28 * pair as u8;
            pair += 1;
        }
        bases
    };
    // The fields of the last three trits, by what is left.
    const THREES: [u8; 32] = {
        let (mut fields, mut three) = ([0; 32], 0);
        while three < 27 {
            fields[three] = ((three / 9) | ((three / 3 % 3) << 2) | ((three % 3) << 4))
                as u8;
            three += 1;
        }
        fields
    };
    let GemvArgs { tokens, count, steps, prefetch, .. } = *args;
    // SAFETY: by the contract of `GemvArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        let (batches, rest) = core::slice::from_raw_parts(tokens, count)
            .as_chunks::<2>();
        for [t0, t1] in batches {
            let Token { operand: operand_t0, out: out_t0, correction: correction_t0 } = *t0;
            let Token { operand: operand_t1, out: out_t1, correction: correction_t1 } = *t1;
            let total_t0 = _mm256_set1_epi32(correction_t0);
            let total_t1 = _mm256_set1_epi32(correction_t1);
            let table_of_pairs0 = _mm256_broadcastsi128_si256(
                _mm_loadu_si128(PAIRS.as_ptr().cast()),
            );
            let table_of_bases0 = _mm256_broadcastsi128_si256(
                _mm_loadu_si128(BASES.as_ptr().cast()),
            );
            let table_of_threes0 = _mm256_broadcastsi128_si256(
                _mm_loadu_si128(THREES.as_ptr().cast()),
            );
            let table_of_threes1 = _mm256_broadcastsi128_si256(
                _mm_loadu_si128(THREES.as_ptr().add(16).cast()),
            );
            let mut weights = args.weights;
            let mut out_t0 = out_t0.cast::<u8>();
            let mut out_t1 = out_t1.cast::<u8>();
            for _ in 0..args.strips {
                let mut sum0_0_t0 = _mm256_setzero_si256();
                let mut sum0_1_t0 = _mm256_setzero_si256();
                let mut sum0_2_t0 = _mm256_setzero_si256();
                let mut sum0_0_t1 = _mm256_setzero_si256();
                let mut sum0_1_t1 = _mm256_setzero_si256();
                let mut sum0_2_t1 = _mm256_setzero_si256();
                let mut at_t0 = operand_t0;
                let mut at_t1 = operand_t1;
                for _ in 0..steps {
                    let ahead = weights.wrapping_add(prefetch);
                    _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                    let codes = _mm256_loadu_si256(weights.cast());
                    let upper = _mm256_and_si256(
                        _mm256_srli_epi16::<2>(codes),
                        _mm256_set1_epi8(63),
                    );
                    let pairs0 = _mm256_shuffle_epi8(
                        table_of_pairs0,
                        _mm256_or_si256(
                            _mm256_srli_epi16::<
                                8,
                            >(_mm256_maddubs_epi16(upper, _mm256_set1_epi16(37))),
                            _mm256_and_si256(
                                _mm256_maddubs_epi16(upper, _mm256_set1_epi16(9472)),
                                _mm256_set1_epi16(-256),
                            ),
                        ),
                    );
                    let rest = _mm256_sub_epi8(
                        codes,
                        _mm256_shuffle_epi8(table_of_bases0, pairs0),
                    );
                    let threes0 = _mm256_or_si256(
                        _mm256_shuffle_epi8(
                            table_of_threes0,
                            _mm256_add_epi8(rest, _mm256_set1_epi8(0x70)),
                        ),
                        _mm256_shuffle_epi8(
                            table_of_threes1,
                            _mm256_sub_epi8(rest, _mm256_set1_epi8(16)),
                        ),
                    );
                    let fields0 = _mm256_and_si256(pairs0, _mm256_set1_epi8(3));
                    let activations0 = _mm256_set1_epi32(
                        at_t0.cast::<i32>().read_unaligned(),
                    );
                    sum0_0_t0 = _mm256_dpbusd_avx_epi32(
                        sum0_0_t0,
                        fields0,
                        activations0,
                    );
                    let activations0 = _mm256_set1_epi32(
                        at_t1.cast::<i32>().read_unaligned(),
                    );
                    sum0_0_t1 = _mm256_dpbusd_avx_epi32(
                        sum0_0_t1,
                        fields0,
                        activations0,
                    );
                    let fields0 = _mm256_and_si256(pairs0, _mm256_set1_epi8(12));
                    let activations1 = _mm256_set1_epi32(
                        at_t0.add(4).cast::<i32>().read_unaligned(),
                    );
                    sum0_1_t0 = _mm256_dpbusd_avx_epi32(
                        sum0_1_t0,
                        fields0,
                        activations1,
                    );
                    let activations1 = _mm256_set1_epi32(
                        at_t1.add(4).cast::<i32>().read_unaligned(),
                    );
                    sum0_1_t1 = _mm256_dpbusd_avx_epi32(
                        sum0_1_t1,
                        fields0,
                        activations1,
                    );
                    let fields0 = _mm256_and_si256(threes0, _mm256_set1_epi8(3));
                    let activations2 = _mm256_set1_epi32(
                        at_t0.add(8).cast::<i32>().read_unaligned(),
                    );
                    sum0_0_t0 = _mm256_dpbusd_avx_epi32(
                        sum0_0_t0,
                        fields0,
                        activations2,
                    );
                    let activations2 = _mm256_set1_epi32(
                        at_t1.add(8).cast::<i32>().read_unaligned(),
                    );
                    sum0_0_t1 = _mm256_dpbusd_avx_epi32(
                        sum0_0_t1,
                        fields0,
                        activations2,
                    );
                    let fields0 = _mm256_and_si256(threes0, _mm256_set1_epi8(12));
                    let activations3 = _mm256_set1_epi32(
                        at_t0.add(12).cast::<i32>().read_unaligned(),
                    );
                    sum0_1_t0 = _mm256_dpbusd_avx_epi32(
                        sum0_1_t0,
                        fields0,
                        activations3,
                    );
                    let activations3 = _mm256_set1_epi32(
                        at_t1.add(12).cast::<i32>().read_unaligned(),
                    );
                    sum0_1_t1 = _mm256_dpbusd_avx_epi32(
                        sum0_1_t1,
                        fields0,
                        activations3,
                    );
                    let fields0 = _mm256_and_si256(threes0, _mm256_set1_epi8(48));
                    let activations4 = _mm256_set1_epi32(
                        at_t0.add(16).cast::<i32>().read_unaligned(),
                    );
                    sum0_2_t0 = _mm256_dpbusd_avx_epi32(
                        sum0_2_t0,
                        fields0,
                        activations4,
                    );
                    let activations4 = _mm256_set1_epi32(
                        at_t1.add(16).cast::<i32>().read_unaligned(),
                    );
                    sum0_2_t1 = _mm256_dpbusd_avx_epi32(
                        sum0_2_t1,
                        fields0,
                        activations4,
                    );
                    weights = weights.add(32);
                    at_t0 = at_t0.add(20);
                    at_t1 = at_t1.add(20);
                }
                _mm256_storeu_si256(
                    out_t0.cast(),
                    _mm256_add_epi32(
                        _mm256_add_epi32(
                            _mm256_add_epi32(
                                _mm256_add_epi32(
                                    sum0_0_t0,
                                    _mm256_srai_epi32::<2>(sum0_1_t0),
                                ),
                                _mm256_srai_epi32::<4>(sum0_2_t0),
                            ),
                            total_t0,
                        ),
                        _mm256_loadu_si256(out_t0.cast()),
                    ),
                );
                _mm256_storeu_si256(
                    out_t1.cast(),
                    _mm256_add_epi32(
                        _mm256_add_epi32(
                            _mm256_add_epi32(
                                _mm256_add_epi32(
                                    sum0_0_t1,
                                    _mm256_srai_epi32::<2>(sum0_1_t1),
                                ),
                                _mm256_srai_epi32::<4>(sum0_2_t1),
                            ),
                            total_t1,
                        ),
                        _mm256_loadu_si256(out_t1.cast()),
                    ),
                );
                out_t0 = out_t0.add(32);
                out_t1 = out_t1.add(32);
            }
        }
        // Tokens that fill no batch follow one by one.
        gemv_decode_m5__avxvnni_p1k12(
            &GemvArgs {
                tokens: rest.as_ptr(),
                count: rest.len(),
                ..*args
            },
        );
    }
}

/// Prepares activations for the kernels of packing `m5_l8_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "avx2,avxvnni")]
pub unsafe fn build_m5__avxvnni(args: &BuildArgs) {
    // SAFETY: by the contract of `BuildArgs`, which gives both ranges, apart from each other.
    let (activations, operand) = unsafe {
        (
            core::slice::from_raw_parts(args.activations.cast::<u8>(), args.steps * 20),
            core::slice::from_raw_parts_mut(args.operand, args.steps * 20),
        )
    };
    for (step, out) in activations.chunks_exact(20).zip(operand.chunks_exact_mut(20)) {
        out.copy_from_slice(step);
    }
}
