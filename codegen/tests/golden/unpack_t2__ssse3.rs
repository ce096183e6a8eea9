/// `unpack_t2__ssse3`: code t2 into the dot-product layout on ssse3.
///
/// Panels of 16 rows, 4 columns in 16 bytes a step. A step makes a quad of columns.
/// Emitted by `codegen/src/skeleton/unpack.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`UnpackArgs`].
#[target_feature(enable = "ssse3")]
pub unsafe fn unpack_t2__ssse3(args: &UnpackArgs) {
    let UnpackArgs { steps, step_stride, stride, .. } = *args;
    let (mut weights, mut out) = (args.weights, args.out);
    // SAFETY: by the contract of `UnpackArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        const TRITS: [u8; 16] = {
            let (mut entries, mut n) = ([0; 16], 0);
            while n < 9 {
                let value = n;
                entries[n] = (value / 3 % 3 + value % 3 * 4) as u8;
                n += 1;
            }
            entries
        };
        let trits0 = _mm_loadu_si128(TRITS.as_ptr().cast());
        // Transposes bytes within 32-bit lanes: four columns become the quads of four quarters of
        // the rows.
        let (even, low) = (_mm_set1_epi16(0x00ff), _mm_set1_epi32(0x0000_ffff));
        let store_quad = |[a, b, c, d]: [__m128i; 4], out: *mut u8| {
            let (ab_even, ab_odd) = (
                _mm_or_si128(
                    _mm_and_si128(even, a),
                    _mm_andnot_si128(even, _mm_slli_epi16::<8>(b)),
                ),
                _mm_or_si128(
                    _mm_and_si128(even, _mm_srli_epi16::<8>(a)),
                    _mm_andnot_si128(even, b),
                ),
            );
            let (cd_even, cd_odd) = (
                _mm_or_si128(
                    _mm_and_si128(even, c),
                    _mm_andnot_si128(even, _mm_slli_epi16::<8>(d)),
                ),
                _mm_or_si128(
                    _mm_and_si128(even, _mm_srli_epi16::<8>(c)),
                    _mm_andnot_si128(even, d),
                ),
            );
            _mm_storeu_si128(
                out.cast(),
                _mm_or_si128(
                    _mm_and_si128(low, ab_even),
                    _mm_andnot_si128(low, _mm_slli_epi32::<16>(cd_even)),
                ),
            );
            _mm_storeu_si128(
                out.add(16).cast(),
                _mm_or_si128(
                    _mm_and_si128(low, ab_odd),
                    _mm_andnot_si128(low, _mm_slli_epi32::<16>(cd_odd)),
                ),
            );
            _mm_storeu_si128(
                out.add(32).cast(),
                _mm_or_si128(
                    _mm_and_si128(low, _mm_srli_epi32::<16>(ab_even)),
                    _mm_andnot_si128(low, cd_even),
                ),
            );
            _mm_storeu_si128(
                out.add(48).cast(),
                _mm_or_si128(
                    _mm_and_si128(low, _mm_srli_epi32::<16>(ab_odd)),
                    _mm_andnot_si128(low, cd_odd),
                ),
            );
        };
        for _ in 0..steps {
            let codes = _mm_loadu_si128(weights.cast());
            let trits = _mm_shuffle_epi8(
                trits0,
                _mm_and_si128(codes, _mm_set1_epi8(15)),
            );
            let column0 = _mm_and_si128(trits, _mm_set1_epi8(3));
            let column1 = _mm_and_si128(_mm_srli_epi16::<2>(trits), _mm_set1_epi8(3));
            let trits = _mm_shuffle_epi8(
                trits0,
                _mm_and_si128(_mm_srli_epi16::<4>(codes), _mm_set1_epi8(15)),
            );
            let column2 = _mm_and_si128(trits, _mm_set1_epi8(3));
            let column3 = _mm_and_si128(_mm_srli_epi16::<2>(trits), _mm_set1_epi8(3));
            store_quad([column0, column1, column2, column3], out);
            weights = weights.wrapping_add(step_stride);
            out = out.wrapping_add(stride);
        }
    }
}
