/// `gemv_decode_d5__avx512vbmi_p2k12n2`: five trits decoded by constant tables, multiply-add on avx512vbmi.
///
/// Packing `d5_l16_p2_k12`: 16 rows x 20 columns in 64 bytes a step and panel, 1.600 bits a weight.
/// 26 of 32 vector registers. Sums are `i32` throughout. Steps in a K block: 12 (bound 131071). Adds the `i32` sum of each row to `out`. Reads the weights once for 2 tokens.
/// Emitted by `codegen/src/skeleton/decode.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni,gfni")]
pub unsafe fn gemv_decode_d5__avx512vbmi_p2k12n2(args: &GemvArgs) {
    // The first two trits and the lower bit of the third, by the lower seven bits of a code.
    const FIRST: [u8; 128] = {
        let (mut fields, mut view) = ([0; 128], 0);
        while view < 128 {
            let (bit, shared) = (view % 2, view / 2);
            let (k, case) = (shared / 7, shared % 7);
            let (place, middle) = match case {
                0 => (k, bit),
                _ => {
                    let middle = (case - 1) / 2;
                    let place = if case % 2 == 1 {
                        k + 8 * bit
                    } else {
                        k + 1 + 2 * bit
                    };
                    (place, middle % 2)
                }
            };
            let place = place % 9;
            fields[view] = ((place / 3) | ((place % 3) << 2) | (middle << 4)) as u8;
            view += 1;
        }
        fields
    };
    // The last two trits and the upper bit of the third, by the upper seven bits.
    const LAST: [u8; 128] = {
        let (mut fields, mut view) = ([0; 128], 0);
        while view < 128 {
            let (bit, shared) = (view / 64, view % 64);
            let (k, case) = (shared / 7, shared % 7);
            let (place, middle) = match case {
                0 => (k, 2 * bit),
                _ => {
                    let middle = (case - 1) / 2;
                    let place = if case % 2 == 1 {
                        k + 1 + 2 * bit
                    } else {
                        k + 8 * bit
                    };
                    (place, middle / 2 * 2)
                }
            };
            let place = place % 9;
            fields[view] = ((place / 3) | ((place % 3) << 2) | (middle << 4)) as u8;
            view += 1;
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
            let total_t0 = _mm512_set1_epi32(correction_t0);
            let total_t1 = _mm512_set1_epi32(correction_t1);
            let (first0, first1) = (
                _mm512_loadu_si512(FIRST.as_ptr().cast()),
                _mm512_loadu_si512(FIRST.as_ptr().add(64).cast()),
            );
            let (last0, last1) = (
                _mm512_loadu_si512(LAST.as_ptr().cast()),
                _mm512_loadu_si512(LAST.as_ptr().add(64).cast()),
            );
            let mut weights = args.weights;
            let mut out_t0 = out_t0.cast::<u8>();
            let mut out_t1 = out_t1.cast::<u8>();
            for _ in 0..args.strips {
                let mut sum0_0_t0 = _mm512_setzero_si512();
                let mut sum0_1_t0 = _mm512_setzero_si512();
                let mut sum0_2_t0 = _mm512_setzero_si512();
                let mut sum1_0_t0 = _mm512_setzero_si512();
                let mut sum1_1_t0 = _mm512_setzero_si512();
                let mut sum1_2_t0 = _mm512_setzero_si512();
                let mut sum0_0_t1 = _mm512_setzero_si512();
                let mut sum0_1_t1 = _mm512_setzero_si512();
                let mut sum0_2_t1 = _mm512_setzero_si512();
                let mut sum1_0_t1 = _mm512_setzero_si512();
                let mut sum1_1_t1 = _mm512_setzero_si512();
                let mut sum1_2_t1 = _mm512_setzero_si512();
                let mut at_t0 = operand_t0;
                let mut at_t1 = operand_t1;
                for _ in 0..steps {
                    let ahead = weights.wrapping_add(prefetch);
                    _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                    _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(64).cast());
                    let codes = _mm512_loadu_si512(weights.cast());
                    let (decoded_first0, decoded_last0) = (
                        _mm512_permutex2var_epi8(first0, codes, first1),
                        _mm512_permutex2var_epi8(
                            last0,
                            _mm512_srli_epi16::<1>(codes),
                            last1,
                        ),
                    );
                    let codes = _mm512_loadu_si512(weights.add(64).cast());
                    let (decoded_first1, decoded_last1) = (
                        _mm512_permutex2var_epi8(first0, codes, first1),
                        _mm512_permutex2var_epi8(
                            last0,
                            _mm512_srli_epi16::<1>(codes),
                            last1,
                        ),
                    );
                    let fields0 = _mm512_and_si512(decoded_first0, _mm512_set1_epi8(3));
                    let fields1 = _mm512_and_si512(decoded_first1, _mm512_set1_epi8(3));
                    let activations0 = _mm512_set1_epi32(
                        at_t0.cast::<i32>().read_unaligned(),
                    );
                    sum0_0_t0 = _mm512_dpbusd_epi32(sum0_0_t0, fields0, activations0);
                    sum1_0_t0 = _mm512_dpbusd_epi32(sum1_0_t0, fields1, activations0);
                    let activations0 = _mm512_set1_epi32(
                        at_t1.cast::<i32>().read_unaligned(),
                    );
                    sum0_0_t1 = _mm512_dpbusd_epi32(sum0_0_t1, fields0, activations0);
                    sum1_0_t1 = _mm512_dpbusd_epi32(sum1_0_t1, fields1, activations0);
                    let fields0 = _mm512_and_si512(decoded_first0, _mm512_set1_epi8(12));
                    let fields1 = _mm512_and_si512(decoded_first1, _mm512_set1_epi8(12));
                    let activations1 = _mm512_set1_epi32(
                        at_t0.add(4).cast::<i32>().read_unaligned(),
                    );
                    sum0_1_t0 = _mm512_dpbusd_epi32(sum0_1_t0, fields0, activations1);
                    sum1_1_t0 = _mm512_dpbusd_epi32(sum1_1_t0, fields1, activations1);
                    let activations1 = _mm512_set1_epi32(
                        at_t1.add(4).cast::<i32>().read_unaligned(),
                    );
                    sum0_1_t1 = _mm512_dpbusd_epi32(sum0_1_t1, fields0, activations1);
                    sum1_1_t1 = _mm512_dpbusd_epi32(sum1_1_t1, fields1, activations1);
                    let fields0 = _mm512_ternarylogic_epi32::<
                        0xa8,
                    >(decoded_first0, decoded_last0, _mm512_set1_epi8(48));
                    let fields1 = _mm512_ternarylogic_epi32::<
                        0xa8,
                    >(decoded_first1, decoded_last1, _mm512_set1_epi8(48));
                    let activations2 = _mm512_set1_epi32(
                        at_t0.add(8).cast::<i32>().read_unaligned(),
                    );
                    sum0_2_t0 = _mm512_dpbusd_epi32(sum0_2_t0, fields0, activations2);
                    sum1_2_t0 = _mm512_dpbusd_epi32(sum1_2_t0, fields1, activations2);
                    let activations2 = _mm512_set1_epi32(
                        at_t1.add(8).cast::<i32>().read_unaligned(),
                    );
                    sum0_2_t1 = _mm512_dpbusd_epi32(sum0_2_t1, fields0, activations2);
                    sum1_2_t1 = _mm512_dpbusd_epi32(sum1_2_t1, fields1, activations2);
                    let fields0 = _mm512_and_si512(decoded_last0, _mm512_set1_epi8(12));
                    let fields1 = _mm512_and_si512(decoded_last1, _mm512_set1_epi8(12));
                    let activations3 = _mm512_set1_epi32(
                        at_t0.add(12).cast::<i32>().read_unaligned(),
                    );
                    sum0_1_t0 = _mm512_dpbusd_epi32(sum0_1_t0, fields0, activations3);
                    sum1_1_t0 = _mm512_dpbusd_epi32(sum1_1_t0, fields1, activations3);
                    let activations3 = _mm512_set1_epi32(
                        at_t1.add(12).cast::<i32>().read_unaligned(),
                    );
                    sum0_1_t1 = _mm512_dpbusd_epi32(sum0_1_t1, fields0, activations3);
                    sum1_1_t1 = _mm512_dpbusd_epi32(sum1_1_t1, fields1, activations3);
                    let fields0 = _mm512_and_si512(decoded_last0, _mm512_set1_epi8(3));
                    let fields1 = _mm512_and_si512(decoded_last1, _mm512_set1_epi8(3));
                    let activations4 = _mm512_set1_epi32(
                        at_t0.add(16).cast::<i32>().read_unaligned(),
                    );
                    sum0_0_t0 = _mm512_dpbusd_epi32(sum0_0_t0, fields0, activations4);
                    sum1_0_t0 = _mm512_dpbusd_epi32(sum1_0_t0, fields1, activations4);
                    let activations4 = _mm512_set1_epi32(
                        at_t1.add(16).cast::<i32>().read_unaligned(),
                    );
                    sum0_0_t1 = _mm512_dpbusd_epi32(sum0_0_t1, fields0, activations4);
                    sum1_0_t1 = _mm512_dpbusd_epi32(sum1_0_t1, fields1, activations4);
                    weights = weights.add(128);
                    at_t0 = at_t0.add(20);
                    at_t1 = at_t1.add(20);
                }
                _mm512_storeu_si512(
                    out_t0.cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(
                            _mm512_add_epi32(
                                _mm512_add_epi32(
                                    sum0_0_t0,
                                    _mm512_srai_epi32::<2>(sum0_1_t0),
                                ),
                                _mm512_srai_epi32::<4>(sum0_2_t0),
                            ),
                            total_t0,
                        ),
                        _mm512_loadu_si512(out_t0.cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out_t0.add(64).cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(
                            _mm512_add_epi32(
                                _mm512_add_epi32(
                                    sum1_0_t0,
                                    _mm512_srai_epi32::<2>(sum1_1_t0),
                                ),
                                _mm512_srai_epi32::<4>(sum1_2_t0),
                            ),
                            total_t0,
                        ),
                        _mm512_loadu_si512(out_t0.add(64).cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out_t1.cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(
                            _mm512_add_epi32(
                                _mm512_add_epi32(
                                    sum0_0_t1,
                                    _mm512_srai_epi32::<2>(sum0_1_t1),
                                ),
                                _mm512_srai_epi32::<4>(sum0_2_t1),
                            ),
                            total_t1,
                        ),
                        _mm512_loadu_si512(out_t1.cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out_t1.add(64).cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(
                            _mm512_add_epi32(
                                _mm512_add_epi32(
                                    sum1_0_t1,
                                    _mm512_srai_epi32::<2>(sum1_1_t1),
                                ),
                                _mm512_srai_epi32::<4>(sum1_2_t1),
                            ),
                            total_t1,
                        ),
                        _mm512_loadu_si512(out_t1.add(64).cast()),
                    ),
                );
                out_t0 = out_t0.add(128);
                out_t1 = out_t1.add(128);
            }
            // Panels that fill no strip follow one by one.
            for _ in 0..args.singles {
                let mut sum0_0_t0 = _mm512_setzero_si512();
                let mut sum0_1_t0 = _mm512_setzero_si512();
                let mut sum0_2_t0 = _mm512_setzero_si512();
                let mut sum0_0_t1 = _mm512_setzero_si512();
                let mut sum0_1_t1 = _mm512_setzero_si512();
                let mut sum0_2_t1 = _mm512_setzero_si512();
                let mut at_t0 = operand_t0;
                let mut at_t1 = operand_t1;
                for _ in 0..steps {
                    let ahead = weights.wrapping_add(prefetch);
                    _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                    let codes = _mm512_loadu_si512(weights.cast());
                    let (decoded_first0, decoded_last0) = (
                        _mm512_permutex2var_epi8(first0, codes, first1),
                        _mm512_permutex2var_epi8(
                            last0,
                            _mm512_srli_epi16::<1>(codes),
                            last1,
                        ),
                    );
                    let fields0 = _mm512_and_si512(decoded_first0, _mm512_set1_epi8(3));
                    let activations0 = _mm512_set1_epi32(
                        at_t0.cast::<i32>().read_unaligned(),
                    );
                    sum0_0_t0 = _mm512_dpbusd_epi32(sum0_0_t0, fields0, activations0);
                    let activations0 = _mm512_set1_epi32(
                        at_t1.cast::<i32>().read_unaligned(),
                    );
                    sum0_0_t1 = _mm512_dpbusd_epi32(sum0_0_t1, fields0, activations0);
                    let fields0 = _mm512_and_si512(decoded_first0, _mm512_set1_epi8(12));
                    let activations1 = _mm512_set1_epi32(
                        at_t0.add(4).cast::<i32>().read_unaligned(),
                    );
                    sum0_1_t0 = _mm512_dpbusd_epi32(sum0_1_t0, fields0, activations1);
                    let activations1 = _mm512_set1_epi32(
                        at_t1.add(4).cast::<i32>().read_unaligned(),
                    );
                    sum0_1_t1 = _mm512_dpbusd_epi32(sum0_1_t1, fields0, activations1);
                    let fields0 = _mm512_ternarylogic_epi32::<
                        0xa8,
                    >(decoded_first0, decoded_last0, _mm512_set1_epi8(48));
                    let activations2 = _mm512_set1_epi32(
                        at_t0.add(8).cast::<i32>().read_unaligned(),
                    );
                    sum0_2_t0 = _mm512_dpbusd_epi32(sum0_2_t0, fields0, activations2);
                    let activations2 = _mm512_set1_epi32(
                        at_t1.add(8).cast::<i32>().read_unaligned(),
                    );
                    sum0_2_t1 = _mm512_dpbusd_epi32(sum0_2_t1, fields0, activations2);
                    let fields0 = _mm512_and_si512(decoded_last0, _mm512_set1_epi8(12));
                    let activations3 = _mm512_set1_epi32(
                        at_t0.add(12).cast::<i32>().read_unaligned(),
                    );
                    sum0_1_t0 = _mm512_dpbusd_epi32(sum0_1_t0, fields0, activations3);
                    let activations3 = _mm512_set1_epi32(
                        at_t1.add(12).cast::<i32>().read_unaligned(),
                    );
                    sum0_1_t1 = _mm512_dpbusd_epi32(sum0_1_t1, fields0, activations3);
                    let fields0 = _mm512_and_si512(decoded_last0, _mm512_set1_epi8(3));
                    let activations4 = _mm512_set1_epi32(
                        at_t0.add(16).cast::<i32>().read_unaligned(),
                    );
                    sum0_0_t0 = _mm512_dpbusd_epi32(sum0_0_t0, fields0, activations4);
                    let activations4 = _mm512_set1_epi32(
                        at_t1.add(16).cast::<i32>().read_unaligned(),
                    );
                    sum0_0_t1 = _mm512_dpbusd_epi32(sum0_0_t1, fields0, activations4);
                    weights = weights.add(64);
                    at_t0 = at_t0.add(20);
                    at_t1 = at_t1.add(20);
                }
                _mm512_storeu_si512(
                    out_t0.cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(
                            _mm512_add_epi32(
                                _mm512_add_epi32(
                                    sum0_0_t0,
                                    _mm512_srai_epi32::<2>(sum0_1_t0),
                                ),
                                _mm512_srai_epi32::<4>(sum0_2_t0),
                            ),
                            total_t0,
                        ),
                        _mm512_loadu_si512(out_t0.cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out_t1.cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(
                            _mm512_add_epi32(
                                _mm512_add_epi32(
                                    sum0_0_t1,
                                    _mm512_srai_epi32::<2>(sum0_1_t1),
                                ),
                                _mm512_srai_epi32::<4>(sum0_2_t1),
                            ),
                            total_t1,
                        ),
                        _mm512_loadu_si512(out_t1.cast()),
                    ),
                );
                out_t0 = out_t0.add(64);
                out_t1 = out_t1.add(64);
            }
        }
        // Tokens that fill no batch follow one by one.
        gemv_decode_d5__avx512vbmi_p2k12(
            &GemvArgs {
                tokens: rest.as_ptr(),
                count: rest.len(),
                ..*args
            },
        );
    }
}

/// Prepares activations for the kernels of packing `d5_l16_p2_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni,gfni")]
pub unsafe fn build_d5__avx512vbmi(args: &BuildArgs) {
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
