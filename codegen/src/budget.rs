//! What fits: accumulator bounds, digits and registers, as arithmetic that a reader can redo.
//!
//! An activation `a` is any `i8`, -128 included. A table entry of `g` trits is at most `128 g` in size. Kernels keep entries as
//! two digits, `v = radix * high + low`, so that both fit bytes and can be added as bytes for a while (the *window*) before they
//! must be widened to 16 bits, and those for a K block before they become `i32`.

use crate::batched::GemmSpec;
use crate::isa::Isa;
use crate::spec::{Code, Family, KernelSpec, Scales, Variant};

/// The digits of table entries and what their sums may reach.
///
/// The digits of mirrored groups stand for one half more than their bytes hold: `v = radix * (high + 1/2) + (low + 1/2)`. A
/// complement of the bits makes `-d - 1` of `d`, and `(-d - 1) + 1/2 = -(d + 1/2)`: so complementing both digits negates `v`
/// exactly, in one operation a digit. The halves come to `(radix + 1) / 2`, an integer since the radix is odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digits {
    /// `v = radix * high + low - excess of the entry`.
    pub radix: i32,
    /// How much larger than the true value the digits of an entry are.
    pub excess: i32,
    /// Largest size of what one step adds to the sum of low digits.
    pub low: i32,
    /// Largest size of what one step adds to the sum of high digits.
    pub high: i32,
    /// Entries that a byte lane adds in one step.
    pub per_step: i32,
    /// Largest sum that a byte lane holds: 127 for signed digits (128 where it is negative), 255 for unsigned ones.
    pub byte_max: i32,
}

impl Digits {
    /// Digits of code `code`, or `None` where its kernels add no digits.
    pub const fn of(code: Code) -> Option<Digits> {
        match code {
            // v + 256 in 0..=512 = 23 * 22 + 6: both digits in 0..=22, and with any other radix one of them reaches 22 or more too.
            // Two groups a step: 44, five steps: 220.
            Code::T2 => Some(Digits {
                radix: 23,
                excess: T2_EXCESS,
                low: 2 * 22,
                high: 2 * 22,
                per_step: 2,
                byte_max: 255,
            }),
            // |v| <= 3 * 128 = 384. v - 14 = 27 * high + low: low in -14..=13, high in -15..=14. Eight groups: -120.
            // Code F3 negates nothing, but the same digits fill its bytes as well.
            Code::T3 | Code::F3 => Some(Digits {
                radix: 27,
                excess: -(27 + 1) / 2,
                low: 8 * 14,
                high: 8 * 15,
                per_step: 8,
                byte_max: 127,
            }),
            // |v| <= 384. v - 128 = 255 * high + low: low in -128..=127, high in -2..=1. Eight groups: -16, eight steps: -128, which
            // a lane holds that starts at 128. The low digits go to 16-bit lanes at once (`P3_LOW`).
            Code::P3 => Some(Digits {
                radix: 255,
                excess: -(255 + 1) / 2,
                low: 0,
                high: 8 * 2,
                per_step: 8,
                byte_max: 128,
            }),
            // |v| <= 5 * 128 = 640. v - 18 = 35 * high + low: low in -18..=17, high in -19..=18. Six steps: -114.
            Code::T5 => Some(Digits {
                radix: 35,
                excess: -(35 + 1) / 2,
                low: 18,
                high: 19,
                per_step: 1,
                byte_max: 127,
            }),
            // v + 512 in 0..=1023 = 32 * 31 + 31 for the first code of a pair: both digits in 0..=31. The second takes the
            // shared activation negatively, and -(-128) is 128: up to 1024 = 32 * 32, a high digit of 32. Four of each.
            Code::T7 => Some(Digits {
                radix: 32,
                excess: T7_EXCESS,
                low: 8 * 31,
                high: 4 * 31 + 4 * 32,
                per_step: 8,
                byte_max: 255,
            }),
            // a = 16 * high + low: low in -8..=7, high in -8..=8. Eight columns: 64.
            Code::Planes => Some(Digits {
                radix: 16,
                excess: 0,
                low: 8 * 8,
                high: 8 * 8,
                per_step: 8,
                byte_max: 127,
            }),
            // v = 24 * high + low: low in 0..=24, since the division by a product rounds down one too far at times. A group adds one
            // entry and subtracts another, which share no column: they are at most 512 apart, their high digits at most
            // 512 / 24 rounded up = 22, their low digits 24. Five steps: 120.
            Code::S4 => Some(Digits {
                radix: 24,
                excess: 0,
                low: 24,
                high: 22,
                per_step: 1,
                byte_max: 127,
            }),
            Code::B2 | Code::D3 | Code::D5 | Code::M5 | Code::R5 | Code::W3 => None,
        }
    }

    /// Steps that a byte lane takes.
    pub const fn window(&self) -> i32 {
        let largest = if self.low > self.high {
            self.low
        } else {
            self.high
        };
        self.byte_max / largest
    }
}

/// The excess that table entries of code T2 are stored with, so that they are never negative: `|v| <= 2 * 128`.
pub const T2_EXCESS: i32 = 256;

/// Largest size of what one step of code P3 adds to an unsigned 16-bit sum of low digits: eight bytes.
const P3_LOW: usize = 8 * 255;

/// The excess that table entries of code T7 are stored with, so that they are never negative.
///
/// Three trits and a bit: `|v| <= 3 * 128 + 128 = 512`, reached on both sides.
pub const T7_EXCESS: i32 = 512;
const _: () = assert!(T7_EXCESS + 512 <= 32 * 32);

/// Largest size of what one step of code W3 adds to a 16-bit lane: three sums of three trits.
const W3_STEP: usize = 3 * 3 * 128;

/// The excess of a signed byte lane: sums start at 128, so that the lane can be widened as unsigned.
pub const BYTE_EXCESS: i32 = 128;

/// Plane `p` of a two-bit code in a mad kernel: how far it is shifted, the bits kept, and which accumulator takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Bits shifted down first.
    pub shift: u32,
    /// Bits kept in each byte.
    pub mask: u8,
    /// Index of the accumulator.
    pub accumulator: usize,
}

/// The planes of a two-bit code, and the power of two that each accumulator's sum carries.
pub struct Planes {
    /// One for each plane.
    pub planes: [Plane; 4],
    /// One for each accumulator.
    pub scales: &'static [u32],
}

/// How a mad kernel takes the four planes of a byte apart.
pub fn planes(isa: Isa, variant: Variant) -> Planes {
    let plane = |shift, mask, accumulator| Plane {
        shift,
        mask,
        accumulator,
    };
    match (variant, isa) {
        (Variant::Classic, _) => Planes {
            planes: [
                plane(0, 3, 0),
                plane(2, 3, 0),
                plane(4, 3, 0),
                plane(6, 3, 0),
            ],
            scales: &[0],
        },
        // In place, two products of plane 3 alone fill 16 bits (2 * 128 * 128 = 32768) and plane 2 leaves room for three
        // steps only, so one shift brings both down. With 32-bit products it is for the registers: sixteen hold two sums and two
        // masks for four panels, but four sums and four masks for only one, whose sums would wait for each other.
        (Variant::Shiftfree, isa)
            if products_in_16_bits(isa).is_some() || isa.registers() == 16 =>
        {
            Planes {
                planes: [
                    plane(0, 3, 0),
                    plane(0, 12, 1),
                    plane(4, 3, 0),
                    plane(4, 12, 1),
                ],
                scales: &[0, 2],
            }
        }
        // A field of plane 3 in place, 128, is no signed byte. A shift brings it down and clears the rest in one operation, as the
        // mask would.
        (Variant::Shiftfree, Isa::Dotprod) => Planes {
            planes: [
                plane(0, 3, 0),
                plane(0, 12, 1),
                plane(0, 48, 2),
                plane(6, 3, 0),
            ],
            scales: &[0, 2, 4],
        },
        (Variant::Shiftfree, _) => Planes {
            planes: [
                plane(0, 3, 0),
                plane(0, 12, 1),
                plane(0, 48, 2),
                plane(0, 192, 3),
            ],
            scales: &[0, 2, 4, 6],
        },
    }
}

/// The powers of two that the sums of a decode kernel carry: the fields of a decoded byte stand at these bits.
pub const DECODED_SCALES: [u32; 3] = [0, 2, 4];

/// Dot products of each of [`DECODED_SCALES`] in one step of a decode kernel.
///
/// The five trits of a byte of code D5 come as two bytes: both have fields at bits 0 and 2, and share the one at bit 4. Those of code
/// M5 come as two bytes of which only the second has one at bit 4. The 36 trits of code D3 come as three bytes of three fields for each of four bytes of a lane.
const fn decoded_dots(code: Code) -> [usize; 3] {
    match code {
        Code::D3 => [3, 3, 3],
        _ => [2, 2, 1],
    }
}

/// Largest size of what one step adds to a sum of a decode kernel: `products` in a lane of each dot, of a field of at most `2 << scale`
/// and an activation of at most 128.
fn decoded_step(code: Code, products: usize) -> usize {
    let dots = DECODED_SCALES.into_iter().zip(decoded_dots(code));
    let steps = dots.map(|(scale, dots)| dots * products * (2 << scale) * 128);
    steps.max().unwrap_or(0)
}

/// Sums of a panel in a kernel of code R5: one for each of the rows that share a byte.
pub const ROWS_SUMS: usize = 5;

/// Largest size of what one step adds to a sum of code R5: four products of what the first two rows are worth and an activation.
const ROWS_STEP: usize = 4 * (2 * 84 + 2 * 28) * 128;

/// Largest sizes that one step adds to each accumulator of a mad kernel: most negative and most positive.
///
/// A field `u` is 0, 1 or 2 at the mask's place, an activation -128..=127; `pair` products meet in one lane.
fn mad_step(planes: &Planes, accumulator: usize, pair: i64) -> (i64, i64) {
    let fields = planes
        .planes
        .iter()
        .filter(|p| p.accumulator == accumulator);
    let largest: i64 = fields
        .map(|p| 2 * i64::from(p.mask & p.mask.wrapping_neg()) * pair)
        .sum();
    (-128 * largest, 127 * largest)
}

/// Products that meet in a 16-bit lane where an ISA multiplies bytes into those, `None` where it adds into 32 bits.
fn products_in_16_bits(isa: Isa) -> Option<i64> {
    let words = isa.vocabulary()?;
    (words.dot_bits() == 16).then(|| 2 / words.dot_parts() as i64)
}

/// The most steps that the narrowest accumulator of `spec` takes without overflow, for any weights and activations.
///
/// # Errors
///
/// The spec has no such kernel.
pub fn window_max(spec: &KernelSpec) -> Result<usize, String> {
    match (spec.isa, spec.family, spec.code) {
        // Portable kernels add into i32; their blocks are checked against that.
        (Isa::Scalar, ..) => Ok(1),
        (_, Family::Mad, Code::B2) => {
            let Some(variant) = spec.variant else {
                return Ok(1);
            };
            // Only sums in 16 bits need widening inside a block.
            let Some(pair) = products_in_16_bits(spec.isa) else {
                return Ok(1);
            };
            let planes = planes(spec.isa, variant);
            let steps = (0..planes.scales.len()).map(|a| {
                let (low, high) = mad_step(&planes, a, pair);
                (i64::from(i16::MIN) / low).min(i64::from(i16::MAX) / high)
            });
            Ok(steps.min().unwrap_or(1) as usize)
        }
        (_, Family::Decode, code) => Ok(match products_in_16_bits(spec.isa) {
            // 32768 / 8192 = 4 for code M5: -128 only is the worst, and -32768 is still an i16.
            Some(pair) => -i32::from(i16::MIN) as usize / decoded_step(code, pair as usize),
            // Sums are 32 bits wide from the start.
            None => 1,
        }),
        // 32767 / 1152: 28 steps reach 32256, on either side of zero.
        (_, Family::Lut, Code::W3) => Ok(i16::MAX as usize / W3_STEP),
        (_, _, code) => match Digits::of(code) {
            Some(digits) => Ok(digits.window() as usize),
            None => Err(format!(
                "code {} does not belong to family {}",
                code.name(),
                spec.family.name()
            )),
        },
    }
}

/// Whether `spec` adds into lanes narrower than 32 bits, which a window too long would overflow.
pub fn is_narrow(spec: &KernelSpec) -> bool {
    match (spec.isa, spec.family) {
        (Isa::Scalar, _) => false,
        (isa, Family::Mad | Family::Decode) => products_in_16_bits(isa).is_some(),
        _ => true,
    }
}

/// Why no window of `spec` may be longer than [`window_max`], with its numbers; `None` where no accumulator is narrow.
pub fn window_reason(spec: &KernelSpec) -> Option<String> {
    if !is_narrow(spec) {
        return None;
    }
    let reason = |lane: &str, step: i64, largest: i64| {
        format!(
            "a step adds at most {step} to {lane} lane that holds {largest}: {largest} / {step} = {}",
            largest / step
        )
    };
    if let Some(digits) = Digits::of(spec.code) {
        let step = digits.low.max(digits.high);
        return Some(reason("a byte", step.into(), digits.byte_max.into()));
    }
    if spec.code == Code::W3 {
        return Some(reason("a 16-bit", W3_STEP as i64, i16::MAX.into()));
    }
    let pair = products_in_16_bits(spec.isa)?;
    if spec.family == Family::Decode {
        let step = decoded_step(spec.code, pair as usize);
        return Some(reason("a 16-bit", step as i64, -i64::from(i16::MIN)));
    }
    let planes = planes(spec.isa, spec.variant?);
    let steps = (0..planes.scales.len()).map(|a| mad_step(&planes, a, pair).0.abs());
    Some(reason("a 16-bit", steps.max()?, -i64::from(i16::MIN)))
}

/// Checks that no accumulator overflows within a window.
///
/// # Errors
///
/// The window is beyond the bound; the message gives both.
pub fn check_window(spec: &KernelSpec) -> Result<(), String> {
    let max = window_max(spec)?;
    // Kernels without narrow accumulators have no window: any value would be meaningless.
    match spec.window <= max {
        true => Ok(()),
        false => Err(format!(
            "window = {} steps, but after {max} the narrowest accumulator may overflow",
            spec.window
        )),
    }
}

/// The most steps in a K block before the widest accumulators inside a block overflow.
pub fn block_max(spec: &KernelSpec) -> usize {
    if spec.isa == Isa::Scalar {
        // |sum| <= 128 * 2 a column, far inside i32.
        return i32::MAX as usize / (256 * spec.code.step_cols());
    }
    match (Digits::of(spec.code), spec.code) {
        // 65535 / 2040 = 32 steps; high digits, widened once a window, would fit longer.
        (Some(_), Code::P3) => u16::MAX as usize / P3_LOW,
        // Byte sums are widened as unsigned, at most 255 for each window, into unsigned 16-bit lanes.
        (Some(_), _) => u16::MAX as usize / 255 * spec.window,
        // Sums of 16 bits are scaled up to the highest field, and all of them go into one.
        (None, code) if spec.family == Family::Decode && is_narrow(spec) => {
            i32::MAX as usize / (code.step_cols() * (2 << DECODED_SCALES[2]) * 128)
        }
        // The sums are scaled down before they are added, and their total is no larger.
        (None, Code::D3 | Code::D5 | Code::M5) => i32::MAX as usize / decoded_step(spec.code, 4),
        (None, Code::R5) => i32::MAX as usize / ROWS_STEP,
        // Every window ends in the rows themselves.
        (None, Code::W3) => i32::MAX as usize / W3_STEP,
        (None, _) => {
            // Four products of a plane meet in one 32-bit lane: at most 4 * 128 * 128 a step for the highest plane in place. The
            // sums of the planes are scaled down before they are added, and their total is no larger. Sums of 16 bits are scaled up
            // to the field at bit 2 at most: sixteen products of (2 << 2) * 128, a quarter of that.
            i32::MAX as usize / (4 * 128 * 128)
        }
    }
}

/// Whether the sums of a K block, digits put together, fit signed 16 bits: then they are exact modulo 2^16, and one product of
/// whole vectors puts the digits together before the lanes are widened.
pub fn sums_fit_16_bits(spec: &KernelSpec) -> bool {
    128 * spec.code.step_cols() * spec.block <= i16::MAX as usize
}

/// Checks that no accumulator overflows within a K block.
///
/// # Errors
///
/// The block is beyond the bound; the message gives both.
pub fn check_block(spec: &KernelSpec) -> Result<(), String> {
    let max = block_max(spec);
    match spec.block <= max {
        true => Ok(()),
        false => Err(format!(
            "block = {} steps, but after {max} the sums of a K block may overflow",
            spec.block
        )),
    }
}

/// The most quads that a 16-bit sum of a batched product takes without overflow; `None` where sums are 32 bits wide.
///
/// A byte `u` is 0, 1 or 2 and an activation -128..=127. Where two products meet in one lane a quad adds -512..=508: 32768 / 512 =
/// 64 and 32767 / 508 = 64.5, so 64 quads. Where each product has a lane of its own it adds half of that: 128 quads.
pub fn gemm_window_max(isa: Isa) -> Option<usize> {
    let pair = products_in_16_bits(isa)?;
    let (low, high) = (2 * pair * -128, 2 * pair * 127);
    Some((i64::from(i16::MIN) / low).min(i64::from(i16::MAX) / high) as usize)
}

/// Why no window of a batched product may be longer than [`gemm_window_max`], with its numbers; `None` where sums are 32 bits wide.
pub fn gemm_window_reason(isa: Isa) -> Option<String> {
    let (step, largest) = (2 * products_in_16_bits(isa)? * 128, -i64::from(i16::MIN));
    Some(format!(
        "a quad adds at most {step} to a 16-bit lane that holds {largest}: {largest} / {step} = {}",
        largest / step
    ))
}

/// Vector registers of a batched product: a sum for each vector and token (two where products of a vector need two), the vectors, an
/// activation, and the products where they are not summed in place.
pub fn gemm_registers(spec: &GemmSpec) -> usize {
    let (vectors, sums) = (spec.vectors, spec.vectors * spec.tokens);
    let parts = spec.isa.vocabulary().map_or(1, |w| w.dot_parts());
    match spec.isa {
        Isa::Scalar => 0,
        // Each vector of weights is two, of even and of odd bytes, and so are the activations.
        Isa::Simd128 => sums + 2 * vectors + 2 + 1,
        // Two quads of each vector, taken apart by rows. As many sums: each is of half the rows, but of two tokens.
        isa if isa.multiplies_2x2() => sums + 2 * vectors + 1,
        _ => {
            let in_place = spec.window.is_none() || parts > 1;
            sums * parts + vectors + 1 + usize::from(!in_place)
        }
    }
}

/// Vector operations of a batched product for one quad of the register tile, loads excluded.
pub fn gemm_operations(spec: &GemmSpec) -> f64 {
    let (vectors, tokens) = (spec.vectors as f64, spec.tokens as f64);
    let products = vectors * tokens;
    let parts = spec.isa.vocabulary().map_or(1, |w| w.dot_parts());
    match (spec.isa, spec.window, parts) {
        // A product and a sum for each of four columns and every row.
        (Isa::Scalar, ..) => 8.0 * products * spec.lanes() as f64,
        // Two products and two sums; even and odd bytes of weights by a mask and a shift, of activations by three shifts.
        (Isa::Simd128, ..) => 4.0 * products + 2.0 * vectors + 3.0 * tokens,
        // For two quads: a product of half the rows of a vector and two tokens; two interleavings a vector.
        (isa, ..) if isa.multiplies_2x2() => products / 2.0 + vectors,
        (_, None, _) => products,
        // A product and a sum; at the end of a window another product and sum.
        (_, Some(window), 1) => 2.0 * products * (1.0 + 1.0 / window as f64),
        // A product for each half, summed in place; at the end of a window both widened, joined and added.
        (_, Some(window), _) => products * (2.0 + 4.0 / window as f64),
    }
}

/// Vector registers that one step needs at once: sums, what the panels share, what is loaded.
///
/// Constants that an instruction may take from memory and values that live for one operation are not counted. The compiler uses more
/// where some are free, and lets sums wait in memory where a strip has more of them than there are registers:
/// `kernels/tests/compiled/record.txt` has what it made of each kernel.
pub fn registers(spec: &KernelSpec) -> usize {
    if spec.isa == Isa::Scalar {
        return 0;
    }
    if spec.batch > 1 {
        return registers_of_batch(spec);
    }
    // Two byte sums a panel, and four 16-bit sums: between windows these may wait in memory, but not if every step ends one.
    let sums = if spec.window == 1 { 6 } else { 2 };
    match (spec.family, spec.code) {
        // The sums of each panel, four activations, the masks, the codes and a field of them.
        (Family::Mad, _) => {
            let MadRegisters { sums, masks } = mad_registers(spec);
            spec.panels * sums + 4 + masks + 2
        }
        // Three sums a panel, nine activations, a table, three picks, a mask for the rest, three masks; two words, what both have left,
        // a decoded byte and a field of it.
        (Family::Decode, Code::D3) => spec.panels * DECODED_SCALES.len() + 9 + 1 + 3 + 1 + 3 + 5,
        // Three sums a panel and the one that takes them at the end of a window; four tables of 16 entries; codes, two decoded bytes, a
        // field of them. Masks come from memory, and activations too where only one panel needs them.
        (Family::Decode, Code::M5) if spec.isa.registers() == 16 => {
            let wide = usize::from(is_narrow(spec));
            let activations = if spec.panels == 1 { 1 } else { 5 };
            spec.panels * (DECODED_SCALES.len() + wide) + 4 + 4 + activations
        }
        // Three sums a panel, five activations, three masks, the vectors of tables of 64, 16 and 32 entries; codes, two decoded bytes
        // and a field of them.
        (Family::Decode, Code::M5) => {
            let tables = (64 + 16 + 32) / spec.isa.vector_bytes();
            spec.panels * DECODED_SCALES.len() + 5 + 3 + tables + 4
        }
        // The sums of each panel; a run of activations, three tables, a mask; the codes or their rest, what the first two rows are
        // worth, and two values that were looked up.
        (Family::Decode, Code::R5) => spec.panels * ROWS_SUMS + 1 + 3 + 1 + 4,
        // Three sums a panel, five activations, four table vectors, three masks; codes, two decoded bytes and a field of them.
        (Family::Decode, _) => spec.panels * DECODED_SCALES.len() + 5 + 4 + 3 + 4,
        // Byte sums and two bit planes a panel (the 16-bit sums wait in memory for eight columns), two digits, a condition.
        (Family::Addsub, _) => spec.panels * 4 + 3,
        // Two tables, a mask; codes, two nibbles and a value that was looked up.
        (Family::Bitserial, _) => spec.panels * sums + 2 + 1 + 4,
        // Four tables, a mask; both codes of a byte and a value that was looked up.
        (Family::Lut, Code::T2) => spec.panels * sums + 4 + 1 + 3,
        // Four tables; codes and two values that were looked up.
        (Family::Lut, Code::T5) => spec.panels * sums + 4 + 3,
        // Sums and signs a panel, two tables; a pair of nibbles, codes, a sign, a value. 16-bit sums wait in memory.
        (Family::Lut, Code::T3) => spec.panels * 3 + 2 + 4,
        // The same with the 16-bit sums of low digits in registers, in place of their byte sum.
        (Family::Lut, Code::P3) => spec.panels * 4 + 2 + 4,
        // Sums, fifth bits, a pair of nibbles and its fifth bits a panel, four tables; a mask, codes, a value.
        (Family::Lut, Code::F3) => spec.panels * 5 + 4 + 3,
        // A sum a panel, two more of 32 bits where rows have scales, three tables, two constants for the rows; codes, shifted codes
        // and a value that was looked up.
        (Family::Lut, Code::W3) => {
            let wide = if spec.scales == Scales::Groups { 2 } else { 0 };
            spec.panels * (1 + wide) + 3 + 2 + 3
        }
        // Sums and four codes a panel, two masks, two tables.
        (Family::Lut, _) => spec.panels * (sums + 4) + 2 + 2,
    }
}

/// Registers of a multiply-add kernel that its variant decides.
struct MadRegisters {
    /// Sums of one panel and token.
    sums: usize,
    /// Constants that mask fields.
    masks: usize,
}

fn mad_registers(spec: &KernelSpec) -> MadRegisters {
    let variant = spec.variant.unwrap_or(Variant::Classic);
    let accumulators = planes(spec.isa, variant).scales.len();
    let masks = match variant {
        Variant::Shiftfree => accumulators,
        Variant::Classic => 1,
    };
    let parts = spec.isa.vocabulary().map_or(1, |w| w.dot_parts());
    MadRegisters {
        sums: accumulators * parts,
        masks,
    }
}

/// [`registers`] of a kernel that takes several tokens at once. Each has its own sums; what is unpacked of every panel stays until
/// the last token has used it, and what is loaded of a token's activations or tables makes room for the next one's.
fn registers_of_batch(spec: &KernelSpec) -> usize {
    let (panels, batch) = (spec.panels, spec.batch);
    match (spec.family, spec.code) {
        // Codes and a field of them a panel; the masks, a run of activations, and a product where it is added in a step of its own.
        (Family::Mad, _) => {
            let MadRegisters { sums, masks } = mad_registers(spec);
            panels * (batch * sums + 2) + masks + 1 + usize::from(is_narrow(spec))
        }
        // Both words, what they have left, decoded bytes (in a word's place) and a field a panel; a table, three picks, a mask for the
        // rest, three masks; a run of activations.
        (Family::Decode, Code::D3) => {
            panels * (batch * DECODED_SCALES.len() + 4) + 1 + 3 + 1 + 3 + 1
        }
        // Two decoded bytes and a field of them a panel, and a 32-bit sum a token where the others end with a window; the vectors of
        // tables of 64, 16 and 32 entries and three masks, or four tables of 16 while masks come from memory, as for one token; a run
        // of activations, and a product where it is added in a step of its own.
        (Family::Decode, Code::M5) => {
            let narrow = usize::from(is_narrow(spec));
            let shared = if spec.isa.registers() == 16 { 4 } else { 7 + 3 };
            panels * (batch * (DECODED_SCALES.len() + narrow) + 3) + shared + 1 + narrow
        }
        // The five values of each panel; three tables, a mask; a run of activations.
        (Family::Decode, Code::R5) => panels * (batch + 1) * ROWS_SUMS + 3 + 1 + 1,
        // Two decoded bytes and a field of them a panel; four table vectors, three masks; a run of activations.
        (Family::Decode, _) => panels * (batch * DECODED_SCALES.len() + 3) + 4 + 3 + 1,
        // Byte sums, and two codes a panel; four tables, a mask, a value that was looked up.
        (Family::Lut, Code::T2) => panels * (batch * 2 + 2) + 4 + 2,
        // Byte sums, and codes and signs a panel; four tables, two values that were looked up.
        (Family::Lut, Code::T5) => panels * (batch * 2 + 2) + 4 + 2,
        // Byte sums, and signs, a pair of nibbles, codes and a sign a panel; two tables, a value. 16-bit sums wait in memory.
        (Family::Lut, Code::T3) => panels * (batch * 2 + 4) + 2 + 1,
        (Family::Lut, Code::P3) => panels * (batch * 3 + 4) + 2 + 1,
        // Byte sums, and fifth bits, a pair of nibbles, its fifth bits and codes a panel; four tables, a mask, a value.
        (Family::Lut, Code::F3) => panels * (batch * 2 + 4) + 4 + 2,
        // A sum, two more of 32 bits where rows have scales, and three words of codes a panel; three tables, two constants for the
        // rows, a value.
        (Family::Lut, Code::W3) => {
            let wide = if spec.scales == Scales::Groups { 2 } else { 0 };
            panels * (batch * (1 + wide) + 3) + 3 + 2 + 1
        }
        // Byte sums, 16-bit sums since every step ends a window, and four codes a panel; two masks, two tables.
        (Family::Lut, _) => panels * (batch * 6 + 4) + 2 + 2,
        (Family::Bitserial | Family::Addsub, _) => {
            unreachable!("rejected by `KernelSpec::validate`")
        }
    }
}

/// Vector operations, loads and prefetches excluded, for one step of one panel and all tokens of a batch, widening included.
pub fn operations(spec: &KernelSpec) -> f64 {
    // What is unpacked of the weights serves every token of a batch; sums, and products or lookups, are each token's own.
    let batch = spec.batch as f64;
    // Words and odd bytes of two digits: an addition, a shift and an addition each.
    let widening = batch * 6.0 / spec.window as f64;
    let arm = spec.isa.arch() == Some("aarch64");
    match (spec.isa, spec.family, spec.code) {
        // Two loads, an addition and a share of the loop for each code; a shift, a mask, a product and a sum for each trit.
        (Isa::Scalar, Family::Lut, _) => 4.0 * spec.lanes() as f64,
        (Isa::Scalar, Family::Mad, code) => 4.0 * (spec.lanes() * code.step_cols()) as f64,
        (Isa::Scalar, Family::Addsub, code) => 8.0 * (spec.lanes() * code.step_cols()) as f64,
        // Two planes, each: condition, two digits under it (an "and" first where there are no masks), and the next bit.
        (_, Family::Addsub, code) => {
            let digit = if spec.isa.vector_bytes() < 64 {
                2.0
            } else {
                1.0
            };
            code.step_cols() as f64 * 2.0 * (2.0 + 2.0 * digit) + widening
        }
        // A product and an addition for the even and for the odd bytes of each plane. Shift-free masks all eight and shifts once, for
        // the odd bytes; classic shifts all but the first and masks all but the last.
        (Isa::Simd128, Family::Mad, _) => {
            let fields = match spec.variant {
                Some(Variant::Shiftfree) => 8.0 + 1.0,
                _ => 7.0 + 7.0,
            };
            fields + batch * 2.0 * 8.0
        }
        // A mask and a product for each plane, a shift where it is not in place, a third operation where products are not summed in
        // place or where each half of the bytes has a product of its own. On ARM the shift that brings the highest plane down is its
        // mask too.
        (_, Family::Mad, _) => {
            let planes = planes(spec.isa, spec.variant.unwrap_or(Variant::Classic));
            let shifted = planes.planes.iter().filter(|plane| plane.shift > 0);
            let masked_too = shifted.clone().filter(|plane| arm && plane.shift == 6);
            let shifts = (shifted.count() - masked_too.count()) as f64;
            match is_narrow(spec) {
                true => shifts + 4.0 + batch * (8.0 + 4.0 / spec.window as f64),
                false => shifts + 4.0 + batch * 4.0,
            }
        }
        // Masks of low nibbles, shifts of high ones; for each plane and digit a lookup and an addition or subtraction.
        (_, Family::Bitserial, _) if arm => 2.0 + 4.0 * 2.0 + widening,
        // Two masks and a shift; for each plane and digit a lookup and an addition or subtraction.
        (_, Family::Bitserial, _) => 3.0 + 4.0 * 2.0 + widening,
        // Three picks and lookups, and the words merged; a mask and a product for each of nine trits.
        (_, Family::Decode, Code::D3) => 7.0 + 9.0 * (1.0 + batch),
        // A shift, three lookups and a difference; a mask and a product for each of five trits.
        (_, Family::Decode, Code::M5) if arm => 5.0 + 5.0 * (1.0 + batch),
        // A shift and a mask; two products, a shift, a mask and their union; two lookups and a difference; two lookups, their
        // indices and their union; a mask, a product and, where it is not summed in place, an addition for each of five trits.
        (_, Family::Decode, Code::M5) => {
            let narrow = f64::from(u8::from(is_narrow(spec)));
            let sums = 5.0 * (1.0 + narrow) + narrow * 6.0 / spec.window as f64;
            15.0 + 5.0 + batch * sums
        }
        // A shift, three lookups, a difference and a mask; five products.
        (_, Family::Decode, Code::R5) => 6.0 + batch * 5.0,
        // A shift and two lookups; a mask and a product for each of five trits.
        (_, Family::Decode, _) => 3.0 + 5.0 * (1.0 + batch),
        // A mask and a shift; for each group and digit a lookup and an addition.
        (_, Family::Lut, Code::T2) if arm => 2.0 + batch * 4.0 * 2.0 + widening,
        // The same, and a second mask: what is shifted are words.
        (_, Family::Lut, Code::T2) => 3.0 + batch * 4.0 * 2.0 + widening,
        // For each digit a lookup, a complement and an addition; the signs themselves.
        (_, Family::Lut, Code::T5) => 1.0 + batch * 6.0 + widening,
        // The same for eight groups, a mask or a shift for each nibble, the signs moved up.
        (_, Family::Lut, Code::T3) if arm => 8.0 * (1.0 + batch * 6.0 + 1.0 + 1.0) + widening,
        // The same for eight groups, a mask for each nibble, a shift for every other, the signs moved up. Without a bit matrix or
        // compared bytes a sign goes through a mask register and back.
        (isa, Family::Lut, Code::T3) => {
            let spread = if isa == Isa::Avx512bw { 1.0 } else { 0.0 };
            8.0 * (1.0 + batch * 6.0 + 1.0 + 0.5 + 1.0 + spread) + widening
        }
        // The same, but every low byte takes two more operations to be widened, and a window's end has the high ones only.
        (_, Family::Lut, Code::P3) => 8.0 * (1.0 + batch * 8.0 + 1.0 + 0.5 + 1.0) + widening / 2.0,
        // Two lookups and two additions for each of eight codes, an insertion to put it together, and for three of four pairs a
        // shift and for all a mask to pick their fifth bits.
        (_, Family::Lut, Code::F3) => 8.0 * (batch * 4.0 + 1.0) + 3.0 + 4.0 + widening,
        // Three lookups and additions, two shifts; at the end of a window two products and two additions.
        (_, Family::Lut, Code::W3) => 2.0 + batch * (6.0 + 4.0 / spec.window as f64),
        // Two lookups and two additions for each of eight codes, and the fourth codes put together.
        (_, Family::Lut, _) => batch * 8.0 * 4.0 + 2.0 * 5.0 + widening,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::spec::{Prefetch, Strips};

    /// All sums of `g` trits with activations at their extremes and everywhere between: every integer up to 128 g.
    fn entries(g: i32) -> impl Iterator<Item = i32> {
        -128 * g..=128 * g
    }

    #[test]
    fn digits_stay_within_their_bounds_and_complement_to_the_negative() {
        for (code, g) in [(Code::T3, 3), (Code::F3, 3), (Code::T5, 5)] {
            let digits = Digits::of(code).unwrap();
            let maxima = (digits.low / digits.per_step, digits.high / digits.per_step);
            for v in entries(g) {
                // As the table builders compute them: the high half of a 16-bit product.
                let high = (v * (65536 / digits.radix)) >> 16;
                let low = v + digits.excess - digits.radix * high;
                let value = |low: i32, high: i32| digits.radix * high + low - digits.excess;
                assert_eq!((value(low, high), value(!low, !high)), (v, -v));
                for (low, high) in [(low, high), (!low, !high)] {
                    assert!(
                        low.abs() <= maxima.0 && high.abs() <= maxima.1,
                        "{} {v}",
                        code.name()
                    );
                }
            }
        }
        let digits = Digits::of(Code::P3).unwrap();
        for v in entries(3) {
            let high = (v * (65536 / digits.radix)) >> 16;
            let low = v + digits.excess - digits.radix * high;
            // As the table holds it; a complement of those bits is 255 - byte.
            let byte = low + 128;
            assert!((-2..=1).contains(&high) && (0..=255).contains(&byte), "{v}");
            // The start of a low byte and the excess of its entry cancel.
            let value = |high: i32, byte: i32| digits.radix * high + byte;
            assert_eq!((value(high, byte), value(!high, 255 - byte)), (v, -v));
        }
        assert_eq!((digits.high, digits.window()), (8 * 2, 8));
        let digits = Digits::of(Code::Planes).unwrap();
        for a in -128i32..=127 {
            let high = (a + 8) >> 4;
            let low = a - 16 * high;
            assert!(
                8 * high.abs() <= digits.high && 8 * low.abs() <= digits.low,
                "{a}"
            );
        }
    }

    #[test]
    fn differences_of_digits_stay_within_their_bounds() {
        let digits = Digits::of(Code::S4).unwrap();
        let split = |v: i32| {
            let high = (v * (65536 / digits.radix)) >> 16;
            (v - digits.radix * high, high)
        };
        // Every entry is a sum of four activations at most, and so is the difference of two that share none of them.
        for (v, other) in entries(4).flat_map(|v| entries(4).map(move |other| (v, other))) {
            let ((low, high), (other_low, other_high)) = (split(v), split(other));
            if (v - other).abs() <= 4 * 128 {
                assert!((low - other_low).abs() <= digits.low, "{v} - {other}");
                assert!((high - other_high).abs() <= digits.high, "{v} - {other}");
            }
        }
    }

    #[test]
    fn digits_of_two_trits_are_the_smallest_there_are() {
        let digits = Digits::of(Code::T2).unwrap();
        let largest = |radix: i32| {
            let stored = entries(2).map(|v| v + T2_EXCESS);
            let both = stored.map(|stored| (stored % radix, stored / radix));
            both.fold((0, 0), |most, (low, high)| {
                assert!(low >= 0 && high >= 0);
                (most.0.max(low), most.1.max(high))
            })
        };
        let (low, high) = largest(digits.radix);
        assert_eq!(
            (digits.low, digits.high),
            (digits.per_step * low, digits.per_step * high)
        );
        let size = |(low, high): (i32, i32)| low.max(high);
        assert!((2..=512).all(|radix| size(largest(radix)) >= size((low, high))));
    }

    #[test]
    fn unsigned_digits_stay_within_a_step() {
        // The sums of three trits and a bit, over all trits and a grid of activations with both extremes.
        let grid = [-128, -127, -65, -64, -33, -1, 0, 1, 31, 63, 64, 126, 127];
        let (mut low, mut high) = ([0; 2], [0; 2]);
        for (side, sign) in [(0, 1), (1, -1)] {
            for (a, b) in grid.into_iter().flat_map(|a| grid.map(|b| (a, b))) {
                for v in [-3, -2, -1, 0, 1, 2, 3]
                    .into_iter()
                    .flat_map(|n| [n * a, n * a + sign * b])
                {
                    let stored = v + T7_EXCESS;
                    assert!(stored >= 0, "{v}");
                    low[side] = low[side].max(stored & 31);
                    high[side] = high[side].max(stored >> 5);
                }
            }
        }
        assert_eq!((low, high), ([31, 31], [31, 32]));
        let digits = Digits::of(Code::T7).unwrap();
        assert_eq!((digits.low, digits.high), (8 * 31, 4 * 31 + 4 * 32));
    }

    #[test]
    fn windows_are_the_largest_that_fit() {
        for code in [
            Code::T2,
            Code::T3,
            Code::P3,
            Code::F3,
            Code::T5,
            Code::T7,
            Code::S4,
            Code::Planes,
        ] {
            let d = Digits::of(code).unwrap();
            let sum = |window: i32| d.low.max(d.high) * window;
            assert!(sum(d.window()) <= d.byte_max && sum(d.window() + 1) > d.byte_max);
        }
        assert_eq!(Digits::of(Code::T2).unwrap().window(), 5);
        assert_eq!(Digits::of(Code::T5).unwrap().window(), 6);
        assert_eq!(Digits::of(Code::S4).unwrap().window(), 5);
    }

    #[test]
    fn words_take_the_largest_window_that_fits() {
        let spec = KernelSpec {
            isa: Isa::Avx512bw,
            family: Family::Lut,
            code: Code::W3,
            variant: None,
            panels: 1,
            block: 28,
            window: 1,
            prefetch: Prefetch::Dense,
            scales: Scales::Whole,
            batch: 1,
            strips: Strips::Adjacent,
        };
        // Nine columns at an extreme each, all pulling the same way: 9 * 128 * 28 = 32256, and 33408 is no i16 on either side.
        let largest = 9 * 128;
        assert_eq!(window_max(&spec), Ok(28));
        assert!(28 * largest <= i32::from(i16::MAX) && -29 * largest < i32::from(i16::MIN));
    }

    #[test]
    fn sixteen_bit_products_have_the_windows_of_the_paper_and_pencil() {
        let spec = |variant| KernelSpec {
            isa: Isa::Avx2,
            family: Family::Mad,
            code: Code::B2,
            variant: Some(variant),
            panels: 1,
            block: 1,
            window: 1,
            prefetch: Prefetch::Dense,
            scales: Scales::Whole,
            batch: 1,
            strips: Strips::Adjacent,
        };
        // Four planes of pairs: 4 * 2 * 2 * 128 = 2048 a step, and -32768 is still an i16.
        assert_eq!(window_max(&spec(Variant::Classic)), Ok(16));
        // Two planes of pairs at weight 4: 2 * 2 * 8 * 128 = 4096 a step.
        assert_eq!(window_max(&spec(Variant::Shiftfree)), Ok(8));
    }

    #[test]
    fn relaxed_products_are_the_same_on_every_engine() {
        for variant in [Variant::Classic, Variant::Shiftfree] {
            for plane in planes(Isa::Relaxed, variant).planes {
                // 2 at the lowest bit of the mask: positive as a signed byte, and two products by -128 fit 16 bits.
                let field = 2 * i32::from(plane.mask & plane.mask.wrapping_neg());
                assert!(field <= 8 && 2 * field * -128 >= i32::from(i16::MIN));
            }
        }
    }

    #[test]
    fn tokens_of_a_batch_need_registers_for_their_own_sums_alone() {
        let with = |id: &str| registers(&KernelSpec::from_id(id).expect("it fits"));
        let each = |one: &str, more: &str, tokens: usize, sums: usize| {
            assert_eq!(with(more) - with(one), tokens * sums, "{more}");
        };
        // Two panels: a sum of each, and two of each where planes are masked in place.
        each(
            "gemv_mad_b2__avx512vnni_classic_p2k16n2",
            "gemv_mad_b2__avx512vnni_classic_p2k16n8",
            6,
            2,
        );
        each(
            "gemv_mad_b2__avx512vnni_shiftfree_p1k16n2",
            "gemv_mad_b2__avx512vnni_shiftfree_p1k16n4",
            2,
            4,
        );
        each(
            "gemv_decode_d3__avx512vbmi_p1k16n2",
            "gemv_decode_d3__avx512vbmi_p1k16n4",
            2,
            3,
        );
        each(
            "gemv_lut_t3__avx2_p1k16n2",
            "gemv_lut_t3__avx2_p1k16n4",
            2,
            2,
        );
        // Two sums, codes and a field of each of four panels; a mask, a run of activations and a product.
        let error = KernelSpec::from_id("gemv_mad_b2__avx2_classic_p4k16n2").unwrap_err();
        assert_eq!(
            error,
            "panels = 4 with batch = 2 needs 19 vector registers, but avx2 has 16"
        );
    }

    #[test]
    fn blocks_of_decoded_weights_are_the_largest_that_fit() {
        // The middle field at weight 16: four products of 2 * 16 * 128 a step. The others: two dots of four times 2 * 4 * 128.
        let (middle, others) = (4 * 2 * 16 * 128, 2 * 4 * 2 * 4 * 128);
        assert!(decoded_step(Code::D5, 4) == middle && middle > others);
        // Three dots at weight 16.
        assert_eq!(decoded_step(Code::D3, 4), 3 * middle);
        assert_eq!(decoded_step(Code::M5, 4), middle);
        // Four products of 84 u0 + 28 u1, at most 224, and an activation of at most 128.
        let spec = KernelSpec::from_id("gemv_decode_r5__avx512vbmi_p1k16").expect("it fits");
        let (most, step) = (block_max(&spec), 4 * 224 * 128);
        assert!(most * step <= i32::MAX as usize && (most + 1) * step > i32::MAX as usize);
        // What the others are worth is less, and so is what sums are multiplied with when they are solved for.
        let rest = 2 * (9 + 3 + 1);
        assert!(rest < 224 && 84 * 2 < 224 && 9 * 2 < rest);
    }

    #[test]
    fn decoded_weights_fill_16_bits_exactly() {
        let spec = KernelSpec::from_id("gemv_decode_m5__avx2_p1k16").expect("it fits");
        // The last trit's field stands at weight 16: two products of 2 * 16 * -128 a step. Those at weight 4 come twice: half of that.
        assert_eq!((spec.window, window_max(&spec)), (4, Ok(4)));
        assert_eq!(4 * 2 * 2 * 16 * -128, i32::from(i16::MIN));
        // All 20 trits of a row's step at weight 16 in one 32-bit sum.
        let step = 20 * 2 * 16 * 128;
        let most = block_max(&spec);
        assert!(most * step <= i32::MAX as usize && (most + 1) * step > i32::MAX as usize);
    }

    #[test]
    fn gemm_windows_fill_16_bits_exactly() {
        assert_eq!(gemm_window_max(Isa::Avx2), Some(64));
        assert_eq!(64 * 2 * 2 * -128, i32::from(i16::MIN));
        // One product in a lane.
        assert_eq!(gemm_window_max(Isa::Neon), Some(128));
        assert_eq!(128 * 2 * -128, i32::from(i16::MIN));
        assert_eq!(gemm_window_max(Isa::Avx512vnni), None);
    }
}
