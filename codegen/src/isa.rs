//! The ISAs, their CPU features (the only list of them), and the words that skeletons speak.

mod avx2;
mod avx512;
mod instructions;
mod neon;
mod operations;
mod simd128;
mod ssse3;

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};

use crate::spec::{Code, Family};

pub use avx2::{AVX512VL_FEATURES, Avx2, in_avx512vl};
pub use avx512::Avx512;
pub use instructions::{gemm_instructions, instructions, unpack_instructions};
pub use neon::{Dot, Neon};
pub use operations::{Operation, count};
pub use simd128::Simd128;
pub use ssse3::Ssse3;

/// An instruction-set level with kernels of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust, for any target.
    Scalar,
    /// 128-bit vectors with byte shuffles.
    Ssse3,
    /// 256-bit integer vectors.
    Avx2,
    /// 256-bit byte dot products.
    AvxVnni,
    /// 512-bit vectors with byte operations under masks.
    Avx512bw,
    /// 512-bit byte dot products.
    Avx512vnni,
    /// 512-bit byte permutes, with the byte dot products beside them.
    Avx512vbmi,
    /// 128-bit vectors of 64-bit ARM.
    Neon,
    /// Their signed byte dot products.
    Dotprod,
    /// Their dot products of unsigned and signed bytes.
    I8mm,
    /// 128-bit vectors of WebAssembly.
    Simd128,
    /// Their byte dot products.
    Relaxed,
}

impl Isa {
    /// Every ISA with kernels.
    pub const ALL: [Isa; 12] = [
        Isa::Scalar,
        Isa::Ssse3,
        Isa::Avx2,
        Isa::AvxVnni,
        Isa::Avx512bw,
        Isa::Avx512vnni,
        Isa::Avx512vbmi,
        Isa::Neon,
        Isa::Dotprod,
        Isa::I8mm,
        Isa::Simd128,
        Isa::Relaxed,
    ];

    /// The name in file names, ids and `--max-isa`.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Ssse3 => "ssse3",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avxvnni",
            Isa::Avx512bw => "avx512bw",
            Isa::Avx512vnni => "avx512vnni",
            Isa::Avx512vbmi => "avx512vbmi",
            Isa::Neon => "neon",
            Isa::Dotprod => "dotprod",
            Isa::I8mm => "i8mm",
            Isa::Simd128 => "simd128",
            Isa::Relaxed => "relaxed",
        }
    }

    /// The ISA called `name`.
    pub fn from_name(name: &str) -> Option<Isa> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name)
    }

    /// The variant's name in `tern_kernels::Isa`.
    pub const fn variant(self) -> &'static str {
        match self {
            Isa::Scalar => "Scalar",
            Isa::Ssse3 => "Ssse3",
            Isa::Avx2 => "Avx2",
            Isa::AvxVnni => "AvxVnni",
            Isa::Avx512bw => "Avx512bw",
            Isa::Avx512vnni => "Avx512vnni",
            Isa::Avx512vbmi => "Avx512vbmi",
            Isa::Neon => "Neon",
            Isa::Dotprod => "Dotprod",
            Isa::I8mm => "I8mm",
            Isa::Simd128 => "Simd128",
            Isa::Relaxed => "Relaxed",
        }
    }

    /// The architecture that has it, as `CARGO_CFG_TARGET_ARCH` names it; `None` for any.
    pub const fn arch(self) -> Option<&'static str> {
        match self {
            Isa::Scalar => None,
            Isa::Neon | Isa::Dotprod | Isa::I8mm => Some("aarch64"),
            Isa::Simd128 | Isa::Relaxed => Some("wasm32"),
            Isa::Ssse3
            | Isa::Avx2
            | Isa::AvxVnni
            | Isa::Avx512bw
            | Isa::Avx512vnni
            | Isa::Avx512vbmi => Some("x86_64"),
        }
    }

    /// The CPU features that its kernels use, as `target_feature` and run-time detection name them.
    pub const fn features(self) -> &'static [&'static str] {
        match self {
            Isa::Scalar => &[],
            Isa::Ssse3 => &["ssse3"],
            Isa::Avx2 => &["avx2"],
            Isa::AvxVnni => &["avx2", "avxvnni"],
            Isa::Avx512bw => &["avx512f", "avx512bw"],
            Isa::Avx512vnni => &["avx512f", "avx512bw", "avx512vnni"],
            // Every CPU with VBMI but the few Cannon Lakes (which have neither) has VNNI too, for decoded weights, and GFNI, whose
            // bit matrix spreads a sign over its byte: Ice Lake and Zen 4 and what came after them. So one ISA has all three.
            Isa::Avx512vbmi => &["avx512f", "avx512bw", "avx512vbmi", "avx512vnni", "gfni"],
            Isa::Neon => &["neon"],
            Isa::Dotprod => &["neon", "dotprod"],
            Isa::I8mm => &["neon", "i8mm"],
            Isa::Simd128 => &["simd128"],
            Isa::Relaxed => &["simd128", "relaxed-simd"],
        }
    }

    /// Bytes of a vector; 1 where kernels are plain Rust.
    pub const fn vector_bytes(self) -> usize {
        match self {
            Isa::Scalar => 1,
            Isa::Ssse3 | Isa::Simd128 | Isa::Relaxed | Isa::Neon | Isa::Dotprod | Isa::I8mm => 16,
            Isa::Avx2 | Isa::AvxVnni => 32,
            Isa::Avx512bw | Isa::Avx512vnni | Isa::Avx512vbmi => 64,
        }
    }

    /// Vector registers. WebAssembly has none of its own: its number is that of the poorest CPUs that run it, x86-64.
    pub const fn registers(self) -> usize {
        match self {
            Isa::Scalar => 0,
            Isa::Ssse3 | Isa::Avx2 | Isa::AvxVnni | Isa::Simd128 | Isa::Relaxed => 16,
            _ => 32,
        }
    }

    /// The kernels that can be spelled in it.
    pub const fn skeletons(self) -> &'static [(Family, Code)] {
        match self {
            Isa::Scalar => &[
                (Family::Lut, Code::T5),
                (Family::Mad, Code::B2),
                (Family::Addsub, Code::Planes),
            ],
            Isa::Ssse3 => &[
                (Family::Lut, Code::T2),
                (Family::Lut, Code::T3),
                (Family::Bitserial, Code::S4),
                (Family::Mad, Code::B2),
                (Family::Addsub, Code::Planes),
            ],
            Isa::Avx2 => &[
                (Family::Lut, Code::T2),
                (Family::Lut, Code::T3),
                (Family::Lut, Code::P3),
                (Family::Bitserial, Code::S4),
                (Family::Mad, Code::B2),
                (Family::Decode, Code::M5),
                (Family::Addsub, Code::Planes),
            ],
            Isa::AvxVnni => &[(Family::Mad, Code::B2), (Family::Decode, Code::M5)],
            Isa::Avx512vnni | Isa::Relaxed => &[(Family::Mad, Code::B2)],
            Isa::Avx512bw => &[
                (Family::Lut, Code::T3),
                (Family::Lut, Code::W3),
                (Family::Bitserial, Code::S4),
                (Family::Addsub, Code::Planes),
            ],
            Isa::Avx512vbmi => &[
                (Family::Lut, Code::T5),
                (Family::Lut, Code::T7),
                (Family::Decode, Code::D3),
                (Family::Decode, Code::D5),
                (Family::Decode, Code::R5),
            ],
            Isa::Neon => &[
                (Family::Lut, Code::T2),
                (Family::Lut, Code::T3),
                (Family::Lut, Code::F3),
                (Family::Bitserial, Code::S4),
                (Family::Mad, Code::B2),
                (Family::Addsub, Code::Planes),
            ],
            Isa::Dotprod => &[(Family::Mad, Code::B2), (Family::Decode, Code::M5)],
            Isa::I8mm => &[(Family::Mad, Code::B2)],
            Isa::Simd128 => &[
                (Family::Lut, Code::T3),
                (Family::Mad, Code::B2),
                (Family::Addsub, Code::Planes),
            ],
        }
    }

    /// Whether batched products can be spelled in it: its kernels multiply bytes.
    pub fn has_gemm(self) -> bool {
        let multiplies = |(family, _): &(Family, Code)| *family == Family::Mad;
        self.skeletons().iter().any(multiplies)
    }

    /// Whether it multiplies matrices of 2 x 8 bytes: [`Vocabulary::multiply_2x2`] is spelled.
    pub const fn multiplies_2x2(self) -> bool {
        matches!(self, Isa::I8mm)
    }

    /// Whether every CPU that has this ISA has `other` too: its kernels run there as well.
    pub fn includes(self, other: Isa) -> bool {
        let has = |feature: &&str| self.features().contains(feature);
        other.arch().is_none_or(|arch| self.arch() == Some(arch))
            && other.features().iter().all(has)
    }

    /// Its words; `None` for plain Rust.
    pub fn vocabulary(self) -> Option<&'static dyn Vocabulary> {
        match self {
            Isa::Scalar => None,
            Isa::Ssse3 => Some(&Ssse3),
            Isa::Avx2 => Some(&Avx2 { vnni: false }),
            Isa::AvxVnni => Some(&Avx2 { vnni: true }),
            Isa::Avx512bw | Isa::Avx512vnni => Some(&Avx512 { vbmi: false }),
            Isa::Simd128 => Some(&Simd128 { relaxed: false }),
            Isa::Relaxed => Some(&Simd128 { relaxed: true }),
            Isa::Avx512vbmi => Some(&Avx512 { vbmi: true }),
            Isa::Neon => Some(&Neon { dot: Dot::Widening }),
            Isa::Dotprod => Some(&Neon { dot: Dot::Signed }),
            Isa::I8mm => Some(&Neon { dot: Dot::Mixed }),
        }
    }
}

/// A piece of emitted Rust: an expression or a statement.
pub type Tokens = TokenStream;

/// A function that a vocabulary's words call, emitted beside the kernels that use it.
pub struct Helper {
    /// What it does, in one sentence.
    pub doc: &'static str,
    /// Name, parameters and result: what stands after `fn`. Its name is the first word.
    pub signature: Tokens,
    /// What it does, as code.
    pub body: Tokens,
}

/// The words that skeletons speak: each returns the expression that an ISA spells it with.
///
/// `8`, `16` and `32` in a name are the bits of a lane. This is the only place where an intrinsic is named.
pub trait Vocabulary {
    /// The vector type.
    fn vector(&self) -> Tokens;

    /// All bits zero.
    fn zero(&self) -> Tokens;
    /// A constant byte in every lane.
    fn splat8(&self, byte: u8) -> Tokens;
    /// A 16-bit value (an expression of type `i16`) in every lane.
    fn splat16(&self, value: Tokens) -> Tokens;
    /// A 32-bit value (an expression of type `i32`) in every lane.
    fn splat32(&self, value: Tokens) -> Tokens;
    /// The vector at `at`, a `*const u8` without alignment.
    fn load(&self, at: Tokens) -> Tokens;
    /// Stores `value` at `at`, a `*mut u8` without alignment.
    fn store(&self, at: Tokens, value: Tokens) -> Tokens;
    /// The four bytes at `at` in every 32-bit lane.
    fn load_splat32(&self, at: Tokens) -> Tokens;
    /// The table vector at `at`: a whole vector, or 16 bytes in every 128-bit lane where shuffles stay within those.
    fn load_table(&self, at: Tokens) -> Tokens;
    /// Bytes of a table vector in memory.
    fn table_bytes(&self) -> usize;

    /// `a & b`.
    fn and(&self, a: Tokens, b: Tokens) -> Tokens;
    /// `(a | b) & mask`. Two operations where the ISA has no such instruction.
    fn or_and(&self, a: Tokens, b: Tokens, mask: Tokens) -> Tokens;
    /// `a ^ b`.
    fn xor(&self, a: Tokens, b: Tokens) -> Tokens;
    /// Bits of `a` where `mask` is one, of `b` elsewhere. Two operations where the ISA has no such instruction.
    fn merge_bits(&self, mask: Tokens, a: Tokens, b: Tokens) -> Tokens;
    /// Lane-wise `a + b`.
    fn add(&self, bits: u32, a: Tokens, b: Tokens) -> Tokens;
    /// Lane-wise `a - b`.
    fn sub(&self, bits: u32, a: Tokens, b: Tokens) -> Tokens;
    /// Logical shift to the right; lanes of 16 or 32 bits.
    fn shift_right(&self, bits: u32, a: Tokens, by: u32) -> Tokens;
    /// Arithmetic shift to the right of 32-bit lanes.
    fn shift_right_signed32(&self, a: Tokens, by: u32) -> Tokens;
    /// Shift to the left; lanes of 16 or 32 bits.
    fn shift_left(&self, bits: u32, a: Tokens, by: u32) -> Tokens;
    /// `(a >> shift) & mask` in every byte; `mask_vector` has `mask` in each of its own.
    ///
    /// For ISAs that shift no bytes: what a shift of 16-bit lanes brings over from the neighbour is beyond the mask.
    fn byte_bits(&self, a: Tokens, shift: u32, _mask: u8, mask_vector: Tokens) -> Tokens {
        match shift {
            0 => self.and(a, mask_vector),
            by => self.and(self.shift_right(16, a, by), mask_vector),
        }
    }
    /// The low nibble of every byte of `a`, with that of `b` above it. Only ISAs that insert bits of bytes spell it.
    fn low_nibbles(&self, _a: Tokens, _b: Tokens) -> Tokens {
        unreachable!("rejected by `Isa::skeletons`")
    }
    /// The high nibble of every byte of `a` moved down, with that of `b` above it. Only ISAs that insert bits of bytes spell it.
    fn high_nibbles(&self, _a: Tokens, _b: Tokens) -> Tokens {
        unreachable!("rejected by `Isa::skeletons`")
    }
    /// Low 16 bits of the lane-wise product.
    fn multiply16(&self, a: Tokens, b: Tokens) -> Tokens;
    /// Low 32 bits of the lane-wise product.
    fn multiply32(&self, a: Tokens, b: Tokens) -> Tokens;

    /// `table[index]` for every byte lane; `table` is one vector or, where the ISA can, two or four. Where those are put together from
    /// lookups of one, `index` is a name and less than the entries.
    fn lookup(&self, table: &[Tokens], index: Tokens) -> Tokens;
    /// Whether [`Vocabulary::lookup`] takes a table of four vectors.
    fn looks_four_vectors_up(&self) -> bool {
        false
    }
    /// `u * factor / 256`, rounded down, for every byte of `u`, which is a name; the factor is at most 127, and no product beyond 32767. Only ISAs that take
    /// codes apart by products spell it.
    fn scale_bytes(&self, _u: Tokens, _factor: u8) -> Tokens {
        unreachable!("rejected by `Isa::skeletons`")
    }
    /// `table[index]` for every 16-bit lane, `table` a vector of words; bits of the index beyond the table are ignored. Only ISAs
    /// whose kernels read tables of words spell it.
    fn lookup16(&self, _table: Tokens, _index: Tokens) -> Tokens {
        unreachable!("rejected by `Isa::skeletons`")
    }
    /// The constant that [`Vocabulary::pick_bytes`] takes: for each byte of a 64-bit lane, a bit of the lane, the same for all lanes.
    fn bit_offsets(&self, _offsets: [u8; 8]) -> Tokens {
        unreachable!("rejected by `Isa::skeletons`")
    }
    /// For every byte lane the eight bits that start at its offset in its 64-bit lane of `a`. Only ISAs whose kernels read codes
    /// that straddle bytes spell it.
    fn pick_bytes(&self, _offsets: Tokens, _a: Tokens) -> Tokens {
        unreachable!("rejected by `Isa::skeletons`")
    }
    /// Products of unsigned bytes `u` and signed bytes `s`, neighbours added, onto `sum`: four into 32 bits, or two into 16
    /// where that is all the ISA has. [`Vocabulary::dot_bits`] says which.
    ///
    /// An ISA that adds no neighbours has two parts of sums: this takes the first half of the bytes, [`Vocabulary::dot_high`] the rest.
    fn dot(&self, sum: Tokens, u: Tokens, s: Tokens) -> Tokens;
    /// [`Vocabulary::dot`] for the second half of the bytes, where there are two parts.
    fn dot_high(&self, _sum: Tokens, _u: Tokens, _s: Tokens) -> Tokens {
        unreachable!("one part takes all the bytes")
    }
    /// [`Vocabulary::dot`] onto a sum that does not overflow, spelled so that the compiler adds in the order of the text.
    ///
    /// It likes to add the products of a step to each other before it adds them to the sum, and each sum then takes two registers: too
    /// many where several tokens share what was unpacked.
    fn dot_in_order(&self, sum: Tokens, u: Tokens, s: Tokens) -> Tokens {
        self.dot(sum, u, s)
    }
    /// Vectors of sums that the bytes of one vector need: 1, or 2 where [`Vocabulary::dot_high`] is spelled.
    fn dot_parts(&self) -> usize {
        1
    }
    /// The sums of whole rows from those of two parts: neighbouring 32-bit lanes added, those of `low` first.
    fn join_parts(&self, _low: Tokens, _high: Tokens) -> Tokens {
        unreachable!("one part takes all the bytes")
    }
    /// Bits of a lane that [`Vocabulary::dot`] adds into.
    fn dot_bits(&self) -> u32;

    /// Products of two matrices of two rows of eight bytes, those of `u` unsigned, those of `s` signed: the sum over the columns of
    /// row `i` of `u` times row `j` of `s` onto 32-bit lane `2 i + j` of `sum`. This and the next four words are for the ISAs of
    /// [`Isa::multiplies_2x2`].
    fn multiply_2x2(&self, _sum: Tokens, _u: Tokens, _s: Tokens) -> Tokens {
        unreachable!("rejected by `Isa::multiplies_2x2`")
    }
    /// 32-bit lanes of `a` and `b` in turn: those of their first halves, or of their second ones.
    fn interleave32(&self, _a: Tokens, _b: Tokens, _second: bool) -> Tokens {
        unreachable!("rejected by `Isa::multiplies_2x2`")
    }
    /// The even 32-bit lanes of `a`, then those of `b`; or the odd ones.
    fn pick32(&self, _a: Tokens, _b: Tokens, _odd: bool) -> Tokens {
        unreachable!("rejected by `Isa::multiplies_2x2`")
    }
    /// The eight bytes at `a`, then the eight at `b`, both `*const u8` without alignment.
    fn load_halves(&self, _a: Tokens, _b: Tokens) -> Tokens {
        unreachable!("rejected by `Isa::multiplies_2x2`")
    }
    /// The four bytes at `a` and four of zeros, then the four at `b` and four of zeros.
    fn load_quarters(&self, _a: Tokens, _b: Tokens) -> Tokens {
        unreachable!("rejected by `Isa::multiplies_2x2`")
    }

    /// Whether a byte lane's highest bit is set.
    fn highest_bit(&self, a: Tokens) -> Tokens;
    /// Byte-wise `sum + a` where the condition holds, `sum` elsewhere.
    fn add_where(&self, condition: Tokens, sum: Tokens, a: Tokens) -> Tokens;
    /// Byte-wise `sum - a` where the condition holds, `sum` elsewhere.
    fn sub_where(&self, condition: Tokens, sum: Tokens, a: Tokens) -> Tokens;
    /// Bytes of ones where the highest bit of a byte of `a` is set, of zeros elsewhere.
    fn spread_highest_bit(&self, a: Tokens) -> Tokens;

    /// Products of neighbouring 16-bit lanes, added in pairs into 32 bits.
    fn multiply_pairs16(&self, a: Tokens, b: Tokens) -> Tokens;
    /// 32-bit `sum` plus `2^scale` times the sums of neighbouring 16-bit lanes of `a`.
    fn add_pairs16(&self, sum: Tokens, a: Tokens, scale: u32) -> Tokens {
        let factor = Literal::i16_unsuffixed(1 << scale);
        self.add(
            32,
            sum,
            self.multiply_pairs16(a, self.splat16(quote!(#factor))),
        )
    }

    /// Lanes of `f32`: `out + sums as f32 * scales`, where `sums` are 32-bit integers. A product, then a sum, never fused, so
    /// that every ISA rounds alike.
    fn add_scaled(&self, out: Tokens, sums: Tokens, scales: Tokens) -> Tokens;

    /// Asks for the cache line at `at` (any address) in the second-level cache; `None` where the ISA cannot.
    fn prefetch(&self, at: Tokens) -> Option<Tokens>;

    /// The functions that words call; a file gets those that its kernels use.
    fn helpers(&self) -> Vec<Helper> {
        Vec::new()
    }
}

/// The x86 intrinsic for lanes of `bits` bits.
fn intrinsic(stem: &str, bits: u32) -> TokenStream {
    let name = format_ident!("{stem}{bits}");
    quote!(#name)
}

/// An x86 shift by a constant.
fn shift(stem: &str, bits: u32, a: Tokens, by: u32) -> TokenStream {
    let (name, by) = (intrinsic(stem, bits), Literal::u32_unsuffixed(by));
    quote!(#name::<#by>(#a))
}
