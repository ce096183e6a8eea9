//! The emulated intrinsics: plain Rust functions with the names that the vocabularies of `codegen/src/isa/` use, written from Intel's
//! documentation of each.
//!
//! To add one, put one line into the list of its width ([`wide128`], [`wide256`], [`wide512`]): the CPU features that the real one needs,
//! its name and arguments, and what it does, which is one function in [`operations`] where several widths have it. The list
//! also compares each with the real one on the CPUs that have it, so nothing else is to be done. A constant that kernels use must be
//! among those that are compared, behind `in`.

mod memory;
mod operations;
mod wide128;
mod wide256;
mod wide512;

pub use memory::{
    _MM_HINT_T1, _mm_loadu_si128, _mm_prefetch, _mm_storeu_si128, _mm256_loadu_si256,
    _mm256_storeu_si256, _mm512_loadu_si512, _mm512_storeu_si512,
};
pub use wide128::*;
pub use wide256::*;
pub use wide512::*;

use super::vectors::{Floats, Integers};

#[expect(non_camel_case_types, reason = "the names are Intel's")]
mod types {
    use super::{Floats, Integers};

    pub type __m128i = Integers<16>;
    pub type __m256i = Integers<32>;
    pub type __m512i = Integers<64>;
    pub type __m128 = Floats<16>;
    pub type __m256 = Floats<32>;
    pub type __m512 = Floats<64>;
    pub type __mmask64 = u64;
    pub type __mmask32 = u32;
    pub type __mmask16 = u16;
}

pub use types::*;

/// How to compare an emulated intrinsic with the real one.
pub struct Comparison {
    /// The intrinsic.
    pub name: &'static str,
    /// The values of its constant that are compared, if it has one.
    pub constants: &'static [i64],
    /// Whether this CPU has it.
    pub detected: fn() -> bool,
    /// Fails unless both return the same bits for some arguments drawn from the generator, which ends with other arguments each time.
    pub compare: fn(&mut super::samples::Samples),
}

/// The intrinsics of every list.
pub fn comparisons() -> impl Iterator<Item = &'static Comparison> {
    [
        memory::COMPARISONS,
        wide128::COMPARISONS,
        wide256::COMPARISONS,
        wide512::COMPARISONS,
    ]
    .into_iter()
    .flatten()
}

/// What the types and functions of the same names are on a real CPU.
mod real {
    pub use core::arch::x86_64::*;
    pub use core::primitive::{i8, i16, i32, i64};
}

/// A value as that of another type.
///
/// # Safety
///
/// Its bytes are a value of that type.
unsafe fn bytes_as<A, B>(value: A) -> B {
    assert_eq!(size_of::<A>(), size_of::<B>());
    // SAFETY: by the contract.
    unsafe { std::mem::transmute_copy(&value) }
}

/// A list of emulated intrinsics: functions, and a [`Comparison`] for each.
///
/// A constant that an intrinsic takes is compared for the values behind `in`. The functions are not inlined: then a kernel is a
/// list of calls, which compiles in a fraction of the time.
macro_rules! intrinsics {
    ($(
        [$($feature:tt),+] fn $name:ident
        $(<const $constant:ident: $constant_type:ty, in [$($value:literal),+]>)?
        ($($argument:ident: $type:ident),*) -> $result:ident $body:block
    )*) => {
        $(
            #[inline(never)]
            pub fn $name $(<const $constant: $constant_type>)? ($($argument: $type),*) -> $result $body
        )*

        /// The list, for the test that compares it with the CPU's own.
        pub const COMPARISONS: &[super::Comparison] = &[$(
            super::Comparison {
                name: stringify!($name),
                constants: &[$($($value),+)?],
                detected: || $(std::arch::is_x86_feature_detected!($feature))&&+,
                compare: |samples| {
                    compare!(samples, $name [$($($value)+)?] ($($argument: $type),*) -> $result);
                },
            }
        ),*];
    };
}

/// Calls both functions with the same arguments, once for each constant.
macro_rules! compare {
    ($samples:ident, $name:ident [] $arguments:tt -> $result:ident) => {
        compare!(@ $samples, $name, $arguments -> $result)
    };
    ($samples:ident, $name:ident [$($value:literal)+] $arguments:tt -> $result:ident) => {
        $(compare!(@ $samples, $name::<$value>, $arguments -> $result);)+
    };
    (@ $samples:ident, $name:ident $(::<$value:literal>)?, ($($argument:ident: $type:ident),*) -> $result:ident) => {{
        $samples.next_kind();
        $(let $argument: $type = $samples.draw();)*
        let emulated: $result = $name$(::<$value>)?($($argument),*);
        // SAFETY: the callers have asked whether the CPU has the instruction, which touches no memory. Both types of a name are the
        // same bytes, any of which are a value.
        let real: $result = unsafe {
            super::bytes_as::<super::real::$result, $result>(super::real::$name$(::<$value>)?(
                $(super::bytes_as::<$type, super::real::$type>($argument)),*
            ))
        };
        assert_eq!(
            emulated,
            real,
            "{}{}: emulated, and by this CPU, for {:x?}",
            stringify!($name),
            concat!("" $(, "::<", $value, ">")?),
            ($($argument,)*)
        );
    }};
}

use {compare, intrinsics};
