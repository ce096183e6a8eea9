/// `unpack_d5__avx512vbmi`: code d5 into the dot-product layout on avx512vbmi.
///
/// Panels of 16 rows, 20 columns in 64 bytes a step. A step makes 5 quads of columns.
/// Emitted by `codegen/src/skeleton/unpack.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`UnpackArgs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni,gfni")]
pub unsafe fn unpack_d5__avx512vbmi(args: &UnpackArgs) {
    let UnpackArgs { steps, step_stride, stride, .. } = *args;
    let (mut weights, mut out) = (args.weights, args.out);
    // SAFETY: by the contract of `UnpackArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
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
        let (first0, first1) = (
            _mm512_loadu_si512(FIRST.as_ptr().cast()),
            _mm512_loadu_si512(FIRST.as_ptr().add(64).cast()),
        );
        let (last0, last1) = (
            _mm512_loadu_si512(LAST.as_ptr().cast()),
            _mm512_loadu_si512(LAST.as_ptr().add(64).cast()),
        );
        for _ in 0..steps {
            let codes = _mm512_loadu_si512(weights.cast());
            let (first, last) = (
                _mm512_permutex2var_epi8(first0, codes, first1),
                _mm512_permutex2var_epi8(last0, _mm512_srli_epi16::<1>(codes), last1),
            );
            _mm512_storeu_si512(
                out.cast(),
                _mm512_and_si512(first, _mm512_set1_epi8(3)),
            );
            _mm512_storeu_si512(
                out.add(stride).cast(),
                _mm512_and_si512(_mm512_srli_epi16::<2>(first), _mm512_set1_epi8(3)),
            );
            _mm512_storeu_si512(
                out.add(2 * stride).cast(),
                _mm512_srli_epi16::<
                    4,
                >(_mm512_ternarylogic_epi32::<0xa8>(first, last, _mm512_set1_epi8(48))),
            );
            _mm512_storeu_si512(
                out.add(3 * stride).cast(),
                _mm512_and_si512(_mm512_srli_epi16::<2>(last), _mm512_set1_epi8(3)),
            );
            _mm512_storeu_si512(
                out.add(4 * stride).cast(),
                _mm512_and_si512(last, _mm512_set1_epi8(3)),
            );
            weights = weights.wrapping_add(step_stride);
            out = out.wrapping_add(5 * stride);
        }
    }
}
