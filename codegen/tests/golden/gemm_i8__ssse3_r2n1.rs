/// `gemm_i8__ssse3_r2n1`: the dot-product layout times many tokens on ssse3.
///
/// Tiles of 2 vectors of 4 rows, and 1 tokens.
/// 6 of 16 vector registers. Quads before narrow sums are widened: 64 (bound 64).
/// Emitted by `codegen/src/skeleton/gemm.rs`. Change that file, not this text.
///
/// # Safety
///
/// `args` meets the contract of [`GemmArgs`].
#[target_feature(enable = "ssse3")]
pub unsafe fn gemm_i8__ssse3_r2n1(args: &GemmArgs) {
    let GemmArgs { strip_stride, vectors, quads, token_stride, out_stride, .. } = *args;
    let stride = vectors * 16;
    let (mut activations, mut sums) = (args.activations.cast::<u8>(), args.out);
    let mut left = args.tokens;
    // SAFETY: by the contract of `GemmArgs`, which gives every byte that is read or written here,
    // and the CPU's ISA.
    unsafe {
        while left >= 1 {
            let (mut strip, mut out) = (args.weights, sums);
            for _ in 0..args.strips {
                let mut weights = strip;
                for _ in 0..vectors / 2 {
                    let (mut at, mut four) = (weights, activations);
                    let mut rest = quads;
                    while rest > 0 {
                        let window = rest.min(64);
                        let mut sum0_0 = _mm_setzero_si128();
                        let mut sum1_0 = _mm_setzero_si128();
                        for _ in 0..window / 2 {
                            // Two quads a turn: the compiler unrolls the inner loop.
                            for _ in 0..2 {
                                let codes0 = _mm_loadu_si128(at.cast());
                                let codes1 = _mm_loadu_si128(at.add(16).cast());
                                let a = _mm_set1_epi32(four.cast::<i32>().read_unaligned());
                                sum0_0 = _mm_add_epi16(
                                    sum0_0,
                                    _mm_maddubs_epi16(codes0, a),
                                );
                                sum1_0 = _mm_add_epi16(
                                    sum1_0,
                                    _mm_maddubs_epi16(codes1, a),
                                );
                                at = at.wrapping_add(stride);
                                four = four.wrapping_add(4);
                            }
                        }
                        if window % 2 == 1 {
                            let codes0 = _mm_loadu_si128(at.cast());
                            let codes1 = _mm_loadu_si128(at.add(16).cast());
                            let a = _mm_set1_epi32(four.cast::<i32>().read_unaligned());
                            sum0_0 = _mm_add_epi16(sum0_0, _mm_maddubs_epi16(codes0, a));
                            sum1_0 = _mm_add_epi16(sum1_0, _mm_maddubs_epi16(codes1, a));
                            at = at.wrapping_add(stride);
                            four = four.wrapping_add(4);
                        }
                        let rows = out.cast::<u8>();
                        _mm_storeu_si128(
                            rows.cast(),
                            _mm_add_epi32(
                                _mm_loadu_si128(rows.cast()),
                                _mm_madd_epi16(sum0_0, _mm_set1_epi16(1)),
                            ),
                        );
                        _mm_storeu_si128(
                            rows.add(16).cast(),
                            _mm_add_epi32(
                                _mm_loadu_si128(rows.add(16).cast()),
                                _mm_madd_epi16(sum1_0, _mm_set1_epi16(1)),
                            ),
                        );
                        rest -= window;
                    }
                    weights = weights.wrapping_add(32);
                    out = out.wrapping_add(8);
                }
                for _ in 0..vectors % 2 {
                    let (mut at, mut four) = (weights, activations);
                    let mut rest = quads;
                    while rest > 0 {
                        let window = rest.min(64);
                        let mut sum0_0 = _mm_setzero_si128();
                        for _ in 0..window {
                            let codes0 = _mm_loadu_si128(at.cast());
                            let a = _mm_set1_epi32(four.cast::<i32>().read_unaligned());
                            sum0_0 = _mm_add_epi16(sum0_0, _mm_maddubs_epi16(codes0, a));
                            at = at.wrapping_add(stride);
                            four = four.wrapping_add(4);
                        }
                        let rows = out.cast::<u8>();
                        _mm_storeu_si128(
                            rows.cast(),
                            _mm_add_epi32(
                                _mm_loadu_si128(rows.cast()),
                                _mm_madd_epi16(sum0_0, _mm_set1_epi16(1)),
                            ),
                        );
                        rest -= window;
                    }
                    weights = weights.wrapping_add(16);
                    out = out.wrapping_add(4);
                }
                strip = strip.wrapping_add(strip_stride);
            }
            activations = activations.wrapping_add(token_stride);
            sums = sums.wrapping_add(out_stride);
            left -= 1;
        }
    }
}
