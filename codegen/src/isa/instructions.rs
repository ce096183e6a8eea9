//! Which instruction each kernel exists for.
//!
//! Intrinsics are wishes: the compiler may spell them otherwise, and a kernel without the instruction that it was designed around is
//! another kernel. So it is said here, and `kernels/tests/compiled.rs` looks for it in the machine code.

use super::Isa;
use crate::batched::{GemmSpec, UnpackSpec};
use crate::spec::{Code, Family, KernelSpec};

/// The instructions that must stand in a kernel's innermost loop, each with its alternatives behind a bar, and `{k}` where it must be
/// under a mask. Empty for plain Rust, and for ISAs other than x86-64, which no test reads.
pub fn instructions(spec: &KernelSpec) -> &'static [&'static str] {
    match (spec.isa, spec.family, spec.code) {
        // As for AVX2, which has the same instructions with three operands.
        (Isa::Ssse3, Family::Lut, Code::T2) => &["pshufb"],
        (Isa::Ssse3, Family::Lut, Code::T3) => &["pshufb", "pxor"],
        (Isa::Ssse3, Family::Bitserial, Code::S4) => &["pshufb"],
        (Isa::Ssse3, Family::Mad, Code::B2) => &["pmaddubsw"],
        (Isa::Ssse3, Family::Addsub, Code::Planes) => &["pcmpgtb", "paddb", "psubb"],
        (Isa::Avx2, Family::Lut, Code::T2) => &["vpshufb"],
        // Two 16-entry shuffles a group, and the sign.
        (Isa::Avx2, Family::Lut, Code::T3 | Code::P3) => &["vpshufb", "vpxor"],
        (Isa::Avx2 | Isa::Avx512bw, Family::Bitserial, Code::S4) => &["vpshufb"],
        (Isa::Avx2, Family::Mad, Code::B2) => &["vpmaddubsw"],
        // The sign of a byte becomes its mask.
        (Isa::Avx2, Family::Addsub, Code::Planes) => &["vpcmpgtb", "vpaddb", "vpsubb"],
        // Small constant tables, and what they are decoded for.
        (Isa::Avx2, Family::Decode, Code::M5) => &["vpshufb", "vpmaddubsw"],
        (Isa::AvxVnni, Family::Mad, Code::B2) => &["vpdpbusd"],
        (Isa::AvxVnni, Family::Decode, Code::M5) => &["vpshufb", "vpdpbusd"],
        // Subtractions too are masked additions, to sums of their own: that the compiler takes those off at the end is as good.
        (Isa::Avx512bw, Family::Addsub, Code::Planes) => &["vpmovb2m", "vpaddb{k}"],
        // How the sign gets from a mask register to the bytes is left to the compiler.
        (Isa::Avx512bw, Family::Lut, Code::T3) => &["vpshufb", "vpmovb2m"],
        (Isa::Avx512bw, Family::Lut, Code::W3) => &["vpermw"],
        (Isa::Avx512vnni, Family::Mad, Code::B2) => &["vpdpbusd"],
        // 128 entries in two registers, and the bit matrix that spreads the sign.
        (Isa::Avx512vbmi, Family::Lut, Code::T5) => &["vpermi2b|vpermt2b", "vgf2p8affineqb"],
        (Isa::Avx512vbmi, Family::Lut, Code::T7) => &["vpermb"],
        (Isa::Avx512vbmi, Family::Decode, Code::D3) => &["vpmultishiftqb", "vpermb", "vpdpbusd"],
        // Constant tables in four registers, and what they are decoded for.
        (Isa::Avx512vbmi, Family::Decode, Code::D5) => &["vpermi2b|vpermt2b", "vpdpbusd"],
        // One-vector tables, and no mask but one.
        (Isa::Avx512vbmi, Family::Decode, Code::R5) => &["vpermb", "vpdpbusd"],
        _ => &[],
    }
}

/// The same for kernels that unpack a code: what looks trits up, or takes fields and bits apart.
pub fn unpack_instructions(spec: &UnpackSpec) -> &'static [&'static str] {
    match (spec.isa, spec.code) {
        (Isa::Ssse3, Code::T2 | Code::T3) => &["pshufb"],
        (Isa::Ssse3, Code::B2 | Code::Planes | Code::S4) => &["psrlw", "pand"],
        (Isa::Avx2, Code::T2 | Code::P3 | Code::M5) | (Isa::Avx2 | Isa::Avx512bw, Code::T3) => {
            &["vpshufb"]
        }
        (Isa::Avx512bw, Code::W3) => &["vpermw"],
        (Isa::Avx512vbmi, Code::T5) => &["vpermi2b|vpermt2b", "vgf2p8affineqb"],
        (Isa::Avx512vbmi, Code::T7 | Code::R5) => &["vpermb"],
        (Isa::Avx512vbmi, Code::D3) => &["vpmultishiftqb", "vpermb"],
        (Isa::Avx512vbmi, Code::D5) => &["vpermi2b|vpermt2b"],
        (Isa::Avx2, Code::B2 | Code::Planes | Code::S4) => &["vpsrlw", "vpand"],
        (Isa::Avx512bw, Code::Planes | Code::S4) | (Isa::Avx512vnni, Code::B2) => {
            &["vpsrlw", "vpandd|vpandq|vpternlogd|vpternlogq"]
        }
        _ => &[],
    }
}

/// The same for batched products: the dot product.
pub fn gemm_instructions(spec: &GemmSpec) -> &'static [&'static str] {
    match spec.isa {
        Isa::Ssse3 => &["pmaddubsw"],
        Isa::Avx2 => &["vpmaddubsw"],
        Isa::AvxVnni | Isa::Avx512vnni => &["vpdpbusd"],
        _ => &[],
    }
}
