/// `gemv_decode_d5_groups__avx512vbmi_p1k12`: five trits decoded by constant tables, multiply-add on avx512vbmi.
///
/// Packing `d5_l16_p1_k12`: 16 rows x 20 columns in 64 bytes a step and panel, 1.600 bits a weight.
/// 19 of 32 vector registers. Sums are `i32` throughout. Steps in a K block: 12 (bound 131071). Adds each row's sum times its scale, as `f32`, to `out`.
/// Emitted by `codegen/src/skeleton/decode.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni,gfni")]
pub unsafe fn gemv_decode_d5_groups__avx512vbmi_p1k12(args: &GemvArgs) {
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
        for token in core::slice::from_raw_parts(tokens, count) {
            let Token { operand, out, correction } = *token;
            let total = _mm512_set1_epi32(correction);
            let (first0, first1) = (
                _mm512_loadu_si512(FIRST.as_ptr().cast()),
                _mm512_loadu_si512(FIRST.as_ptr().add(64).cast()),
            );
            let (last0, last1) = (
                _mm512_loadu_si512(LAST.as_ptr().cast()),
                _mm512_loadu_si512(LAST.as_ptr().add(64).cast()),
            );
            let mut weights = args.weights;
            let mut out = out.cast::<u8>();
            let mut scales = args.scales.cast::<u8>();
            for _ in 0..args.strips {
                let mut sum0_0 = _mm512_setzero_si512();
                let mut sum0_1 = _mm512_setzero_si512();
                let mut sum0_2 = _mm512_setzero_si512();
                let mut at = operand;
                for _ in 0..steps {
                    let ahead = weights.wrapping_add(prefetch);
                    _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                    let activations0 = _mm512_set1_epi32(
                        at.cast::<i32>().read_unaligned(),
                    );
                    let activations1 = _mm512_set1_epi32(
                        at.add(4).cast::<i32>().read_unaligned(),
                    );
                    let activations2 = _mm512_set1_epi32(
                        at.add(8).cast::<i32>().read_unaligned(),
                    );
                    let activations3 = _mm512_set1_epi32(
                        at.add(12).cast::<i32>().read_unaligned(),
                    );
                    let activations4 = _mm512_set1_epi32(
                        at.add(16).cast::<i32>().read_unaligned(),
                    );
                    let codes = _mm512_loadu_si512(weights.cast());
                    let (first, last) = (
                        _mm512_permutex2var_epi8(first0, codes, first1),
                        _mm512_permutex2var_epi8(
                            last0,
                            _mm512_srli_epi16::<1>(codes),
                            last1,
                        ),
                    );
                    sum0_0 = _mm512_dpbusd_epi32(
                        sum0_0,
                        _mm512_and_si512(first, _mm512_set1_epi8(3)),
                        activations0,
                    );
                    sum0_1 = _mm512_dpbusd_epi32(
                        sum0_1,
                        _mm512_and_si512(first, _mm512_set1_epi8(12)),
                        activations1,
                    );
                    sum0_2 = _mm512_dpbusd_epi32(
                        sum0_2,
                        _mm512_ternarylogic_epi32::<
                            0xa8,
                        >(first, last, _mm512_set1_epi8(48)),
                        activations2,
                    );
                    sum0_1 = _mm512_dpbusd_epi32(
                        sum0_1,
                        _mm512_and_si512(last, _mm512_set1_epi8(12)),
                        activations3,
                    );
                    sum0_0 = _mm512_dpbusd_epi32(
                        sum0_0,
                        _mm512_and_si512(last, _mm512_set1_epi8(3)),
                        activations4,
                    );
                    weights = weights.add(64);
                    at = at.add(20);
                }
                _mm512_storeu_si512(
                    out.cast(),
                    _mm512_castps_si512(
                        _mm512_add_ps(
                            _mm512_castsi512_ps(_mm512_loadu_si512(out.cast())),
                            _mm512_mul_ps(
                                _mm512_cvtepi32_ps(
                                    _mm512_add_epi32(
                                        _mm512_add_epi32(
                                            _mm512_add_epi32(sum0_0, _mm512_srai_epi32::<2>(sum0_1)),
                                            _mm512_srai_epi32::<4>(sum0_2),
                                        ),
                                        total,
                                    ),
                                ),
                                _mm512_castsi512_ps(_mm512_loadu_si512(scales.cast())),
                            ),
                        ),
                    ),
                );
                out = out.add(64);
                scales = scales.add(64);
            }
        }
    }
}

/// Prepares activations for the kernels of packing `d5_l16_p1_k12`.
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
