/// `gemv_decode_r5__avx512vbmi_p1k12`: five rows a byte, multiply-add without masks on avx512vbmi.
///
/// Packing `r5_l80_p1_k12`: 80 rows x 4 columns in 64 bytes a step and panel, 1.600 bits a weight.
/// 14 of 32 vector registers. Sums are `i32` throughout. Steps in a K block: 12 (bound 18724). Adds the `i32` sum of each row to `out`.
/// Emitted by `codegen/src/skeleton/rows.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni,gfni")]
pub unsafe fn gemv_decode_r5__avx512vbmi_p1k12(args: &GemvArgs) {
    // What the first two rows are worth, by the upper six bits of a code.
    const WORTH: [u8; 64] = {
        let (mut entries, mut index) = ([0; 64], 0);
        while index < 64 {
            entries[index] = (index / 7 * 28) as u8;
            index += 1;
        }
        entries
    };
    // The first row's trit, by the same bits.
    const FIRST: [u8; 64] = {
        let (mut entries, mut index) = ([0; 64], 0);
        while index < 64 {
            entries[index] = (index / 21) as u8;
            index += 1;
        }
        entries
    };
    // The trits of the third and fourth rows, two bits each, by what the first two leave of the
    // code.
    const PAIR: [u8; 64] = {
        let (mut entries, mut index) = ([0; 64], 0);
        while index < 64 {
            entries[index] = (index / 9 % 3 + index / 3 % 3 * 4) as u8;
            index += 1;
        }
        entries
    };
    let GemvArgs { tokens, count, steps, prefetch, .. } = *args;
    // SAFETY: by the contract of `GemvArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        for token in core::slice::from_raw_parts(tokens, count) {
            let Token { operand, out, correction } = *token;
            let total = _mm512_set1_epi32(correction);
            let table_of_worth = _mm512_loadu_si512(WORTH.as_ptr().cast());
            let table_of_first = _mm512_loadu_si512(FIRST.as_ptr().cast());
            let table_of_pair = _mm512_loadu_si512(PAIR.as_ptr().cast());
            let mut weights = args.weights;
            let mut out = out.cast::<u8>();
            for _ in 0..args.strips {
                let mut sum0_worth = _mm512_setzero_si512();
                let mut sum0_first = _mm512_setzero_si512();
                let mut sum0_rest = _mm512_setzero_si512();
                let mut sum0_pair = _mm512_setzero_si512();
                let mut sum0_third = _mm512_setzero_si512();
                let mut at = operand;
                for _ in 0..steps {
                    let ahead = weights.wrapping_add(prefetch);
                    _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                    let activations = _mm512_set1_epi32(
                        at.cast::<i32>().read_unaligned(),
                    );
                    let codes = _mm512_loadu_si512(weights.cast());
                    let upper = _mm512_srli_epi16::<2>(codes);
                    let (worth, first) = (
                        _mm512_permutexvar_epi8(upper, table_of_worth),
                        _mm512_permutexvar_epi8(upper, table_of_first),
                    );
                    let rest = _mm512_sub_epi8(codes, worth);
                    let pair = _mm512_permutexvar_epi8(rest, table_of_pair);
                    let third = _mm512_and_si512(pair, _mm512_set1_epi8(3));
                    sum0_worth = _mm512_dpbusd_epi32(sum0_worth, worth, activations);
                    sum0_first = _mm512_dpbusd_epi32(sum0_first, first, activations);
                    sum0_rest = _mm512_dpbusd_epi32(sum0_rest, rest, activations);
                    sum0_pair = _mm512_dpbusd_epi32(sum0_pair, pair, activations);
                    sum0_third = _mm512_dpbusd_epi32(sum0_third, third, activations);
                    weights = weights.add(64);
                    at = at.add(4);
                }
                // The rows' own sums; both divisions are exact.
                let (second, fourth) = (
                    _mm512_mullo_epi32(
                        _mm512_srai_epi32::<
                            2,
                        >(
                            _mm512_sub_epi32(
                                sum0_worth,
                                _mm512_mullo_epi32(sum0_first, _mm512_set1_epi32(84)),
                            ),
                        ),
                        _mm512_set1_epi32(-1227133513i32),
                    ),
                    _mm512_srai_epi32::<2>(_mm512_sub_epi32(sum0_pair, sum0_third)),
                );
                let fifth = _mm512_sub_epi32(
                    _mm512_sub_epi32(
                        sum0_rest,
                        _mm512_mullo_epi32(sum0_third, _mm512_set1_epi32(9)),
                    ),
                    _mm512_mullo_epi32(fourth, _mm512_set1_epi32(3)),
                );
                _mm512_storeu_si512(
                    out.cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(sum0_first, total),
                        _mm512_loadu_si512(out.cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out.add(64).cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(second, total),
                        _mm512_loadu_si512(out.add(64).cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out.add(128).cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(sum0_third, total),
                        _mm512_loadu_si512(out.add(128).cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out.add(192).cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(fourth, total),
                        _mm512_loadu_si512(out.add(192).cast()),
                    ),
                );
                _mm512_storeu_si512(
                    out.add(256).cast(),
                    _mm512_add_epi32(
                        _mm512_add_epi32(fifth, total),
                        _mm512_loadu_si512(out.add(256).cast()),
                    ),
                );
                out = out.add(320);
            }
        }
    }
}

/// Prepares activations for the kernels of packing `r5_l80_p1_k12`.
///
/// Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni,gfni")]
pub unsafe fn build_r5__avx512vbmi(args: &BuildArgs) {
    // SAFETY: by the contract of `BuildArgs`, which gives both ranges, apart from each other.
    let (activations, operand) = unsafe {
        (
            core::slice::from_raw_parts(args.activations.cast::<u8>(), args.steps * 4),
            core::slice::from_raw_parts_mut(args.operand, args.steps * 4),
        )
    };
    for (step, out) in activations.chunks_exact(4).zip(operand.chunks_exact_mut(4)) {
        out.copy_from_slice(step);
    }
}
