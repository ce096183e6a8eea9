/// `unpack_d3__avx512vbmi`: code d3 into the dot-product layout on avx512vbmi.
///
/// Panels of 16 rows, 36 columns in 128 bytes a step. A step makes 9 quads of columns.
/// Emitted by `codegen/src/skeleton/unpack.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`UnpackArgs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni,gfni")]
pub unsafe fn unpack_d3__avx512vbmi(args: &UnpackArgs) {
    let UnpackArgs { steps, step_stride, stride, .. } = *args;
    let (mut weights, mut out) = (args.weights, args.out);
    // SAFETY: by the contract of `UnpackArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        // The fields of three trits, for all 32 codes twice: the sixth bit of an index does not
        // matter.
        const FIELDS: [u8; 64] = {
            let (mut fields, mut index) = ([0; 64], 0);
            while index < 64 {
                let code = index % 32;
                fields[index] = ((code / 9) | ((code / 3 % 3) << 2) | ((code % 3) << 4))
                    as u8;
                index += 1;
            }
            fields
        };
        let fields = _mm512_loadu_si512(FIELDS.as_ptr().cast());
        // Bit offsets of codes 0 to 3 in the low words of two rows, of 4 to 7 in the high ones, of
        // 8 to 11 in what both have left.
        let (pick_low, pick_high, pick_rest) = (
            _mm512_set1_epi64(0x2f2a2520_0f0a0500),
            _mm512_set1_epi64(0x39342f2a_19140f0a),
            _mm512_set1_epi64(0x25203934_05001914),
        );
        let rest_of_low = _mm512_set1_epi32(0x3ff0_0000);
        for _ in 0..steps {
            let (low, high) = (
                _mm512_loadu_si512(weights.cast()),
                _mm512_loadu_si512(weights.add(64).cast()),
            );
            let rest = _mm512_ternarylogic_epi32::<0xca>(rest_of_low, low, high);
            let decoded = _mm512_permutexvar_epi8(
                _mm512_multishift_epi64_epi8(pick_low, low),
                fields,
            );
            _mm512_storeu_si512(
                out.cast(),
                _mm512_and_si512(decoded, _mm512_set1_epi8(3)),
            );
            _mm512_storeu_si512(
                out.add(stride).cast(),
                _mm512_and_si512(_mm512_srli_epi16::<2>(decoded), _mm512_set1_epi8(3)),
            );
            _mm512_storeu_si512(
                out.add(2 * stride).cast(),
                _mm512_and_si512(_mm512_srli_epi16::<4>(decoded), _mm512_set1_epi8(3)),
            );
            let decoded = _mm512_permutexvar_epi8(
                _mm512_multishift_epi64_epi8(pick_high, high),
                fields,
            );
            _mm512_storeu_si512(
                out.add(3 * stride).cast(),
                _mm512_and_si512(decoded, _mm512_set1_epi8(3)),
            );
            _mm512_storeu_si512(
                out.add(4 * stride).cast(),
                _mm512_and_si512(_mm512_srli_epi16::<2>(decoded), _mm512_set1_epi8(3)),
            );
            _mm512_storeu_si512(
                out.add(5 * stride).cast(),
                _mm512_and_si512(_mm512_srli_epi16::<4>(decoded), _mm512_set1_epi8(3)),
            );
            let decoded = _mm512_permutexvar_epi8(
                _mm512_multishift_epi64_epi8(pick_rest, rest),
                fields,
            );
            _mm512_storeu_si512(
                out.add(6 * stride).cast(),
                _mm512_and_si512(decoded, _mm512_set1_epi8(3)),
            );
            _mm512_storeu_si512(
                out.add(7 * stride).cast(),
                _mm512_and_si512(_mm512_srli_epi16::<2>(decoded), _mm512_set1_epi8(3)),
            );
            _mm512_storeu_si512(
                out.add(8 * stride).cast(),
                _mm512_and_si512(_mm512_srli_epi16::<4>(decoded), _mm512_set1_epi8(3)),
            );
            weights = weights.wrapping_add(step_stride);
            out = out.wrapping_add(9 * stride);
        }
    }
}
