//! Exact dot products of rows of short codes with an integer vector.
//!
//! Each code of two or four bits names one of 4 or 16 whole numbers, the levels of a codebook; a row is a run of codes. This is how the head
//! of a model is kept in few bits (it is not ternary): a byte shuffle looks levels up, an int8 dot product multiplies them. The vector has
//! eight bits, or 14 as two int8 digits to the base 128, which share the look-up, so that the codes alone decide how exact the product is.
//! With one digit the kernels are at the speed of memory, with two the arithmetic takes about as long as the reading: on a Zen 4 core,
//! from its own cache, 66 and 46 GB/s.
//!
//! Levels lie in -63..=63 and are looked up with 64 added, in 1..=127. A single digit lies in -127..=127, so that a sum of two products fits
//! 16 bits, which is what AVX2 adds up before it widens; two digits lie in -64..=63, and it adds four. All kernels return the same integers.
//!
//! Codes lie in lines of 64 bytes: byte `j` of a line has, from its lowest bits up, the codes of columns `j`, `64 + j`, … of the line. Rows
//! may be interleaved by [`PANEL`], line by line: then the vector is loaded once for all of them, and the codes are still one stream.

use crate::cpu::{Cpu, Isa};

/// Bytes of a line.
pub const LINE: usize = 64;

/// Rows that are interleaved.
pub const PANEL: usize = 4;

/// The largest size of a level.
pub const LEVEL_MAX: i8 = 63;

/// The largest size of a vector's numbers.
pub const VALUE_MAX: i16 = 128 * 63 + 63;

/// The most columns: no sum leaves 32 bits.
pub const COLS_MAX: usize = 1 << 17;

/// Added to a level when it is looked up.
const LEVEL_ZERO: i8 = 64;

/// Columns are padded to a multiple of this, which fills whole lines of any code.
const COLS_STEP: usize = 4 * LINE;

/// How many bits a code has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeBits {
    /// Four levels.
    Two,
    /// Sixteen levels.
    Four,
}

impl CodeBits {
    /// As a number.
    pub const fn bits(self) -> usize {
        match self {
            CodeBits::Two => 2,
            CodeBits::Four => 4,
        }
    }

    /// Codes in a byte.
    pub const fn codes_in_byte(self) -> usize {
        8 / self.bits()
    }

    /// Bytes of a row of `cols` codes: whole lines.
    pub const fn row_bytes(self, cols: usize) -> usize {
        cols.div_ceil(self.codes_in_byte() * LINE) * LINE
    }
}

/// Puts the codes of one row into its lines: those of an interleaved row lie `stride` lines apart in `out`, from its first line on.
///
/// # Panics
///
/// If `out` is too short.
pub fn pack_row(bits: CodeBits, codes: &[u8], stride: usize, out: &mut [u8]) {
    let cols = bits.codes_in_byte() * LINE;
    for (index, codes) in codes.chunks(cols).enumerate() {
        let line = &mut out[index * stride * LINE..][..LINE];
        line.fill(0);
        for (place, codes) in codes.chunks(LINE).enumerate() {
            for (byte, code) in line.iter_mut().zip(codes) {
                *byte |= code << (place * bits.bits());
            }
        }
    }
}

/// The largest size of the numbers of a vector that has one digit.
pub const SHORT_MAX: i16 = 127;

/// An integer vector as one or two int8 digits to the base 128, padded with zeros.
#[derive(Clone, Debug)]
pub struct DigitVector {
    cols: usize,
    /// Nothing where there is one digit.
    high: Vec<i8>,
    low: Vec<i8>,
    /// What the sums of digits with the looked-up levels have too much.
    excess: [i32; 2],
}

impl DigitVector {
    /// The vector of `values`: with one digit if none is larger than [`SHORT_MAX`], else with two.
    ///
    /// # Panics
    ///
    /// If a value is larger than [`VALUE_MAX`], or there are more than [`COLS_MAX`].
    pub fn new(values: &[i16]) -> DigitVector {
        assert!(
            values.len() <= COLS_MAX,
            "{} columns are too many",
            values.len()
        );
        let is_short = values
            .iter()
            .all(|value| value.unsigned_abs() <= SHORT_MAX.unsigned_abs());
        let padded = values.len().next_multiple_of(COLS_STEP);
        let (mut high, mut low) = (vec![0; if is_short { 0 } else { padded }], vec![0; padded]);
        if is_short {
            for (low, &value) in low.iter_mut().zip(values) {
                *low = value as i8;
            }
        }
        for ((&value, high), low) in values.iter().zip(&mut high).zip(&mut low) {
            assert!(
                value.unsigned_abs() <= VALUE_MAX.unsigned_abs(),
                "{value} has more than two digits"
            );
            *high = ((value + 64) >> 7) as i8;
            *low = (value - 128 * i16::from(*high)) as i8;
        }
        let excess = [&high, &low].map(|digits| {
            i32::from(LEVEL_ZERO) * digits.iter().map(|&x| i32::from(x)).sum::<i32>()
        });
        DigitVector {
            cols: values.len(),
            high,
            low,
            excess,
        }
    }

    /// Digits of its numbers.
    pub fn digits(&self) -> usize {
        if self.high.is_empty() { 1 } else { 2 }
    }
}

/// What a kernel is called with; [`Codebook::dot`] checks it.
struct Args<'a> {
    /// Level plus 64 of each code; those of two bits repeat.
    table: &'a [u8; 16],
    codes: &'a [u8],
    vector: &'a DigitVector,
    out: &'a mut [[i32; 2]],
}

/// # Safety
///
/// The CPU has the instruction set of the kernel.
type Kernel = unsafe fn(Args<'_>);

/// Kernels of one instruction set for codes of so many bits: `[digits - 1][rows one after another, panels]`.
type Kernels = [[Kernel; 2]; 2];

/// The levels that codes stand for, and the kernels that multiply with them.
pub struct Codebook {
    bits: CodeBits,
    table: [u8; 16],
    isa: Isa,
    kernels: Kernels,
}

impl Codebook {
    /// A codebook with the fastest kernels of `cpu`. `levels` has the level of each code.
    ///
    /// # Panics
    ///
    /// If there are not as many levels as codes, or one is larger than [`LEVEL_MAX`].
    pub fn new(cpu: &Cpu, bits: CodeBits, levels: &[i8]) -> Codebook {
        assert_eq!(levels.len(), 1 << bits.bits(), "a level for each code");
        let fits = |level: &i8| level.unsigned_abs() <= LEVEL_MAX.unsigned_abs();
        assert!(levels.iter().all(fits), "a level is too large: {levels:?}");
        let table = std::array::from_fn(|code| (levels[code % levels.len()] + LEVEL_ZERO) as u8);
        let (isa, kernels) = kernels(cpu, bits);
        Codebook {
            bits,
            table,
            isa,
            kernels,
        }
    }

    /// Whether `cpu` has kernels that are faster than reading two bytes for each code instead.
    pub fn is_fast_on(cpu: &Cpu) -> bool {
        kernels(cpu, CodeBits::Four).0 != Isa::Scalar
    }

    /// The instruction set of its kernels.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Bits of a code.
    pub fn bits(&self) -> CodeBits {
        self.bits
    }

    /// The exact sums of each row's levels with the vector's high and low digits: 128 times the first plus the second is the product. The
    /// first is 0 for a vector of one digit.
    ///
    /// `codes` holds one row for each of `out`, of [`CodeBits::row_bytes`] each, interleaved by [`PANEL`] or one after another.
    ///
    /// # Panics
    ///
    /// If lengths do not match, or interleaved rows are no whole panels.
    pub fn dot(
        &self,
        is_interleaved: bool,
        codes: &[u8],
        vector: &DigitVector,
        out: &mut [[i32; 2]],
    ) {
        assert_eq!(codes.len(), out.len() * self.bits.row_bytes(vector.cols));
        if is_interleaved {
            assert_eq!(out.len() % PANEL, 0, "whole panels");
        }
        let kernel = self.kernels[vector.digits() - 1][usize::from(is_interleaved)];
        if codes.is_empty() {
            return;
        }
        let args = Args {
            table: &self.table,
            codes,
            vector,
            out,
        };
        // SAFETY: `kernels` chose it among those of the CPU.
        unsafe { kernel(args) }
    }
}

/// All forms of a kernel that is generic over codes in a byte, interleaved rows and digits.
macro_rules! forms {
    ($kernel:path, $bits:expr) => {{
        use $kernel as kernel;
        match $bits {
            CodeBits::Two => [
                [kernel::<4, 1, 1> as Kernel, kernel::<4, PANEL, 1>],
                [kernel::<4, 1, 2>, kernel::<4, PANEL, 2>],
            ],
            CodeBits::Four => [
                [kernel::<2, 1, 1> as Kernel, kernel::<2, PANEL, 1>],
                [kernel::<2, 1, 2>, kernel::<2, PANEL, 2>],
            ],
        }
    }};
}

/// The fastest kernels of `cpu`.
fn kernels(cpu: &Cpu, bits: CodeBits) -> (Isa, Kernels) {
    #[cfg(target_arch = "x86_64")]
    {
        if cpu.has(Isa::Avx512vbmi) && cpu.has(Isa::Avx512vnni) {
            return (Isa::Avx512vbmi, forms!(x86::vbmi, bits));
        }
        if cpu.has(Isa::Avx512vnni) {
            return (Isa::Avx512vnni, forms!(x86::vnni, bits));
        }
        if cpu.has(Isa::Avx2) {
            return (Isa::Avx2, forms!(x86::avx2, bits));
        }
    }
    let _ = cpu;
    (Isa::Scalar, forms!(self::scalar, bits))
}

/// The meaning: `CODES` codes in a byte, `ROWS` rows interleaved, `DIGITS` digits.
fn scalar<const CODES: usize, const ROWS: usize, const DIGITS: usize>(args: Args<'_>) {
    let Args {
        table,
        codes,
        vector,
        out,
    } = args;
    let bits = 8 / CODES;
    let panel_bytes = codes.len() / out.len() * ROWS;
    for (codes, out) in codes
        .chunks_exact(panel_bytes)
        .zip(out.chunks_exact_mut(ROWS))
    {
        for (row, out) in out.iter_mut().enumerate() {
            let mut sums = [0; 2];
            for (index, line) in codes.chunks_exact(ROWS * LINE).enumerate() {
                for (j, &byte) in line[row * LINE..][..LINE].iter().enumerate() {
                    for place in 0..CODES {
                        let level = table[usize::from(byte >> (bits * place)) % (1 << bits)];
                        let column = (index * CODES + place) * LINE + j;
                        if DIGITS == 2 {
                            sums[0] += i32::from(level) * i32::from(vector.high[column]);
                        }
                        sums[1] += i32::from(level) * i32::from(vector.low[column]);
                    }
                }
            }
            *out = std::array::from_fn(|digit| sums[digit] - vector.excess[digit]);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Args, LINE};

    /// How far ahead of the codes at hand they are fetched: the CPU's own prefetchers stop at the end of a page.
    const AHEAD: usize = 8192;

    /// Asks for the line `AHEAD` bytes behind this one, into the caches that `HINT` says.
    #[inline(always)]
    fn fetch<const HINT: i32>(line: &[u8; LINE]) {
        // SAFETY: a prefetch of any address is a hint; the pointer is not used otherwise.
        unsafe { _mm_prefetch::<HINT>(line.as_ptr().wrapping_add(AHEAD).cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load512<T>(line: &[T; LINE]) -> __m512i {
        const { assert!(size_of::<T>() == 1) }
        // SAFETY: 64 elements of one byte are as many bytes as the vector has; no alignment is needed.
        unsafe { _mm512_loadu_si512(line.as_ptr().cast()) }
    }

    /// The table of 16 bytes in every lane.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn table512(table: &[u8; 16]) -> __m512i {
        let table = u128::from_le_bytes(*table);
        _mm512_broadcast_i32x4(_mm_set_epi64x(
            (table >> 64).cast_signed() as i64,
            table.cast_signed() as i64,
        ))
    }

    /// A kernel of AVX-512 with VNNI; `$look_up` makes levels of the lowest code of each byte, by a table in every lane.
    macro_rules! avx512 {
        ($(#[$doc:meta])* $name:ident, $features:literal, $look_up:expr) => {
            $(#[$doc])*
            #[target_feature(enable = $features)]
            pub fn $name<const CODES: usize, const ROWS: usize, const DIGITS: usize>(args: Args<'_>) {
                let Args { table, codes, vector, out } = args;
                let lines = codes.as_chunks::<LINE>().0;
                let panel = lines.len() / out.len() * ROWS;
                let table = table512(table);
                let mask = _mm512_set1_epi8(if CODES == 2 { 15 } else { 3 });
                let low = vector.low.as_chunks::<LINE>().0.as_chunks::<CODES>().0;
                let high = match DIGITS {
                    2 => vector.high.as_chunks::<LINE>().0.as_chunks::<CODES>().0,
                    _ => low,
                };
                // A row by itself is followed by nothing that is wanted.
                let has_more = lines.len() > panel;
                for (lines, out) in lines.chunks_exact(panel).zip(out.as_chunks_mut::<ROWS>().0) {
                    // Of two digits, or of every other place: chains of additions that do not wait for each other.
                    let mut sums = [[_mm512_setzero_si512(); 2]; ROWS];
                    for ((lines, high), low) in lines.as_chunks::<ROWS>().0.iter().zip(high).zip(low) {
                        // One line of all rows, into the second-level cache, shows the CPU's own prefetchers the next page. All
                        // of them, or into the first level, took Zen 4 1.1 times as long: they take the places of the loads.
                        if has_more {
                            fetch::<_MM_HINT_T1>(&lines[0]);
                        }
                        let mut codes = [_mm512_setzero_si512(); ROWS];
                        for (codes, line) in codes.iter_mut().zip(lines) {
                            *codes = load512(line);
                        }
                        for place in 0..CODES {
                            let (high, low) = (load512(&high[place]), load512(&low[place]));
                            for (codes, sums) in codes.iter_mut().zip(&mut sums) {
                                let levels = $look_up(table, *codes, mask);
                                if DIGITS == 2 {
                                    sums[0] = _mm512_dpbusd_epi32(sums[0], levels, high);
                                    sums[1] = _mm512_dpbusd_epi32(sums[1], levels, low);
                                } else {
                                    let sum = &mut sums[place % 2];
                                    *sum = _mm512_dpbusd_epi32(*sum, levels, low);
                                }
                                *codes = match CODES {
                                    2 => _mm512_srli_epi16::<4>(*codes),
                                    _ => _mm512_srli_epi16::<2>(*codes),
                                };
                            }
                        }
                    }
                    for (out, [first, second]) in out.iter_mut().zip(sums) {
                        let sums = match DIGITS {
                            2 => [_mm512_reduce_add_epi32(first), _mm512_reduce_add_epi32(second)],
                            _ => [0, _mm512_reduce_add_epi32(_mm512_add_epi32(first, second))],
                        };
                        *out = std::array::from_fn(|digit| sums[digit] - vector.excess[digit]);
                    }
                }
            }
        };
    }

    avx512!(
        /// Sums in AVX-512 with VNNI: `CODES` codes in a byte, `ROWS` rows interleaved, `DIGITS` digits.
        vnni,
        "avx512f,avx512bw,avx512vnni",
        |table, codes, mask| _mm512_shuffle_epi8(table, _mm512_and_si512(codes, mask))
    );

    avx512!(
        /// The same with VBMI, whose look-up takes six bits of a byte and passes over the rest: with the table four times in a vector it
        /// needs no mask.
        vbmi,
        "avx512f,avx512bw,avx512vbmi,avx512vnni",
        |table, codes, _| _mm512_permutexvar_epi8(codes, table)
    );

    const HALF: usize = LINE / 2;

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load256<T>(half: &[T; HALF]) -> __m256i {
        const { assert!(size_of::<T>() == 1) }
        // SAFETY: 32 elements of one byte are as many bytes as the vector has; no alignment is needed.
        unsafe { _mm256_loadu_si256(half.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn sum256(sums: __m256i) -> i32 {
        let sums = _mm_add_epi32(
            _mm256_castsi256_si128(sums),
            _mm256_extracti128_si256::<1>(sums),
        );
        let sums = _mm_add_epi32(sums, _mm_shuffle_epi32::<0b01_00_11_10>(sums));
        let sums = _mm_add_epi32(sums, _mm_shuffle_epi32::<0b10_11_00_01>(sums));
        _mm_cvtsi128_si32(sums)
    }

    /// Sums in AVX2: `CODES` codes in a byte, `ROWS` rows interleaved, `DIGITS` digits.
    #[target_feature(enable = "avx2")]
    pub fn avx2<const CODES: usize, const ROWS: usize, const DIGITS: usize>(args: Args<'_>) {
        let Args {
            table,
            codes,
            vector,
            out,
        } = args;
        let lines = codes.as_chunks::<LINE>().0;
        let panel = lines.len() / out.len() * ROWS;
        let table = u128::from_le_bytes(*table);
        let table = _mm256_broadcastsi128_si256(_mm_set_epi64x(
            (table >> 64).cast_signed() as i64,
            table.cast_signed() as i64,
        ));
        let mask = _mm256_set1_epi8(if CODES == 2 { 15 } else { 3 });
        let ones = _mm256_set1_epi16(1);
        let low = vector.low.as_chunks::<LINE>().0.as_chunks::<CODES>().0;
        let high = match DIGITS {
            2 => vector.high.as_chunks::<LINE>().0.as_chunks::<CODES>().0,
            _ => low,
        };
        let has_more = lines.len() > panel;
        for (lines, out) in lines.chunks_exact(panel).zip(out.as_chunks_mut::<ROWS>().0) {
            let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
            for ((lines, high), low) in lines.as_chunks::<ROWS>().0.iter().zip(high).zip(low) {
                if has_more {
                    lines.iter().for_each(fetch::<_MM_HINT_T0>);
                }
                for half in 0..2 {
                    let part = |digits: &[i8; LINE]| load256(&digits.as_chunks::<HALF>().0[half]);
                    for (line, sums) in lines.iter().zip(&mut sums) {
                        let mut codes = load256(&line.as_chunks::<HALF>().0[half]);
                        for pair in 0..CODES / 2 {
                            let pair = [2 * pair, 2 * pair + 1];
                            let levels = pair.map(|_| {
                                let now = _mm256_and_si256(codes, mask);
                                codes = match CODES {
                                    2 => _mm256_srli_epi16::<4>(codes),
                                    _ => _mm256_srli_epi16::<2>(codes),
                                };
                                _mm256_shuffle_epi8(table, now)
                            });
                            let words = |digits: &[[i8; LINE]; CODES]| {
                                let [a, b] = [0, 1].map(|index| {
                                    let digits = part(&digits[pair[index]]);
                                    _mm256_maddubs_epi16(levels[index], digits)
                                });
                                match DIGITS {
                                    // Four products of at most 127 x 64 fit 16 bits.
                                    2 => _mm256_madd_epi16(_mm256_add_epi16(a, b), ones),
                                    // Two of at most 127 x 127 do.
                                    _ => _mm256_add_epi32(
                                        _mm256_madd_epi16(a, ones),
                                        _mm256_madd_epi16(b, ones),
                                    ),
                                }
                            };
                            if DIGITS == 2 {
                                sums[0] = _mm256_add_epi32(sums[0], words(high));
                            }
                            sums[1] = _mm256_add_epi32(sums[1], words(low));
                        }
                    }
                }
            }
            for (out, sums) in out.iter_mut().zip(sums) {
                let sums = sums.map(|sums| sum256(sums));
                *out = std::array::from_fn(|digit| sums[digit] - vector.excess[digit]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVELS: [i8; 16] = [
        -63, -48, -37, -29, -22, -15, -9, -3, 3, 9, 15, 22, 29, 37, 48, 63,
    ];

    /// Numbers that look random.
    fn noise(seed: u64) -> impl Iterator<Item = u64> {
        (seed * 1_000_003..).map(|i: u64| {
            let x = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (x ^ x >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32
        })
    }

    /// This CPU with all it has, and with less.
    fn cpus() -> Vec<Cpu> {
        let caps = Isa::HERE.iter();
        caps.map(|&cap| Cpu::detect().capped(cap)).collect()
    }

    fn check(bits: CodeBits, is_interleaved: bool, rows: &[Vec<u8>], values: &[i16]) {
        let row_bytes = bits.row_bytes(values.len());
        let mut codes = vec![0xAA; rows.len() * row_bytes];
        for (index, row) in rows.iter().enumerate() {
            let (first, stride) = match is_interleaved {
                true => (
                    index / PANEL * PANEL * row_bytes + index % PANEL * LINE,
                    PANEL,
                ),
                false => (index * row_bytes, 1),
            };
            pack_row(bits, row, stride, &mut codes[first..]);
        }
        let levels = &LEVELS[..1 << bits.bits()];
        let product = |row: &Vec<u8>| -> i64 {
            let terms = row.iter().zip(values);
            terms
                .map(|(&code, &x)| i64::from(levels[usize::from(code)]) * i64::from(x))
                .sum()
        };
        let expected: Vec<i64> = rows.iter().map(product).collect();
        for cpu in cpus() {
            let codebook = Codebook::new(&cpu, bits, levels);
            let mut out = vec![[0; 2]; rows.len()];
            codebook.dot(is_interleaved, &codes, &DigitVector::new(values), &mut out);
            let found: Vec<i64> = out
                .iter()
                .map(|&[high, low]| 128 * i64::from(high) + i64::from(low))
                .collect();
            assert_eq!(
                found,
                expected,
                "{bits:?} {} {is_interleaved}",
                codebook.isa()
            );
        }
    }

    #[test]
    fn every_kernel_returns_the_product() {
        for bits in [CodeBits::Two, CodeBits::Four] {
            for (rows, cols) in [(4, 1), (8, 127), (12, 128), (4, 129), (4, 255), (8, 2560)] {
                let mut random = noise(cols as u64);
                let mut row = || {
                    let codes = random.by_ref().take(cols);
                    codes.map(|x| (x % (1 << bits.bits())) as u8).collect()
                };
                let rows: Vec<Vec<u8>> = (0..rows).map(|_| row()).collect();
                let range = 2 * VALUE_MAX as u64 + 1;
                let values = noise(7).take(cols);
                let values: Vec<i16> = values.map(|x| (x % range) as i16 - VALUE_MAX).collect();
                let short: Vec<i16> = values.iter().map(|x| x % (SHORT_MAX + 1)).collect();
                for values in [&values, &short] {
                    check(bits, true, &rows, values);
                    check(bits, false, &rows, values);
                }
            }
        }
    }

    #[test]
    fn the_largest_sums_do_not_overflow() {
        for value in [VALUE_MAX, -VALUE_MAX, 64, -64, 63, SHORT_MAX, -SHORT_MAX] {
            for code in [0, 3, 15] {
                let values = vec![value; 5000];
                check(CodeBits::Four, true, &vec![vec![code; 5000]; 4], &values);
                let row = vec![code.min(3); 5000];
                check(CodeBits::Two, false, &[row], &values);
            }
        }
    }

    #[test]
    #[should_panic(expected = "more than two digits")]
    fn values_that_are_too_large_are_refused() {
        DigitVector::new(&[0, VALUE_MAX + 1]);
    }
}
