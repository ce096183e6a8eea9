/// `unpack_planes__avx512bw`: code planes into the dot-product layout on avx512bw.
///
/// Panels of 64 rows, 8 columns in 128 bytes a step. A step makes 2 quads of columns.
/// Emitted by `codegen/src/skeleton/unpack.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`UnpackArgs`].
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn unpack_planes__avx512bw(args: &UnpackArgs) {
    let UnpackArgs { steps, step_stride, stride, .. } = *args;
    let (mut weights, mut out) = (args.weights, args.out);
    // SAFETY: by the contract of `UnpackArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
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
        for _ in 0..steps {
            let one = _mm512_set1_epi8(1);
            let (plus, minus) = (
                _mm512_loadu_si512(weights.cast()),
                _mm512_loadu_si512(weights.add(64).cast()),
            );
            let column0 = _mm512_sub_epi8(
                _mm512_add_epi8(
                    one,
                    _mm512_and_si512(_mm512_srli_epi16::<7>(plus), one),
                ),
                _mm512_and_si512(_mm512_srli_epi16::<7>(minus), one),
            );
            let column1 = _mm512_sub_epi8(
                _mm512_add_epi8(
                    one,
                    _mm512_and_si512(_mm512_srli_epi16::<6>(plus), one),
                ),
                _mm512_and_si512(_mm512_srli_epi16::<6>(minus), one),
            );
            let column2 = _mm512_sub_epi8(
                _mm512_add_epi8(
                    one,
                    _mm512_and_si512(_mm512_srli_epi16::<5>(plus), one),
                ),
                _mm512_and_si512(_mm512_srli_epi16::<5>(minus), one),
            );
            let column3 = _mm512_sub_epi8(
                _mm512_add_epi8(
                    one,
                    _mm512_and_si512(_mm512_srli_epi16::<4>(plus), one),
                ),
                _mm512_and_si512(_mm512_srli_epi16::<4>(minus), one),
            );
            let column4 = _mm512_sub_epi8(
                _mm512_add_epi8(
                    one,
                    _mm512_and_si512(_mm512_srli_epi16::<3>(plus), one),
                ),
                _mm512_and_si512(_mm512_srli_epi16::<3>(minus), one),
            );
            let column5 = _mm512_sub_epi8(
                _mm512_add_epi8(
                    one,
                    _mm512_and_si512(_mm512_srli_epi16::<2>(plus), one),
                ),
                _mm512_and_si512(_mm512_srli_epi16::<2>(minus), one),
            );
            let column6 = _mm512_sub_epi8(
                _mm512_add_epi8(
                    one,
                    _mm512_and_si512(_mm512_srli_epi16::<1>(plus), one),
                ),
                _mm512_and_si512(_mm512_srli_epi16::<1>(minus), one),
            );
            let column7 = _mm512_sub_epi8(
                _mm512_add_epi8(one, _mm512_and_si512(plus, one)),
                _mm512_and_si512(minus, one),
            );
            store_quad([column0, column1, column2, column3], out);
            store_quad([column4, column5, column6, column7], out.add(stride));
            weights = weights.wrapping_add(step_stride);
            out = out.wrapping_add(2 * stride);
        }
    }
}
