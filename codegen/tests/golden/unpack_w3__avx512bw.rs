/// `unpack_w3__avx512bw`: code w3 into the dot-product layout on avx512bw.
///
/// Panels of 32 rows, 9 columns in 64 bytes a step. 4 steps make 9 quads of columns.
/// Emitted by `codegen/src/skeleton/unpack.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`UnpackArgs`].
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn unpack_w3__avx512bw(args: &UnpackArgs) {
    let UnpackArgs { steps, step_stride, stride, .. } = *args;
    let (mut weights, mut out) = (args.weights, args.out);
    // SAFETY: by the contract of `UnpackArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        const TRITS: [u16; 32] = {
            let (mut entries, mut n) = ([0; 32], 0);
            while n < 27 {
                entries[n] = (n / 9 % 3 + n / 3 % 3 * 4 + n % 3 * 16) as u16;
                n += 1;
            }
            entries
        };
        let table = _mm512_loadu_si512(TRITS.as_ptr().cast::<u8>().cast());
        let trits = |codes: __m512i| {
            let three0 = _mm512_permutexvar_epi16(codes, table);
            let three1 = _mm512_permutexvar_epi16(_mm512_srli_epi16::<5>(codes), table);
            let three2 = _mm512_permutexvar_epi16(_mm512_srli_epi16::<10>(codes), table);
            [
                _mm512_and_si512(three0, _mm512_set1_epi16(3)),
                _mm512_and_si512(_mm512_srli_epi16::<2>(three0), _mm512_set1_epi16(3)),
                _mm512_and_si512(_mm512_srli_epi16::<4>(three0), _mm512_set1_epi16(3)),
                _mm512_and_si512(three1, _mm512_set1_epi16(3)),
                _mm512_and_si512(_mm512_srli_epi16::<2>(three1), _mm512_set1_epi16(3)),
                _mm512_and_si512(_mm512_srli_epi16::<4>(three1), _mm512_set1_epi16(3)),
                _mm512_and_si512(three2, _mm512_set1_epi16(3)),
                _mm512_and_si512(_mm512_srli_epi16::<2>(three2), _mm512_set1_epi16(3)),
                _mm512_and_si512(_mm512_srli_epi16::<4>(three2), _mm512_set1_epi16(3)),
            ]
        };
        // Pairs columns in 16-bit lanes, then in 32-bit lanes: four columns become the quads of
        // both halves of the rows.
        let low = _mm512_set1_epi32(0x0000_ffff);
        let store_quad = |[a, b, c, d]: [__m512i; 4], out: *mut u8| {
            let (ab, cd) = (
                _mm512_add_epi16(a, _mm512_slli_epi16::<8>(b)),
                _mm512_add_epi16(c, _mm512_slli_epi16::<8>(d)),
            );
            _mm512_storeu_si512(
                out.cast(),
                _mm512_ternarylogic_epi32::<0xca>(low, ab, _mm512_slli_epi32::<16>(cd)),
            );
            _mm512_storeu_si512(
                out.add(64).cast(),
                _mm512_ternarylogic_epi32::<0xca>(low, _mm512_srli_epi32::<16>(ab), cd),
            );
        };
        let mut left = steps;
        while left > 0 {
            // Steps that are missing at the end count as zero bits; what they give is not used.
            let [column0, column1, column2, column3, column4, column5, column6, column7,
            column8] = trits(_mm512_loadu_si512(weights.cast()));
            let [column9, column10, column11, column12, column13, column14, column15,
            column16, column17] = trits(
                if left > 1 {
                    _mm512_loadu_si512(weights.add(step_stride).cast())
                } else {
                    _mm512_setzero_si512()
                },
            );
            let [column18, column19, column20, column21, column22, column23, column24,
            column25, column26] = trits(
                if left > 2 {
                    _mm512_loadu_si512(weights.add(2 * step_stride).cast())
                } else {
                    _mm512_setzero_si512()
                },
            );
            let [column27, column28, column29, column30, column31, column32, column33,
            column34, column35] = trits(
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
            store_quad([column20, column21, column22, column23], out.add(5 * stride));
            store_quad([column24, column25, column26, column27], out.add(6 * stride));
            store_quad([column28, column29, column30, column31], out.add(7 * stride));
            store_quad([column32, column33, column34, column35], out.add(8 * stride));
            weights = weights.wrapping_add(4 * step_stride);
            out = out.wrapping_add(9 * stride);
            left = left.saturating_sub(4);
        }
    }
}
