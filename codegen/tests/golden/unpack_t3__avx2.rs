/// `unpack_t3__avx2`: code t3 into the dot-product layout on avx2.
///
/// Panels of 32 rows, 24 columns in 160 bytes a step. A step makes 6 quads of columns.
/// Emitted by `codegen/src/skeleton/unpack.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`UnpackArgs`].
#[target_feature(enable = "avx2")]
pub unsafe fn unpack_t3__avx2(args: &UnpackArgs) {
    let UnpackArgs { steps, step_stride, stride, .. } = *args;
    let (mut weights, mut out) = (args.weights, args.out);
    // SAFETY: by the contract of `UnpackArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        const TRITS: [u8; 16] = {
            let (mut entries, mut n) = ([0; 16], 0);
            while n < 14 {
                let value = n + 13;
                entries[n] = (value % 3 + value / 3 % 3 * 4 + value / 9 % 3 * 16) as u8;
                n += 1;
            }
            entries
        };
        let trits0 = _mm256_broadcastsi128_si256(_mm_loadu_si128(TRITS.as_ptr().cast()));
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
            let signs = _mm256_loadu_si256(weights.add(128).cast());
            let codes = _mm256_loadu_si256(weights.cast());
            let (negative, magnitude) = (
                _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs),
                _mm256_and_si256(codes, _mm256_set1_epi8(15)),
            );
            let trits = _mm256_add_epi8(
                _mm256_xor_si256(_mm256_shuffle_epi8(trits0, magnitude), negative),
                _mm256_and_si256(negative, _mm256_set1_epi8(43)),
            );
            let column0 = _mm256_and_si256(trits, _mm256_set1_epi8(3));
            let column1 = _mm256_and_si256(
                _mm256_srli_epi16::<2>(trits),
                _mm256_set1_epi8(3),
            );
            let column2 = _mm256_and_si256(
                _mm256_srli_epi16::<4>(trits),
                _mm256_set1_epi8(3),
            );
            let signs = _mm256_add_epi8(signs, signs);
            let (negative, magnitude) = (
                _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs),
                _mm256_and_si256(_mm256_srli_epi16::<4>(codes), _mm256_set1_epi8(15)),
            );
            let trits = _mm256_add_epi8(
                _mm256_xor_si256(_mm256_shuffle_epi8(trits0, magnitude), negative),
                _mm256_and_si256(negative, _mm256_set1_epi8(43)),
            );
            let column3 = _mm256_and_si256(trits, _mm256_set1_epi8(3));
            let column4 = _mm256_and_si256(
                _mm256_srli_epi16::<2>(trits),
                _mm256_set1_epi8(3),
            );
            let column5 = _mm256_and_si256(
                _mm256_srli_epi16::<4>(trits),
                _mm256_set1_epi8(3),
            );
            let signs = _mm256_add_epi8(signs, signs);
            let codes = _mm256_loadu_si256(weights.add(32).cast());
            let (negative, magnitude) = (
                _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs),
                _mm256_and_si256(codes, _mm256_set1_epi8(15)),
            );
            let trits = _mm256_add_epi8(
                _mm256_xor_si256(_mm256_shuffle_epi8(trits0, magnitude), negative),
                _mm256_and_si256(negative, _mm256_set1_epi8(43)),
            );
            let column6 = _mm256_and_si256(trits, _mm256_set1_epi8(3));
            let column7 = _mm256_and_si256(
                _mm256_srli_epi16::<2>(trits),
                _mm256_set1_epi8(3),
            );
            let column8 = _mm256_and_si256(
                _mm256_srli_epi16::<4>(trits),
                _mm256_set1_epi8(3),
            );
            let signs = _mm256_add_epi8(signs, signs);
            let (negative, magnitude) = (
                _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs),
                _mm256_and_si256(_mm256_srli_epi16::<4>(codes), _mm256_set1_epi8(15)),
            );
            let trits = _mm256_add_epi8(
                _mm256_xor_si256(_mm256_shuffle_epi8(trits0, magnitude), negative),
                _mm256_and_si256(negative, _mm256_set1_epi8(43)),
            );
            let column9 = _mm256_and_si256(trits, _mm256_set1_epi8(3));
            let column10 = _mm256_and_si256(
                _mm256_srli_epi16::<2>(trits),
                _mm256_set1_epi8(3),
            );
            let column11 = _mm256_and_si256(
                _mm256_srli_epi16::<4>(trits),
                _mm256_set1_epi8(3),
            );
            let signs = _mm256_add_epi8(signs, signs);
            let codes = _mm256_loadu_si256(weights.add(64).cast());
            let (negative, magnitude) = (
                _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs),
                _mm256_and_si256(codes, _mm256_set1_epi8(15)),
            );
            let trits = _mm256_add_epi8(
                _mm256_xor_si256(_mm256_shuffle_epi8(trits0, magnitude), negative),
                _mm256_and_si256(negative, _mm256_set1_epi8(43)),
            );
            let column12 = _mm256_and_si256(trits, _mm256_set1_epi8(3));
            let column13 = _mm256_and_si256(
                _mm256_srli_epi16::<2>(trits),
                _mm256_set1_epi8(3),
            );
            let column14 = _mm256_and_si256(
                _mm256_srli_epi16::<4>(trits),
                _mm256_set1_epi8(3),
            );
            let signs = _mm256_add_epi8(signs, signs);
            let (negative, magnitude) = (
                _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs),
                _mm256_and_si256(_mm256_srli_epi16::<4>(codes), _mm256_set1_epi8(15)),
            );
            let trits = _mm256_add_epi8(
                _mm256_xor_si256(_mm256_shuffle_epi8(trits0, magnitude), negative),
                _mm256_and_si256(negative, _mm256_set1_epi8(43)),
            );
            let column15 = _mm256_and_si256(trits, _mm256_set1_epi8(3));
            let column16 = _mm256_and_si256(
                _mm256_srli_epi16::<2>(trits),
                _mm256_set1_epi8(3),
            );
            let column17 = _mm256_and_si256(
                _mm256_srli_epi16::<4>(trits),
                _mm256_set1_epi8(3),
            );
            let signs = _mm256_add_epi8(signs, signs);
            let codes = _mm256_loadu_si256(weights.add(96).cast());
            let (negative, magnitude) = (
                _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs),
                _mm256_and_si256(codes, _mm256_set1_epi8(15)),
            );
            let trits = _mm256_add_epi8(
                _mm256_xor_si256(_mm256_shuffle_epi8(trits0, magnitude), negative),
                _mm256_and_si256(negative, _mm256_set1_epi8(43)),
            );
            let column18 = _mm256_and_si256(trits, _mm256_set1_epi8(3));
            let column19 = _mm256_and_si256(
                _mm256_srli_epi16::<2>(trits),
                _mm256_set1_epi8(3),
            );
            let column20 = _mm256_and_si256(
                _mm256_srli_epi16::<4>(trits),
                _mm256_set1_epi8(3),
            );
            let signs = _mm256_add_epi8(signs, signs);
            let (negative, magnitude) = (
                _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs),
                _mm256_and_si256(_mm256_srli_epi16::<4>(codes), _mm256_set1_epi8(15)),
            );
            let trits = _mm256_add_epi8(
                _mm256_xor_si256(_mm256_shuffle_epi8(trits0, magnitude), negative),
                _mm256_and_si256(negative, _mm256_set1_epi8(43)),
            );
            let column21 = _mm256_and_si256(trits, _mm256_set1_epi8(3));
            let column22 = _mm256_and_si256(
                _mm256_srli_epi16::<2>(trits),
                _mm256_set1_epi8(3),
            );
            let column23 = _mm256_and_si256(
                _mm256_srli_epi16::<4>(trits),
                _mm256_set1_epi8(3),
            );
            store_quad([column0, column1, column2, column3], out);
            store_quad([column4, column5, column6, column7], out.add(stride));
            store_quad([column8, column9, column10, column11], out.add(2 * stride));
            store_quad([column12, column13, column14, column15], out.add(3 * stride));
            store_quad([column16, column17, column18, column19], out.add(4 * stride));
            store_quad([column20, column21, column22, column23], out.add(5 * stride));
            weights = weights.wrapping_add(step_stride);
            out = out.wrapping_add(6 * stride);
        }
    }
}
