/// `unpack_s4__avx2`: code s4 into the dot-product layout on avx2.
///
/// Panels of 32 rows, 4 columns in 32 bytes a step. A step makes a quad of columns.
/// Emitted by `codegen/src/skeleton/unpack.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`UnpackArgs`].
#[target_feature(enable = "avx2")]
pub unsafe fn unpack_s4__avx2(args: &UnpackArgs) {
    let UnpackArgs { steps, step_stride, stride, .. } = *args;
    let (mut weights, mut out) = (args.weights, args.out);
    // SAFETY: by the contract of `UnpackArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        // Transposes bytes within 32-bit lanes: four columns become the quads of four quarters of
        // the rows.
        let (even, low) = (_mm256_set1_epi16(0x00ff), _mm256_set1_epi32(0x0000_ffff));
        let store_quad = |[a, b, c, d]: [__m256i; 4], out: *mut u8| {
            let (ab_even, ab_odd) = (
                _mm256_or_si256(
                    _mm256_and_si256(even, a),
                    _mm256_andnot_si256(even, _mm256_slli_epi16::<8>(b)),
                ),
                _mm256_or_si256(
                    _mm256_and_si256(even, _mm256_srli_epi16::<8>(a)),
                    _mm256_andnot_si256(even, b),
                ),
            );
            let (cd_even, cd_odd) = (
                _mm256_or_si256(
                    _mm256_and_si256(even, c),
                    _mm256_andnot_si256(even, _mm256_slli_epi16::<8>(d)),
                ),
                _mm256_or_si256(
                    _mm256_and_si256(even, _mm256_srli_epi16::<8>(c)),
                    _mm256_andnot_si256(even, d),
                ),
            );
            _mm256_storeu_si256(
                out.cast(),
                _mm256_or_si256(
                    _mm256_and_si256(low, ab_even),
                    _mm256_andnot_si256(low, _mm256_slli_epi32::<16>(cd_even)),
                ),
            );
            _mm256_storeu_si256(
                out.add(32).cast(),
                _mm256_or_si256(
                    _mm256_and_si256(low, ab_odd),
                    _mm256_andnot_si256(low, _mm256_slli_epi32::<16>(cd_odd)),
                ),
            );
            _mm256_storeu_si256(
                out.add(64).cast(),
                _mm256_or_si256(
                    _mm256_and_si256(low, _mm256_srli_epi32::<16>(ab_even)),
                    _mm256_andnot_si256(low, cd_even),
                ),
            );
            _mm256_storeu_si256(
                out.add(96).cast(),
                _mm256_or_si256(
                    _mm256_and_si256(low, _mm256_srli_epi32::<16>(ab_odd)),
                    _mm256_andnot_si256(low, cd_odd),
                ),
            );
        };
        for _ in 0..steps {
            let (one, codes) = (_mm256_set1_epi8(1), _mm256_loadu_si256(weights.cast()));
            let column0 = _mm256_sub_epi8(
                _mm256_add_epi8(one, _mm256_and_si256(codes, one)),
                _mm256_and_si256(_mm256_srli_epi16::<4>(codes), one),
            );
            let column1 = _mm256_sub_epi8(
                _mm256_add_epi8(
                    one,
                    _mm256_and_si256(_mm256_srli_epi16::<1>(codes), one),
                ),
                _mm256_and_si256(_mm256_srli_epi16::<5>(codes), one),
            );
            let column2 = _mm256_sub_epi8(
                _mm256_add_epi8(
                    one,
                    _mm256_and_si256(_mm256_srli_epi16::<2>(codes), one),
                ),
                _mm256_and_si256(_mm256_srli_epi16::<6>(codes), one),
            );
            let column3 = _mm256_sub_epi8(
                _mm256_add_epi8(
                    one,
                    _mm256_and_si256(_mm256_srli_epi16::<3>(codes), one),
                ),
                _mm256_and_si256(_mm256_srli_epi16::<7>(codes), one),
            );
            store_quad([column0, column1, column2, column3], out);
            weights = weights.wrapping_add(step_stride);
            out = out.wrapping_add(stride);
        }
    }
}
