/// `gemv_decode_m5__avx2_p1k12`: five trits decoded by small constant tables, multiply-add on avx2.
///
/// Packing `m5_l8_p1_k12`: 8 rows x 20 columns in 32 bytes a step and panel, 1.600 bits a weight.
/// 13 of 16 vector registers. Steps before narrow sums are widened: 4 (bound 4). Steps in a K block: 12 (bound 26214). Adds the `i32` sum of each row to `out`.
/// Emitted by `codegen/src/skeleton/mixed.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "avx2")]
pub unsafe fn gemv_decode_m5__avx2_p1k12(args: &GemvArgs) {
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
        for token in core::slice::from_raw_parts(tokens, count) {
            let Token { operand, out, correction } = *token;
            let total = _mm256_set1_epi32(correction);
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
            let mut out = out.cast::<u8>();
            for _ in 0..args.strips {
                let mut wide0 = _mm256_setzero_si256();
                let mut at = operand;
                let mut left = steps;
                while left >= 4 {
                    let mut sum0_0 = _mm256_setzero_si256();
                    let mut sum0_1 = _mm256_setzero_si256();
                    let mut sum0_2 = _mm256_setzero_si256();
                    for _ in 0..4 {
                        let ahead = weights.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        let activations0 = _mm256_set1_epi32(
                            at.cast::<i32>().read_unaligned(),
                        );
                        let activations1 = _mm256_set1_epi32(
                            at.add(4).cast::<i32>().read_unaligned(),
                        );
                        let activations2 = _mm256_set1_epi32(
                            at.add(8).cast::<i32>().read_unaligned(),
                        );
                        let activations3 = _mm256_set1_epi32(
                            at.add(12).cast::<i32>().read_unaligned(),
                        );
                        let activations4 = _mm256_set1_epi32(
                            at.add(16).cast::<i32>().read_unaligned(),
                        );
                        let codes = _mm256_loadu_si256(weights.cast());
                        let upper = _mm256_and_si256(
                            _mm256_srli_epi16::<2>(codes),
                            _mm256_set1_epi8(63),
                        );
                        let pairs = _mm256_shuffle_epi8(
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
                            _mm256_shuffle_epi8(table_of_bases0, pairs),
                        );
                        let threes = _mm256_or_si256(
                            _mm256_shuffle_epi8(
                                table_of_threes0,
                                _mm256_add_epi8(rest, _mm256_set1_epi8(0x70)),
                            ),
                            _mm256_shuffle_epi8(
                                table_of_threes1,
                                _mm256_sub_epi8(rest, _mm256_set1_epi8(16)),
                            ),
                        );
                        sum0_0 = _mm256_add_epi16(
                            sum0_0,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(pairs, _mm256_set1_epi8(3)),
                                activations0,
                            ),
                        );
                        sum0_1 = _mm256_add_epi16(
                            sum0_1,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(pairs, _mm256_set1_epi8(12)),
                                activations1,
                            ),
                        );
                        sum0_0 = _mm256_add_epi16(
                            sum0_0,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(threes, _mm256_set1_epi8(3)),
                                activations2,
                            ),
                        );
                        sum0_1 = _mm256_add_epi16(
                            sum0_1,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(threes, _mm256_set1_epi8(12)),
                                activations3,
                            ),
                        );
                        sum0_2 = _mm256_add_epi16(
                            sum0_2,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(threes, _mm256_set1_epi8(48)),
                                activations4,
                            ),
                        );
                        weights = weights.add(32);
                        at = at.add(20);
                    }
                    wide0 = _mm256_add_epi32(
                        wide0,
                        _mm256_madd_epi16(sum0_0, _mm256_set1_epi16(16)),
                    );
                    wide0 = _mm256_add_epi32(
                        wide0,
                        _mm256_madd_epi16(sum0_1, _mm256_set1_epi16(4)),
                    );
                    wide0 = _mm256_add_epi32(
                        wide0,
                        _mm256_madd_epi16(sum0_2, _mm256_set1_epi16(1)),
                    );
                    left -= 4;
                }
                if left > 0 {
                    let mut sum0_0 = _mm256_setzero_si256();
                    let mut sum0_1 = _mm256_setzero_si256();
                    let mut sum0_2 = _mm256_setzero_si256();
                    for _ in 0..left {
                        let ahead = weights.wrapping_add(prefetch);
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        let activations0 = _mm256_set1_epi32(
                            at.cast::<i32>().read_unaligned(),
                        );
                        let activations1 = _mm256_set1_epi32(
                            at.add(4).cast::<i32>().read_unaligned(),
                        );
                        let activations2 = _mm256_set1_epi32(
                            at.add(8).cast::<i32>().read_unaligned(),
                        );
                        let activations3 = _mm256_set1_epi32(
                            at.add(12).cast::<i32>().read_unaligned(),
                        );
                        let activations4 = _mm256_set1_epi32(
                            at.add(16).cast::<i32>().read_unaligned(),
                        );
                        let codes = _mm256_loadu_si256(weights.cast());
                        let upper = _mm256_and_si256(
                            _mm256_srli_epi16::<2>(codes),
                            _mm256_set1_epi8(63),
                        );
                        let pairs = _mm256_shuffle_epi8(
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
                            _mm256_shuffle_epi8(table_of_bases0, pairs),
                        );
                        let threes = _mm256_or_si256(
                            _mm256_shuffle_epi8(
                                table_of_threes0,
                                _mm256_add_epi8(rest, _mm256_set1_epi8(0x70)),
                            ),
                            _mm256_shuffle_epi8(
                                table_of_threes1,
                                _mm256_sub_epi8(rest, _mm256_set1_epi8(16)),
                            ),
                        );
                        sum0_0 = _mm256_add_epi16(
                            sum0_0,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(pairs, _mm256_set1_epi8(3)),
                                activations0,
                            ),
                        );
                        sum0_1 = _mm256_add_epi16(
                            sum0_1,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(pairs, _mm256_set1_epi8(12)),
                                activations1,
                            ),
                        );
                        sum0_0 = _mm256_add_epi16(
                            sum0_0,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(threes, _mm256_set1_epi8(3)),
                                activations2,
                            ),
                        );
                        sum0_1 = _mm256_add_epi16(
                            sum0_1,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(threes, _mm256_set1_epi8(12)),
                                activations3,
                            ),
                        );
                        sum0_2 = _mm256_add_epi16(
                            sum0_2,
                            _mm256_maddubs_epi16(
                                _mm256_and_si256(threes, _mm256_set1_epi8(48)),
                                activations4,
                            ),
                        );
                        weights = weights.add(32);
                        at = at.add(20);
                    }
                    wide0 = _mm256_add_epi32(
                        wide0,
                        _mm256_madd_epi16(sum0_0, _mm256_set1_epi16(16)),
                    );
                    wide0 = _mm256_add_epi32(
                        wide0,
                        _mm256_madd_epi16(sum0_1, _mm256_set1_epi16(4)),
                    );
                    wide0 = _mm256_add_epi32(
                        wide0,
                        _mm256_madd_epi16(sum0_2, _mm256_set1_epi16(1)),
                    );
                }
                _mm256_storeu_si256(
                    out.cast(),
                    _mm256_add_epi32(
                        _mm256_add_epi32(_mm256_srai_epi32::<4>(wide0), total),
                        _mm256_loadu_si256(out.cast()),
                    ),
                );
                out = out.add(32);
            }
        }
    }
}

/// Prepares activations for the kernels of packing `m5_l8_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "avx2")]
pub unsafe fn build_m5__avx2(args: &BuildArgs) {
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
