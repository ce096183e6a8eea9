/// `unpack_r5__avx512vbmi`: code r5 into the dot-product layout on avx512vbmi.
///
/// Panels of 80 rows, 4 columns in 64 bytes a step. A step makes a quad of columns.
/// Emitted by `codegen/src/skeleton/unpack.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`UnpackArgs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni,gfni")]
pub unsafe fn unpack_r5__avx512vbmi(args: &UnpackArgs) {
    let UnpackArgs { steps, step_stride, stride, .. } = *args;
    let (mut weights, mut out) = (args.weights, args.out);
    // SAFETY: by the contract of `UnpackArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        // The trits of the first two rows, two bits each, by the upper six bits of a code.
        const PAIRS: [u8; 64] = {
            let (mut entries, mut index) = ([0; 64], 0);
            while index < 64 {
                entries[index] = (index / 21 + index / 7 % 3 * 4) as u8;
                index += 1;
            }
            entries
        };
        // What they are worth.
        const WORTH: [u8; 64] = {
            let (mut entries, mut index) = ([0; 64], 0);
            while index < 64 {
                entries[index] = (index / 7 * 28) as u8;
                index += 1;
            }
            entries
        };
        // The trits of the other three, by what is left.
        const THREES: [u8; 64] = {
            let (mut entries, mut index) = ([0; 64], 0);
            while index < 64 {
                entries[index] = (index / 9 % 3 + index / 3 % 3 * 4 + index % 3 * 16)
                    as u8;
                index += 1;
            }
            entries
        };
        let table_of_pairs = _mm512_loadu_si512(PAIRS.as_ptr().cast());
        let table_of_worth = _mm512_loadu_si512(WORTH.as_ptr().cast());
        let table_of_threes = _mm512_loadu_si512(THREES.as_ptr().cast());
        for _ in 0..steps {
            let codes = _mm512_loadu_si512(weights.cast());
            let upper = _mm512_srli_epi16::<2>(codes);
            let pairs = _mm512_permutexvar_epi8(upper, table_of_pairs);
            let rest = _mm512_sub_epi8(
                codes,
                _mm512_permutexvar_epi8(upper, table_of_worth),
            );
            let threes = _mm512_permutexvar_epi8(rest, table_of_threes);
            _mm512_storeu_si512(
                out.cast(),
                _mm512_and_si512(pairs, _mm512_set1_epi8(3)),
            );
            _mm512_storeu_si512(
                out.add(64).cast(),
                _mm512_and_si512(_mm512_srli_epi16::<2>(pairs), _mm512_set1_epi8(3)),
            );
            _mm512_storeu_si512(
                out.add(128).cast(),
                _mm512_and_si512(threes, _mm512_set1_epi8(3)),
            );
            _mm512_storeu_si512(
                out.add(192).cast(),
                _mm512_and_si512(_mm512_srli_epi16::<2>(threes), _mm512_set1_epi8(3)),
            );
            _mm512_storeu_si512(
                out.add(256).cast(),
                _mm512_and_si512(_mm512_srli_epi16::<4>(threes), _mm512_set1_epi8(3)),
            );
            weights = weights.wrapping_add(step_stride);
            out = out.wrapping_add(stride);
        }
    }
}
