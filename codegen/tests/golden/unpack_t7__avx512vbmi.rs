/// `unpack_t7__avx512vbmi`: code t7 into the dot-product layout on avx512vbmi.
///
/// Panels of 64 rows, 28 columns in 384 bytes a step. A step makes 7 quads of columns.
/// Emitted by `codegen/src/skeleton/unpack.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`UnpackArgs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni,gfni")]
pub unsafe fn unpack_t7__avx512vbmi(args: &UnpackArgs) {
    let UnpackArgs { steps, step_stride, stride, .. } = *args;
    let (mut weights, mut out) = (args.weights, args.out);
    // SAFETY: by the contract of `UnpackArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        const TRITS: [u8; 64] = {
            let (mut entries, mut n) = ([0; 64], 0);
            while n < 54 {
                let value = n;
                entries[n] = (value / 9 % 3 + value / 3 % 3 * 4 + value % 3 * 16
                    + value / 27 % 3 * 64) as u8;
                n += 1;
            }
            entries
        };
        let trits0 = _mm512_loadu_si512(TRITS.as_ptr().cast());
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
            let codes0 = _mm512_loadu_si512(weights.cast());
            let codes1 = _mm512_loadu_si512(weights.add(64).cast());
            let codes2 = _mm512_loadu_si512(weights.add(128).cast());
            let codes3 = _mm512_add_epi8(
                _mm512_add_epi8(
                    _mm512_and_si512(
                        _mm512_srli_epi16::<6>(codes0),
                        _mm512_set1_epi8(3),
                    ),
                    _mm512_and_si512(
                        _mm512_srli_epi16::<4>(codes1),
                        _mm512_set1_epi8(12),
                    ),
                ),
                _mm512_and_si512(_mm512_srli_epi16::<2>(codes2), _mm512_set1_epi8(48)),
            );
            let (first, second) = (
                _mm512_permutexvar_epi8(
                    _mm512_and_si512(codes0, _mm512_set1_epi8(63)),
                    trits0,
                ),
                _mm512_permutexvar_epi8(
                    _mm512_and_si512(codes1, _mm512_set1_epi8(63)),
                    trits0,
                ),
            );
            let column0 = _mm512_and_si512(first, _mm512_set1_epi8(3));
            let column1 = _mm512_and_si512(
                _mm512_srli_epi16::<2>(first),
                _mm512_set1_epi8(3),
            );
            let column2 = _mm512_and_si512(
                _mm512_srli_epi16::<4>(first),
                _mm512_set1_epi8(3),
            );
            let column3 = _mm512_sub_epi8(
                _mm512_add_epi8(
                    _mm512_set1_epi8(1),
                    _mm512_and_si512(_mm512_srli_epi16::<6>(first), _mm512_set1_epi8(3)),
                ),
                _mm512_and_si512(_mm512_srli_epi16::<6>(second), _mm512_set1_epi8(3)),
            );
            let column4 = _mm512_and_si512(second, _mm512_set1_epi8(3));
            let column5 = _mm512_and_si512(
                _mm512_srli_epi16::<2>(second),
                _mm512_set1_epi8(3),
            );
            let column6 = _mm512_and_si512(
                _mm512_srli_epi16::<4>(second),
                _mm512_set1_epi8(3),
            );
            let (first, second) = (
                _mm512_permutexvar_epi8(
                    _mm512_and_si512(codes2, _mm512_set1_epi8(63)),
                    trits0,
                ),
                _mm512_permutexvar_epi8(
                    _mm512_and_si512(codes3, _mm512_set1_epi8(63)),
                    trits0,
                ),
            );
            let column7 = _mm512_and_si512(first, _mm512_set1_epi8(3));
            let column8 = _mm512_and_si512(
                _mm512_srli_epi16::<2>(first),
                _mm512_set1_epi8(3),
            );
            let column9 = _mm512_and_si512(
                _mm512_srli_epi16::<4>(first),
                _mm512_set1_epi8(3),
            );
            let column10 = _mm512_sub_epi8(
                _mm512_add_epi8(
                    _mm512_set1_epi8(1),
                    _mm512_and_si512(_mm512_srli_epi16::<6>(first), _mm512_set1_epi8(3)),
                ),
                _mm512_and_si512(_mm512_srli_epi16::<6>(second), _mm512_set1_epi8(3)),
            );
            let column11 = _mm512_and_si512(second, _mm512_set1_epi8(3));
            let column12 = _mm512_and_si512(
                _mm512_srli_epi16::<2>(second),
                _mm512_set1_epi8(3),
            );
            let column13 = _mm512_and_si512(
                _mm512_srli_epi16::<4>(second),
                _mm512_set1_epi8(3),
            );
            let codes0 = _mm512_loadu_si512(weights.add(192).cast());
            let codes1 = _mm512_loadu_si512(weights.add(256).cast());
            let codes2 = _mm512_loadu_si512(weights.add(320).cast());
            let codes3 = _mm512_add_epi8(
                _mm512_add_epi8(
                    _mm512_and_si512(
                        _mm512_srli_epi16::<6>(codes0),
                        _mm512_set1_epi8(3),
                    ),
                    _mm512_and_si512(
                        _mm512_srli_epi16::<4>(codes1),
                        _mm512_set1_epi8(12),
                    ),
                ),
                _mm512_and_si512(_mm512_srli_epi16::<2>(codes2), _mm512_set1_epi8(48)),
            );
            let (first, second) = (
                _mm512_permutexvar_epi8(
                    _mm512_and_si512(codes0, _mm512_set1_epi8(63)),
                    trits0,
                ),
                _mm512_permutexvar_epi8(
                    _mm512_and_si512(codes1, _mm512_set1_epi8(63)),
                    trits0,
                ),
            );
            let column14 = _mm512_and_si512(first, _mm512_set1_epi8(3));
            let column15 = _mm512_and_si512(
                _mm512_srli_epi16::<2>(first),
                _mm512_set1_epi8(3),
            );
            let column16 = _mm512_and_si512(
                _mm512_srli_epi16::<4>(first),
                _mm512_set1_epi8(3),
            );
            let column17 = _mm512_sub_epi8(
                _mm512_add_epi8(
                    _mm512_set1_epi8(1),
                    _mm512_and_si512(_mm512_srli_epi16::<6>(first), _mm512_set1_epi8(3)),
                ),
                _mm512_and_si512(_mm512_srli_epi16::<6>(second), _mm512_set1_epi8(3)),
            );
            let column18 = _mm512_and_si512(second, _mm512_set1_epi8(3));
            let column19 = _mm512_and_si512(
                _mm512_srli_epi16::<2>(second),
                _mm512_set1_epi8(3),
            );
            let column20 = _mm512_and_si512(
                _mm512_srli_epi16::<4>(second),
                _mm512_set1_epi8(3),
            );
            let (first, second) = (
                _mm512_permutexvar_epi8(
                    _mm512_and_si512(codes2, _mm512_set1_epi8(63)),
                    trits0,
                ),
                _mm512_permutexvar_epi8(
                    _mm512_and_si512(codes3, _mm512_set1_epi8(63)),
                    trits0,
                ),
            );
            let column21 = _mm512_and_si512(first, _mm512_set1_epi8(3));
            let column22 = _mm512_and_si512(
                _mm512_srli_epi16::<2>(first),
                _mm512_set1_epi8(3),
            );
            let column23 = _mm512_and_si512(
                _mm512_srli_epi16::<4>(first),
                _mm512_set1_epi8(3),
            );
            let column24 = _mm512_sub_epi8(
                _mm512_add_epi8(
                    _mm512_set1_epi8(1),
                    _mm512_and_si512(_mm512_srli_epi16::<6>(first), _mm512_set1_epi8(3)),
                ),
                _mm512_and_si512(_mm512_srli_epi16::<6>(second), _mm512_set1_epi8(3)),
            );
            let column25 = _mm512_and_si512(second, _mm512_set1_epi8(3));
            let column26 = _mm512_and_si512(
                _mm512_srli_epi16::<2>(second),
                _mm512_set1_epi8(3),
            );
            let column27 = _mm512_and_si512(
                _mm512_srli_epi16::<4>(second),
                _mm512_set1_epi8(3),
            );
            store_quad([column0, column1, column2, column3], out);
            store_quad([column4, column5, column6, column7], out.add(stride));
            store_quad([column8, column9, column10, column11], out.add(2 * stride));
            store_quad([column12, column13, column14, column15], out.add(3 * stride));
            store_quad([column16, column17, column18, column19], out.add(4 * stride));
            store_quad([column20, column21, column22, column23], out.add(5 * stride));
            store_quad([column24, column25, column26, column27], out.add(6 * stride));
            weights = weights.wrapping_add(step_stride);
            out = out.wrapping_add(7 * stride);
        }
    }
}
