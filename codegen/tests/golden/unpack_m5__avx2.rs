/// `unpack_m5__avx2`: code m5 into the dot-product layout on avx2.
///
/// Panels of 8 rows, 20 columns in 32 bytes a step. A step makes 5 quads of columns.
/// Emitted by `codegen/src/skeleton/unpack.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`UnpackArgs`].
#[target_feature(enable = "avx2")]
pub unsafe fn unpack_m5__avx2(args: &UnpackArgs) {
    let UnpackArgs { steps, step_stride, stride, .. } = *args;
    let (mut weights, mut out) = (args.weights, args.out);
    // SAFETY: by the contract of `UnpackArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        // The fields of the first two trits, by the number of the pair.
        const PAIRS: [u8; 16] = {
            let (mut fields, mut index) = ([0; 16], 0);
            while index < 16 {
                let pair = index;
                fields[index] = ((pair / 3) | ((pair % 3) << 2)) as u8;
                index += 1;
            }
            fields
        };
        // What a pair is worth, by its fields.
        const BASES: [u8; 16] = {
            let (mut bases, mut pair) = ([0; 16], 0);
            while pair < 9 {
                bases[(pair / 3) | ((pair % 3) << 2)] = 28 * pair as u8;
                pair += 1;
            }
            bases
        };
        // The fields of the last three trits, by what is left.
        const THREES: [u8; 32] = {
            let (mut fields, mut three) = ([0; 32], 0);
            while three < 27 {
                fields[three] = ((three / 9) | ((three / 3 % 3) << 2)
                    | ((three % 3) << 4)) as u8;
                three += 1;
            }
            fields
        };
        let table_of_pairs0 = _mm256_broadcastsi128_si256(
            _mm_loadu_si128(PAIRS.as_ptr().cast()),
        );
        let table_of_bases0 = _mm256_broadcastsi128_si256(
            _mm_loadu_si128(BASES.as_ptr().cast()),
        );
        let table_of_threes0 = _mm256_broadcastsi128_si256(
            _mm_loadu_si128(THREES.as_ptr().cast()),
        );
        let table_of_threes1 = _mm256_broadcastsi128_si256(
            _mm_loadu_si128(THREES.as_ptr().add(16).cast()),
        );
        for _ in 0..steps {
            let codes = _mm256_loadu_si256(weights.cast());
            let upper = _mm256_and_si256(
                _mm256_srli_epi16::<2>(codes),
                _mm256_set1_epi8(63),
            );
            let pairs = _mm256_shuffle_epi8(
                table_of_pairs0,
                _mm256_or_si256(
                    _mm256_srli_epi16::<
                        8,
                    >(_mm256_maddubs_epi16(upper, _mm256_set1_epi16(37))),
                    _mm256_and_si256(
                        _mm256_maddubs_epi16(upper, _mm256_set1_epi16(9472)),
                        _mm256_set1_epi16(-256),
                    ),
                ),
            );
            let rest = _mm256_sub_epi8(
                codes,
                _mm256_shuffle_epi8(table_of_bases0, pairs),
            );
            let threes = _mm256_or_si256(
                _mm256_shuffle_epi8(
                    table_of_threes0,
                    _mm256_add_epi8(rest, _mm256_set1_epi8(0x70)),
                ),
                _mm256_shuffle_epi8(
                    table_of_threes1,
                    _mm256_sub_epi8(rest, _mm256_set1_epi8(16)),
                ),
            );
            _mm256_storeu_si256(
                out.cast(),
                _mm256_and_si256(pairs, _mm256_set1_epi8(3)),
            );
            _mm256_storeu_si256(
                out.add(stride).cast(),
                _mm256_and_si256(_mm256_srli_epi16::<2>(pairs), _mm256_set1_epi8(3)),
            );
            _mm256_storeu_si256(
                out.add(2 * stride).cast(),
                _mm256_and_si256(threes, _mm256_set1_epi8(3)),
            );
            _mm256_storeu_si256(
                out.add(3 * stride).cast(),
                _mm256_and_si256(_mm256_srli_epi16::<2>(threes), _mm256_set1_epi8(3)),
            );
            _mm256_storeu_si256(
                out.add(4 * stride).cast(),
                _mm256_and_si256(_mm256_srli_epi16::<4>(threes), _mm256_set1_epi8(3)),
            );
            weights = weights.wrapping_add(step_stride);
            out = out.wrapping_add(5 * stride);
        }
    }
}
