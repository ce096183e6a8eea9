//! The tensor types that tern reads: ids, names and sizes.
//!
//! A row of most types is a sequence of blocks. The types of ik_llama.cpp put a scale before a row's blocks, and bitnet.cpp's I2_S one
//! behind the whole matrix. Ids are not unique: see `foreign` for those that mean something else elsewhere, and `place` for
//! how the two layouts of id 42 are told apart.

use std::fmt;
use std::str::FromStr;

/// How the trits of I2_S lie in their bytes. All four have id 36 and the same size, and nothing in a file tells which it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum I2sLayout {
    /// 128 weights in 32 bytes: weight `32 g + p` in byte `p`, bits `6 − 2 g`. All published files have it.
    #[default]
    Planes32,
    /// 64 weights in 16 bytes: weight `16 g + p` in byte `p`, bits `6 − 2 g`. Written by bitnet.cpp's quantizer on ARM.
    Planes16,
    /// Four rows: byte `c` of a group holds column `c` of row `i` in bits `6 − 2 i`. bitnet.cpp on x86, built without `ACT_PARALLEL`.
    Rows4,
    /// Four neighbours: weight `i` of a byte in bits `6 − 2 i`. Written by the quantizer of bitnet.cpp since July 2026.
    Sequential,
}

impl I2sLayout {
    /// All of them, the usual one first.
    pub const ALL: [I2sLayout; 4] = [
        I2sLayout::Planes32,
        I2sLayout::Planes16,
        I2sLayout::Rows4,
        I2sLayout::Sequential,
    ];

    /// What options and messages call it.
    pub const fn name(self) -> &'static str {
        match self {
            I2sLayout::Planes32 => "128x32",
            I2sLayout::Planes16 => "64x16",
            I2sLayout::Rows4 => "rows4",
            I2sLayout::Sequential => "sequential",
        }
    }

    /// The number of weights that a matrix must be a multiple of.
    const fn unit(self) -> u64 {
        match self {
            I2sLayout::Planes32 => 128,
            I2sLayout::Planes16 => 64,
            I2sLayout::Rows4 | I2sLayout::Sequential => 4,
        }
    }
}

impl fmt::Display for I2sLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for I2sLayout {
    type Err = String;

    fn from_str(text: &str) -> Result<I2sLayout, String> {
        let found = I2sLayout::ALL
            .into_iter()
            .find(|known| known.name() == text);
        found.ok_or_else(|| {
            format!("\"{text}\" is no layout of I2_S; expected 128x32, 64x16, rows4 or sequential")
        })
    }
}

/// For how many weights a scale of a ternary type stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scales {
    /// All of the matrix.
    Matrix,
    /// A row.
    Row,
    /// So many neighbours in a row.
    Group(usize),
}

/// A tensor type that tern reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TensorType {
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// The upper halves of 32-bit floats.
    Bf16,
    /// Eight bits, an f16 scale for 32 weights.
    Q8_0,
    /// Four bits, an f16 scale for 32 weights.
    Q4_0,
    /// Four bits, six-bit scales and minima for 32 weights, two f16 factors for 256.
    Q4K,
    /// Six bits, eight-bit scales for 16 weights, an f16 factor for 256.
    Q6K,
    /// Five trits a byte, an f16 scale for 256.
    Tq1_0,
    /// Four trits a byte, an f16 scale for 256.
    Tq2_0,
    /// bitnet.cpp: four trits a byte, an f32 scale for the matrix.
    I2s(I2sLayout),
    /// Two bits (−1, 0, 1, 2), an f16 scale for 64. llama.cpp's type 42.
    Q2_0,
    /// Two bits, an f16 scale for 128. PrismML's type 42, before llama.cpp gave that id to blocks of 64.
    Q2_0Group128,
    /// The same as [`TensorType::Q2_0Group128`] under an id of its own.
    Pq2_0,
    /// PrismML: five trits a byte, an f16 scale for 128.
    Ptq1_0,
    /// ik_llama.cpp: 64 trits in 13 bytes, an f16 scale for a row.
    Iq1Bn,
    /// ik_llama.cpp: four trits a byte, an f32 scale for a row.
    Iq2Bn,
    /// The same with four rows interleaved.
    Iq2BnR4,
}

/// Sizes of a type whose rows are `header` bytes and then blocks.
struct Geometry {
    header: u64,
    weights: u64,
    bytes: u64,
}

impl TensorType {
    /// All types, I2_S in its usual layout.
    pub const ALL: [TensorType; 17] = [
        TensorType::F32,
        TensorType::F16,
        TensorType::Bf16,
        TensorType::Q8_0,
        TensorType::Q4_0,
        TensorType::Q4K,
        TensorType::Q6K,
        TensorType::Tq1_0,
        TensorType::Tq2_0,
        TensorType::I2s(I2sLayout::Planes32),
        TensorType::Q2_0,
        TensorType::Q2_0Group128,
        TensorType::Pq2_0,
        TensorType::Ptq1_0,
        TensorType::Iq1Bn,
        TensorType::Iq2Bn,
        TensorType::Iq2BnR4,
    ];

    /// The number in the file.
    pub const fn id(self) -> u32 {
        match self {
            TensorType::F32 => 0,
            TensorType::F16 => 1,
            TensorType::Bf16 => 30,
            TensorType::Q8_0 => 8,
            TensorType::Q4_0 => 2,
            TensorType::Q4K => 12,
            TensorType::Q6K => 14,
            TensorType::Tq1_0 => 34,
            TensorType::Tq2_0 => 35,
            TensorType::I2s(_) => 36,
            TensorType::Q2_0 | TensorType::Q2_0Group128 => 42,
            TensorType::Pq2_0 => 142,
            TensorType::Ptq1_0 => 143,
            TensorType::Iq1Bn => 134,
            TensorType::Iq2Bn => 135,
            TensorType::Iq2BnR4 => 335,
        }
    }

    /// The type of an id. For 36 the usual layout, for 42 llama.cpp's.
    pub(super) fn of_id(id: u32) -> Option<TensorType> {
        TensorType::ALL.into_iter().find(|known| known.id() == id)
    }

    /// The name that llama.cpp and its forks use.
    pub const fn name(self) -> &'static str {
        match self {
            TensorType::F32 => "F32",
            TensorType::F16 => "F16",
            TensorType::Bf16 => "BF16",
            TensorType::Q8_0 => "Q8_0",
            TensorType::Q4_0 => "Q4_0",
            TensorType::Q4K => "Q4_K",
            TensorType::Q6K => "Q6_K",
            TensorType::Tq1_0 => "TQ1_0",
            TensorType::Tq2_0 => "TQ2_0",
            TensorType::I2s(I2sLayout::Planes32) => "I2_S",
            TensorType::I2s(I2sLayout::Planes16) => "I2_S (layout 64x16)",
            TensorType::I2s(I2sLayout::Rows4) => "I2_S (layout rows4)",
            TensorType::I2s(I2sLayout::Sequential) => "I2_S (layout sequential)",
            TensorType::Q2_0 => "Q2_0",
            TensorType::Q2_0Group128 => "Q2_0 (blocks of 128)",
            TensorType::Pq2_0 => "PQ2_0",
            TensorType::Ptq1_0 => "PTQ1_0",
            TensorType::Iq1Bn => "IQ1_BN",
            TensorType::Iq2Bn => "IQ2_BN",
            TensorType::Iq2BnR4 => "IQ2_BN_R4",
        }
    }

    /// For what its scales stand; `None` for a type that does not hold trits.
    pub const fn scales(self) -> Option<Scales> {
        match self {
            TensorType::F32
            | TensorType::F16
            | TensorType::Bf16
            | TensorType::Q8_0
            | TensorType::Q4_0
            | TensorType::Q4K
            | TensorType::Q6K => None,
            TensorType::I2s(_) => Some(Scales::Matrix),
            TensorType::Iq1Bn | TensorType::Iq2Bn | TensorType::Iq2BnR4 => Some(Scales::Row),
            TensorType::Tq1_0 | TensorType::Tq2_0 => Some(Scales::Group(256)),
            TensorType::Q2_0 => Some(Scales::Group(64)),
            TensorType::Q2_0Group128 | TensorType::Pq2_0 | TensorType::Ptq1_0 => {
                Some(Scales::Group(128))
            }
        }
    }

    /// Whether code 3 stands for twice the scale, and is not damage.
    pub const fn allows_code_3(self) -> bool {
        matches!(
            self,
            TensorType::Q2_0 | TensorType::Q2_0Group128 | TensorType::Pq2_0
        )
    }

    /// Weights that share a block; 1 where the type has none. A row is a multiple of it, but for I2_S.
    pub const fn block(self) -> usize {
        self.geometry().weights as usize
    }

    const fn geometry(self) -> Geometry {
        let (header, weights, bytes) = match self {
            TensorType::F32 => (0, 1, 4),
            TensorType::F16 | TensorType::Bf16 => (0, 1, 2),
            TensorType::Q8_0 => (0, 32, 34),
            TensorType::Q4_0 => (0, 32, 18),
            TensorType::Q4K => (0, 256, 144),
            TensorType::Q6K => (0, 256, 210),
            TensorType::Tq1_0 => (0, 256, 54),
            TensorType::Tq2_0 => (0, 256, 66),
            TensorType::I2s(layout) => (0, layout.unit(), layout.unit() / 4),
            TensorType::Q2_0 => (0, 64, 18),
            TensorType::Q2_0Group128 | TensorType::Pq2_0 => (0, 128, 34),
            TensorType::Ptq1_0 => (0, 128, 28),
            TensorType::Iq1Bn => (2, 64, 13),
            TensorType::Iq2Bn | TensorType::Iq2BnR4 => (4, 64, 16),
        };
        Geometry {
            header,
            weights,
            bytes,
        }
    }

    /// Bytes of a row, a multiple of [`TensorType::block`] long. For IQ2_BN_R4 a quarter of four rows; I2_S has no rows of its own.
    pub(super) const fn row_bytes(self, cols: usize) -> usize {
        let Geometry {
            header,
            weights,
            bytes,
        } = self.geometry();
        header as usize + cols / weights as usize * bytes as usize
    }

    /// Bytes of a tensor with these dimensions, the contiguous one first.
    ///
    /// # Errors
    ///
    /// What is wrong, for a message that begins with the tensor's name.
    pub(super) fn bytes(self, dims: &[u64]) -> Result<u64, String> {
        let product = |dims: &[u64]| {
            dims.iter()
                .try_fold(1u64, |product, &dim| product.checked_mul(dim))
                .filter(|&product| product <= i64::MAX as u64)
                .ok_or_else(|| format!("shape {dims:?} has more weights than can be"))
        };
        let (cols, rows) = (product(&dims[..1])?, product(&dims[1..])?);
        let weights = product(dims)?;
        if let TensorType::I2s(layout) = self {
            return i2s_bytes(layout, dims, weights);
        }
        let Geometry {
            header,
            weights: block,
            bytes,
        } = self.geometry();
        if cols % block != 0 {
            return Err(format!(
                "rows of {cols} weights are not a multiple of {self}'s block of {block}"
            ));
        }
        let second = dims.get(1).copied().unwrap_or(1);
        if self == TensorType::Iq2BnR4 && second % 4 != 0 {
            return Err(format!(
                "{second} rows are not a multiple of the 4 that {self} interleaves"
            ));
        }
        let row = (cols / block)
            .checked_mul(bytes)
            .and_then(|blocks| blocks.checked_add(header));
        row.and_then(|row| row.checked_mul(rows))
            .ok_or_else(|| format!("shape {dims:?} has more bytes than can be"))
    }
}

/// I2_S is a stream of all weights, and after it 32 bytes of which the first four are the scale.
fn i2s_bytes(layout: I2sLayout, dims: &[u64], weights: u64) -> Result<u64, String> {
    if dims.len() > 2 {
        return Err(format!(
            "shape {dims:?}: I2_S has one scale for a matrix, and its size is not defined for {} dimensions",
            dims.len()
        ));
    }
    if layout == I2sLayout::Rows4 {
        let rows = dims.get(1).copied().unwrap_or(1);
        if rows % 4 != 0 {
            return Err(format!(
                "{rows} rows are not a multiple of 4, which I2_S in the layout {layout} needs"
            ));
        }
    }
    let unit = layout.unit();
    if !weights.is_multiple_of(unit) {
        return Err(format!(
            "{weights} weights are not a multiple of the {unit} that I2_S in the layout {layout} needs"
        ));
    }
    // At most 2^61 + 32.
    Ok(weights / 4 + 32)
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_a_row() {
        let sizes = TensorType::ALL.map(|kind| kind.bytes(&[256, 4]).unwrap());
        let i2s = 256 + 32;
        assert_eq!(
            sizes.map(|bytes| bytes / 4),
            [
                1024,
                512,
                512,
                272,
                144,
                144,
                210,
                54,
                66,
                i2s / 4,
                72,
                68,
                68,
                56,
                54,
                68,
                68
            ]
        );
    }

    #[test]
    fn sizes_beyond_all_bounds_are_refused() {
        let quarter = u64::MAX / 4;
        for dims in [&[quarter, 4][..], &[1 << 62, 2], &[1 << 32, 1 << 31, 2, 2]] {
            assert!(TensorType::F32.bytes(dims).is_err(), "{dims:?}");
        }
        assert!(TensorType::F32.bytes(&[1 << 61, 1]).is_ok());
        assert!(TensorType::F32.bytes(&[1 << 62]).is_err(), "2^64 bytes");
        assert!(
            TensorType::I2s(I2sLayout::Planes32)
                .bytes(&[1 << 62])
                .is_ok()
        );
    }

    #[test]
    fn ids_are_found_again() {
        for kind in TensorType::ALL {
            assert_eq!(TensorType::of_id(kind.id()).unwrap().id(), kind.id());
        }
        assert_eq!(TensorType::of_id(42), Some(TensorType::Q2_0));
        for layout in I2sLayout::ALL {
            assert_eq!(layout.name().parse(), Ok(layout));
        }
        assert!("arm".parse::<I2sLayout>().is_err());
    }
}
