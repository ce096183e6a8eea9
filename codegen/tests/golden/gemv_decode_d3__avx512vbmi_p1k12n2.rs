/// `gemv_decode_d3__avx512vbmi_p1k12n2`: three trits decoded by a constant table, multiply-add on avx512vbmi.
///
/// Packing `d3_l16_p1_k12`: 16 rows x 36 columns in 128 bytes a step and panel, 1.778 bits a weight.
/// 19 of 32 vector registers. Sums are `i32` throughout. Steps in a K block: 12 (bound 43690). Adds the `i32` sum of each row to `out`. Reads the weights once for 2 tokens.
/// Emitted by `codegen/src/skeleton/decode.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni,gfni")]
pub unsafe fn gemv_decode_d3__avx512vbmi_p1k12n2(args: &GemvArgs) {
    // The fields of three trits, for all 32 codes twice: the sixth bit of an index does not matter.
    const FIELDS: [u8; 64] = {
        let (mut fields, mut index) = ([0; 64], 0);
        while index < 64 {
            let code = index % 32;
            fields[index] = ((code / 9) | ((code / 3 % 3) << 2) | ((code % 3) << 4))
                as u8;
            index += 1;
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
            let fields = _mm512_loadu_si512(FIELDS.as_ptr().cast());
            // Bit offsets of codes 0 to 3 in the low words of two rows, of 4 to 7 in the high ones,
            // of 8 to 11 in what both have left.
            let (pick_low, pick_high, pick_rest) = (
                _mm512_set1_epi64(0x2f2a2520_0f0a0500),
                _mm512_set1_epi64(0x39342f2a_19140f0a),
                _mm512_set1_epi64(0x25203934_05001914),
            );
            let rest_of_low = _mm512_set1_epi32(0x3ff0_0000);
            let mut weights = args.weights;
            let mut out_t0 = out_t0.cast::<u8>();
            let mut out_t1 = out_t1.cast::<u8>();
            for _ in 0..args.strips {
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
                    _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(64).cast());
                    let (low0, high0) = (
                        _mm512_loadu_si512(weights.cast()),
                        _mm512_loadu_si512(weights.add(64).cast()),
                    );
                    let rest0 = _mm512_ternarylogic_epi32::<
                        0xca,
                    >(rest_of_low, low0, high0);
                    let decoded0 = _mm512_permutexvar_epi8(
                        _mm512_multishift_epi64_epi8(pick_low, low0),
                        fields,
                    );
                    let fields0 = _mm512_and_si512(decoded0, _mm512_set1_epi8(3));
                    let activations0 = _mm512_set1_epi32(
                        at_t0.cast::<i32>().read_unaligned(),
                    );
                    sum0_0_t0 = _mm512_dpbusd_epi32(sum0_0_t0, fields0, activations0);
                    let activations0 = _mm512_set1_epi32(
                        at_t1.cast::<i32>().read_unaligned(),
                    );
                    sum0_0_t1 = _mm512_dpbusd_epi32(sum0_0_t1, fields0, activations0);
                    let fields0 = _mm512_and_si512(decoded0, _mm512_set1_epi8(12));
                    let activations1 = _mm512_set1_epi32(
                        at_t0.add(4).cast::<i32>().read_unaligned(),
                    );
                    sum0_1_t0 = _mm512_dpbusd_epi32(sum0_1_t0, fields0, activations1);
                    let activations1 = _mm512_set1_epi32(
                        at_t1.add(4).cast::<i32>().read_unaligned(),
                    );
                    sum0_1_t1 = _mm512_dpbusd_epi32(sum0_1_t1, fields0, activations1);
                    let fields0 = _mm512_and_si512(decoded0, _mm512_set1_epi8(48));
                    let activations2 = _mm512_set1_epi32(
                        at_t0.add(8).cast::<i32>().read_unaligned(),
                    );
                    sum0_2_t0 = _mm512_dpbusd_epi32(sum0_2_t0, fields0, activations2);
                    let activations2 = _mm512_set1_epi32(
                        at_t1.add(8).cast::<i32>().read_unaligned(),
                    );
                    sum0_2_t1 = _mm512_dpbusd_epi32(sum0_2_t1, fields0, activations2);
                    let decoded0 = _mm512_permutexvar_epi8(
                        _mm512_multishift_epi64_epi8(pick_high, high0),
                        fields,
                    );
                    let fields0 = _mm512_and_si512(decoded0, _mm512_set1_epi8(3));
                    let activations3 = _mm512_set1_epi32(
                        at_t0.add(12).cast::<i32>().read_unaligned(),
                    );
                    sum0_0_t0 = _mm512_dpbusd_epi32(sum0_0_t0, fields0, activations3);
                    let activations3 = _mm512_set1_epi32(
                        at_t1.add(12).cast::<i32>().read_unaligned(),
                    );
                    sum0_0_t1 = _mm512_dpbusd_epi32(sum0_0_t1, fields0, activations3);
                    let fields0 = _mm512_and_si512(decoded0, _mm512_set1_epi8(12));
                    let activations4 = _mm512_set1_epi32(
                        at_t0.add(16).cast::<i32>().read_unaligned(),
                    );
                    sum0_1_t0 = _mm512_dpbusd_epi32(sum0_1_t0, fields0, activations4);
                    let activations4 = _mm512_set1_epi32(
                        at_t1.add(16).cast::<i32>().read_unaligned(),
                    );
                    sum0_1_t1 = _mm512_dpbusd_epi32(sum0_1_t1, fields0, activations4);
                    let fields0 = _mm512_and_si512(decoded0, _mm512_set1_epi8(48));
                    let activations5 = _mm512_set1_epi32(
                        at_t0.add(20).cast::<i32>().read_unaligned(),
                    );
                    sum0_2_t0 = _mm512_dpbusd_epi32(sum0_2_t0, fields0, activations5);
                    let activations5 = _mm512_set1_epi32(
                        at_t1.add(20).cast::<i32>().read_unaligned(),
                    );
                    sum0_2_t1 = _mm512_dpbusd_epi32(sum0_2_t1, fields0, activations5);
                    let decoded0 = _mm512_permutexvar_epi8(
                        _mm512_multishift_epi64_epi8(pick_rest, rest0),
                        fields,
                    );
                    let fields0 = _mm512_and_si512(decoded0, _mm512_set1_epi8(3));
                    let activations6 = _mm512_set1_epi32(
                        at_t0.add(24).cast::<i32>().read_unaligned(),
                    );
                    sum0_0_t0 = _mm512_dpbusd_epi32(sum0_0_t0, fields0, activations6);
                    let activations6 = _mm512_set1_epi32(
                        at_t1.add(24).cast::<i32>().read_unaligned(),
                    );
                    sum0_0_t1 = _mm512_dpbusd_epi32(sum0_0_t1, fields0, activations6);
                    let fields0 = _mm512_and_si512(decoded0, _mm512_set1_epi8(12));
                    let activations7 = _mm512_set1_epi32(
                        at_t0.add(28).cast::<i32>().read_unaligned(),
                    );
                    sum0_1_t0 = _mm512_dpbusd_epi32(sum0_1_t0, fields0, activations7);
                    let activations7 = _mm512_set1_epi32(
                        at_t1.add(28).cast::<i32>().read_unaligned(),
                    );
                    sum0_1_t1 = _mm512_dpbusd_epi32(sum0_1_t1, fields0, activations7);
                    let fields0 = _mm512_and_si512(decoded0, _mm512_set1_epi8(48));
                    let activations8 = _mm512_set1_epi32(
                        at_t0.add(32).cast::<i32>().read_unaligned(),
                    );
                    sum0_2_t0 = _mm512_dpbusd_epi32(sum0_2_t0, fields0, activations8);
                    let activations8 = _mm512_set1_epi32(
                        at_t1.add(32).cast::<i32>().read_unaligned(),
                    );
                    sum0_2_t1 = _mm512_dpbusd_epi32(sum0_2_t1, fields0, activations8);
                    weights = weights.add(128);
                    at_t0 = at_t0.add(36);
                    at_t1 = at_t1.add(36);
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
        gemv_decode_d3__avx512vbmi_p1k12(
            &GemvArgs {
                tokens: rest.as_ptr(),
                count: rest.len(),
                ..*args
            },
        );
    }
}

/// Prepares activations for the kernels of packing `d3_l16_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni,gfni")]
pub unsafe fn build_d3__avx512vbmi(args: &BuildArgs) {
    // SAFETY: by the contract of `BuildArgs`, which gives both ranges, apart from each other.
    let (activations, operand) = unsafe {
        (
            core::slice::from_raw_parts(args.activations.cast::<u8>(), args.steps * 36),
            core::slice::from_raw_parts_mut(args.operand, args.steps * 36),
        )
    };
    for (step, out) in activations.chunks_exact(36).zip(operand.chunks_exact_mut(36)) {
        out.copy_from_slice(step);
    }
}
