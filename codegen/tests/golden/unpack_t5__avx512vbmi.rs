/// `unpack_t5__avx512vbmi`: code t5 into the dot-product layout on avx512vbmi.
///
/// Panels of 64 rows, 5 columns in 64 bytes a step. 4 steps make 5 quads of columns.
/// Emitted by `codegen/src/skeleton/unpack.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`UnpackArgs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni,gfni")]
pub unsafe fn unpack_t5__avx512vbmi(args: &UnpackArgs) {
    let UnpackArgs { steps, step_stride, stride, .. } = *args;
    let (mut weights, mut out) = (args.weights, args.out);
    // SAFETY: by the contract of `UnpackArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        const FIRST: [u8; 128] = {
            let (mut entries, mut n) = ([0; 128], 0);
            while n < 122 {
                let value = n + 121;
                entries[n] = (value % 3 + value / 3 % 3 * 4 + value / 9 % 3 * 16
                    + value / 27 % 3 * 64) as u8;
                n += 1;
            }
            entries
        };
        let first0 = _mm512_loadu_si512(FIRST.as_ptr().cast());
        let first1 = _mm512_loadu_si512(FIRST.as_ptr().add(64).cast());
        const LAST: [u8; 128] = {
            let (mut entries, mut n) = ([0; 128], 0);
            while n < 122 {
                let value = n + 121;
                entries[n] = (value / 81 % 3) as u8;
                n += 1;
            }
            entries
        };
        let last0 = _mm512_loadu_si512(LAST.as_ptr().cast());
        let last1 = _mm512_loadu_si512(LAST.as_ptr().add(64).cast());
        let trits = |codes: __m512i| {
            let (negative, magnitude) = (
                _mm512_gf2p8affine_epi64_epi8::<0>(codes, _mm512_set1_epi8(-128)),
                _mm512_and_si512(codes, _mm512_set1_epi8(127)),
            );
            let (first, last) = (
                _mm512_add_epi8(
                    _mm512_xor_si512(
                        _mm512_permutex2var_epi8(first0, magnitude, first1),
                        negative,
                    ),
                    _mm512_and_si512(negative, _mm512_set1_epi8(-85)),
                ),
                _mm512_add_epi8(
                    _mm512_xor_si512(
                        _mm512_permutex2var_epi8(last0, magnitude, last1),
                        negative,
                    ),
                    _mm512_and_si512(negative, _mm512_set1_epi8(3)),
                ),
            );
            [
                _mm512_and_si512(first, _mm512_set1_epi8(3)),
                _mm512_and_si512(_mm512_srli_epi16::<2>(first), _mm512_set1_epi8(3)),
                _mm512_and_si512(_mm512_srli_epi16::<4>(first), _mm512_set1_epi8(3)),
                _mm512_and_si512(_mm512_srli_epi16::<6>(first), _mm512_set1_epi8(3)),
                last,
            ]
        };
        // Transposes bytes within 32-bit lanes: four columns become the quads of four quarters of
        // the rows.
        let (even, low) = (_mm512_set1_epi16(0x00ff), _mm512_set1_epi32(0x0000_ffff));
        let store_quad = |[a, b, c, d]: [__m512i; 4], out: *mut u8| {
            let (ab_even, ab_odd) = (
                _mm512_ternarylogic_epi32::<0xca>(even, a, _mm512_slli_epi16::<8>(b)),
                _mm512_ternarylogic_epi32::<0xca>(even, _mm512_srli_epi16::<8>(a), b),
            );
            let (cd_even, cd_odd) = (
                _mm512_ternarylogic_epi32::<0xca>(even, c, _mm512_slli_epi16::<8>(d)),
                _mm512_ternarylogic_epi32::<0xca>(even, _mm512_srli_epi16::<8>(c), d),
            );
            _mm512_storeu_si512(
                out.cast(),
                _mm512_ternarylogic_epi32::<
                    0xca,
                >(low, ab_even, _mm512_slli_epi32::<16>(cd_even)),
            );
            _mm512_storeu_si512(
                out.add(64).cast(),
                _mm512_ternarylogic_epi32::<
                    0xca,
                >(low, ab_odd, _mm512_slli_epi32::<16>(cd_odd)),
            );
            _mm512_storeu_si512(
                out.add(128).cast(),
                _mm512_ternarylogic_epi32::<
                    0xca,
                >(low, _mm512_srli_epi32::<16>(ab_even), cd_even),
            );
            _mm512_storeu_si512(
                out.add(192).cast(),
                _mm512_ternarylogic_epi32::<
                    0xca,
                >(low, _mm512_srli_epi32::<16>(ab_odd), cd_odd),
            );
        };
        let mut left = steps;
        while left > 0 {
            // Steps that are missing at the end count as zero bits; what they give is not used.
            let [column0, column1, column2, column3, column4] = trits(
                _mm512_loadu_si512(weights.cast()),
            );
            let [column5, column6, column7, column8, column9] = trits(
                if left > 1 {
                    _mm512_loadu_si512(weights.add(step_stride).cast())
                } else {
                    _mm512_setzero_si512()
                },
            );
            let [column10, column11, column12, column13, column14] = trits(
                if left > 2 {
                    _mm512_loadu_si512(weights.add(2 * step_stride).cast())
                } else {
                    _mm512_setzero_si512()
                },
            );
            let [column15, column16, column17, column18, column19] = trits(
                if left > 3 {
                    _mm512_loadu_si512(weights.add(3 * step_stride).cast())
                } else {
                    _mm512_setzero_si512()
                },
            );
            store_quad([column0, column1, column2, column3], out);
            store_quad([column4, column5, column6, column7], out.add(stride));
            store_quad([column8, column9, column10, column11], out.add(2 * stride));
            store_quad([column12, column13, column14, column15], out.add(3 * stride));
            store_quad([column16, column17, column18, column19], out.add(4 * stride));
            weights = weights.wrapping_add(4 * step_stride);
            out = out.wrapping_add(5 * stride);
            left = left.saturating_sub(4);
        }
    }
}
