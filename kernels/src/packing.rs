//! Packings: the byte orders in which ternary matrices are stored for the kernels.
//!
//! A packing's name holds all that fixes its bytes, for example `t5_l64_p4_k96`: the code that turns trits into bits
//! (`t5`: five trits a byte), the rows that one vector covers (64 lanes), the vectors of rows interleaved step by step
//! (4 panels), and the steps in a K block (96). Two kernels with the same packing read the same bytes; a matrix refuses
//! every other kernel.
//!
//! A matrix with one weight scale for each group of columns has a fifth part, for example `t5_l64_p2_k26_g128`: a K block is then
//! one group of 128 columns, padded with zero trits to 26 whole steps, so that no block's sum belongs to two scales.
//!
//! The order, outermost first: K block, strip, step, panel, lane. A *strip* is `panels` panels side by side, and the
//! panels that are left over follow as strips of one. So a kernel that walks a K block reads increasing addresses, in one
//! stream: several row streams were measured two to three times slower from memory.

use std::fmt;
use std::str::FromStr;

/// How trits become bits. A *step* is the smallest run of columns that a code stores for every row of a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// One signed byte a trit. Only the reference reads it.
    Trits,
    /// Two bits a trit (`t + 1`), 16 columns in 4 bytes a row: byte `j` holds columns `j`, `4 + j`, `8 + j`, `12 + j`
    /// from its lowest bits up, so that four neighbouring bytes of one bit plane meet four neighbouring activations in one
    /// dot-product instruction.
    B2,
    /// Codes of three trits in five bits for a constant table, 36 columns in 8 bytes a row: twelve codes
    /// `9 (t0 + 1) + 3 (t1 + 1) + (t2 + 1)` in two words of 32 bits, lowest byte first. 1.778 bits a weight.
    ///
    /// From the lowest bits up, the low word holds codes 0 to 3, 8 and 9, the high one 10, 11 and 4 to 7; the two highest bits
    /// of both are clear. So each word gives four bytes of one code each, and together they hold four more that do not overlap.
    /// Four neighbouring bytes meet four neighbouring activations: code `4 v + j` holds columns `12 v + j`, `12 v + 4 + j` and
    /// `12 v + 8 + j`. The low words of all rows come first, then the high ones.
    D3,
    /// Five trits a byte for constant tables, 20 columns in 4 bytes a row: byte `j` holds columns `j`, `4 + j`, `8 + j`,
    /// `12 + j`, `16 + j`, ordered as in [`Code::B2`]. 1.6 bits a weight.
    ///
    /// The lower seven bits of a byte tell its first two trits, the upper seven its last two, and both together the third: so
    /// two lookups of 128 entries decode it. Let `x` and `y` in 0..9 be the first two and the last two trits, on a circle of nine
    /// places. Where they are unlike, one of them is 1 to 4 places ahead of the other: they stand at `k - b` and
    /// `k + 1 + 2 c` for one place `k` and two bits `b` and `c`. Where they are alike, both stand at `k`, and the bits tell the
    /// third trit. So the six bits that both lookups see hold `k` and one of seven cases: alike, or which pair is behind and
    /// what the third trit is. The seventh bit of each lookup is the one that its own pair needs.
    ///
    /// From the lowest: a bit of `x`; six bits `7 k + case`; a bit of `y`. Case 0 is alike, where the bits are those of the third
    /// `u = t + 1`; case `1 + 2 u` is `x` behind `y`, case `2 + 2 u` `y` behind `x`. `x = 3 u0 + u1`, `y = 3 u4 + u3`.
    D5,
    /// Five trits a byte for smaller constant tables, columns as in [`Code::D5`]: `28 (3 u0 + u1) + 9 u2 + 3 u3 + u4` with `u = t + 1`.
    /// 1.6 bits a weight.
    ///
    /// 28 is the smallest multiple of four that is no less than the 27 values of three trits. So the upper six bits of a byte tell its
    /// first two trits: a lookup of 64 entries finds those, one of 16 what they are worth, and one of 32 the trits of the rest.
    M5,
    /// One column of five rows a byte, four columns in four bytes of five rows: the numbers of [`Code::M5`], whose trits are those of
    /// rows that lie a fifth of the panel apart. 1.6 bits a weight.
    ///
    /// All five trits of a byte meet the same activation. So a dot product of the byte itself, or of any number made from it that is a sum of
    /// multiples of the `u`, is that sum of multiples of the five rows' dot products: five different ones give all five rows, and no
    /// trit has to be masked out of its byte.
    R5,
    /// Two bit planes, 8 columns in 2 bytes a row: a byte of "plus" bits, then a byte of "minus" bits, the first column in
    /// the highest bit.
    Planes,
    /// Two trits a nibble (`3 (t0 + 1) + (t1 + 1)`), 4 columns in a byte, the first two in the low nibble. 2 bits a weight.
    T2,
    /// Three trits a 4-bit magnitude and a sign, 24 columns in 5 bytes a row: four bytes of nibble pairs (low nibble
    /// first), then a byte of signs, the first group in the highest bit. 1.667 bits a weight.
    T3,
    /// The bytes of [`Code::T3`] for kernels that add up each of the two bytes of a 16-bit sum. Another code, because the tables are others.
    P3,
    /// Three trits a 5-bit code, `9 (t0 + 1) + 3 (t1 + 1) + (t2 + 1)`, 24 columns in 5 bytes a row: four bytes of nibble pairs
    /// (low nibble first), then a byte of fifth bits, those of the low nibbles from its lowest bit up, those of the high nibbles
    /// from bit 4 up. 1.667 bits a weight, like [`Code::T3`], for ISAs that look up 32 entries and so need no sign.
    F3,
    /// Five trits a byte: the magnitude of the balanced ternary number in 7 bits, the sign in the highest. 1.6 bits a weight.
    T5,
    /// Seven trits in two 6-bit codes that share the middle trit, 28 columns in 6 bytes a row. 1.714 bits a weight.
    ///
    /// A single 64-entry byte shuffle holds three trits (27 sums) with room to spare, but not four (81). So the
    /// fourth trit is split, `t = b - c` with bits `b` and `c`: the first code carries three trits and `b`, the second
    /// `c` and three trits, 54 sums each. Neither code needs a sign or a second table vector.
    T7,
    /// Nine trits in a 16-bit word, lowest byte first: three codes of five bits, `9 (t0 + 1) + 3 (t1 + 1) + (t2 + 1)`, from
    /// the lowest bits up; the highest bit is clear. 1.778 bits a weight.
    ///
    /// The 27 sums of three trits fit a table of 32 words, and a shuffle of words ignores what stands above five bits of an
    /// index. So a code needs no sign, no mask and no second digit; only the bits of the words that hold it are less dense.
    W3,
    /// Four trits a byte: their "plus" bits in the low nibble, their "minus" bits in the high one, the first column in the lowest
    /// bit of each. 2 bits a weight, like [`Code::Planes`], in the order of bit-serial tables.
    S4,
}

impl Code {
    /// Every code.
    pub const ALL: [Code; 15] = [
        Code::Trits,
        Code::B2,
        Code::D3,
        Code::D5,
        Code::M5,
        Code::R5,
        Code::Planes,
        Code::T2,
        Code::T3,
        Code::P3,
        Code::F3,
        Code::T5,
        Code::T7,
        Code::W3,
        Code::S4,
    ];

    /// The name as packings print it.
    pub const fn name(self) -> &'static str {
        match self {
            Code::Trits => "trits",
            Code::B2 => "b2",
            Code::D3 => "d3",
            Code::D5 => "d5",
            Code::M5 => "m5",
            Code::R5 => "r5",
            Code::Planes => "planes",
            Code::T2 => "t2",
            Code::T3 => "t3",
            Code::P3 => "p3",
            Code::F3 => "f3",
            Code::T5 => "t5",
            Code::T7 => "t7",
            Code::W3 => "w3",
            Code::S4 => "s4",
        }
    }

    /// Columns in a step.
    pub const fn step_cols(self) -> usize {
        match self {
            Code::Trits => 1,
            Code::B2 => 16,
            Code::D3 => 36,
            Code::D5 | Code::M5 => 20,
            Code::Planes => 8,
            Code::T3 | Code::P3 | Code::F3 => 24,
            Code::T5 => 5,
            Code::T7 => 28,
            Code::W3 => 9,
            Code::R5 | Code::T2 | Code::S4 => 4,
        }
    }

    /// Rows whose trits of a column share a byte.
    pub const fn rows_in_byte(self) -> usize {
        match self {
            Code::R5 => 5,
            _ => 1,
        }
    }

    /// Bytes in a step, for each row or, where rows share bytes, for as many as share them.
    pub const fn step_bytes(self) -> usize {
        match self {
            Code::Trits | Code::T2 | Code::T5 | Code::S4 => 1,
            Code::B2 | Code::D5 | Code::M5 | Code::R5 => 4,
            Code::D3 => 8,
            Code::Planes | Code::W3 => 2,
            Code::T3 | Code::P3 | Code::F3 => 5,
            Code::T7 => 6,
        }
    }

    /// Rows whose sums share a 32-bit lane: four where a kernel adds bytes, two where it adds words.
    const fn rows_in_32_bits(self) -> usize {
        match self {
            Code::Trits | Code::B2 | Code::D3 | Code::D5 | Code::M5 | Code::R5 => 1,
            Code::W3 => 2,
            Code::Planes
            | Code::T2
            | Code::T3
            | Code::P3
            | Code::F3
            | Code::T5
            | Code::T7
            | Code::S4 => 4,
        }
    }

    /// Stored bits a weight, padding excluded.
    pub fn bits_per_weight(self) -> f64 {
        8.0 * self.step_bytes() as f64 / (self.step_cols() * self.rows_in_byte()) as f64
    }
}

/// One byte order. See the [module](self) for its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Packing {
    /// How trits become bits.
    pub code: Code,
    /// Rows that one vector covers: the rows of a panel.
    pub lanes: usize,
    /// Panels interleaved in a strip.
    pub panels: usize,
    /// Steps in a K block.
    pub block: usize,
    /// Columns that share a weight scale, which are then a K block; 0 where scales are not by columns.
    pub group: usize,
}

impl Packing {
    /// The packing that the reference reads: row by row, one byte a trit.
    pub const TRITS: Packing = Packing {
        code: Code::Trits,
        lanes: 1,
        panels: 1,
        block: 1 << 20,
        group: 0,
    };

    /// Whether its numbers make sense: all of them above zero and within reason, and the rows of a panel in whole 32-bit lanes and bytes.
    pub const fn is_valid(&self) -> bool {
        let Packing {
            code,
            lanes,
            panels,
            block,
            group,
        } = *self;
        let whole = lanes.is_multiple_of(code.rows_in_32_bits())
            && lanes.is_multiple_of(code.rows_in_byte());
        let counts = lanes > 0 && panels > 0 && block > 0;
        let whole_group = group == 0 || group.div_ceil(code.step_cols()) == block;
        let sizes = lanes <= 1 << 12 && panels <= 1 << 8 && block <= 1 << 24;
        counts && whole && whole_group && sizes
    }

    /// The same rows and panels for a matrix with one weight scale for each `group` columns.
    pub const fn grouped(&self, group: usize) -> Packing {
        Packing {
            block: group.div_ceil(self.code.step_cols()),
            group,
            ..*self
        }
    }

    /// Columns of a K block, the last one's excepted.
    pub const fn block_cols(&self) -> usize {
        match self.group {
            0 => self.block * self.code.step_cols(),
            group => group,
        }
    }

    /// K blocks that cover `cols` columns; the last one may hold fewer steps.
    pub const fn blocks(&self, cols: usize) -> usize {
        cols.div_ceil(self.block_cols())
    }

    /// Steps of K block `block` of `cols` columns, the last one padded with zero trits.
    pub const fn block_steps(&self, cols: usize, block: usize) -> usize {
        let left = cols - block * self.block_cols();
        let cols = if left < self.block_cols() {
            left
        } else {
            self.block_cols()
        };
        cols.div_ceil(self.code.step_cols())
    }

    /// Steps that cover `cols` columns.
    pub const fn steps(&self, cols: usize) -> usize {
        let whole = cols / self.block_cols();
        let rest = cols % self.block_cols();
        whole * self.block + rest.div_ceil(self.code.step_cols())
    }

    /// Bytes of one step of one panel.
    pub const fn panel_step_bytes(&self) -> usize {
        self.lanes / self.code.rows_in_byte() * self.code.step_bytes()
    }

    /// Panels that cover `rows` rows, the last one padded with zero rows.
    pub const fn panels_for(&self, rows: usize) -> usize {
        rows.div_ceil(self.lanes)
    }

    /// Bytes of a packed matrix, padding included; `None` where that overflows.
    pub fn matrix_bytes(&self, rows: usize, cols: usize) -> Option<usize> {
        self.panels_for(rows)
            .checked_mul(self.steps(cols))?
            .checked_mul(self.panel_step_bytes())
    }

    /// The lane of a vector that row `row` of its panel lies in; of no meaning where rows share bytes ([`Code::rows_in_byte`]).
    ///
    /// The rows that share a 32-bit lane lie as far apart as the panel allows: then the sums of their bytes or words widen to
    /// 32-bit vectors of neighbouring rows without a shuffle.
    pub const fn lane_of(&self, row: usize) -> usize {
        let sharing = self.code.rows_in_32_bits();
        let apart = self.lanes / sharing;
        (row % apart) * sharing + row / apart
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Packing::TRITS {
            return f.write_str("trits");
        }
        write!(
            f,
            "{}_l{}_p{}_k{}",
            self.code.name(),
            self.lanes,
            self.panels,
            self.block
        )?;
        match self.group {
            0 => Ok(()),
            group => write!(f, "_g{group}"),
        }
    }
}

/// A string that is not the name of a packing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a packing; expected a name like `t5_l64_p4_k96` or `trits`")]
pub struct ParsePackingError(String);

impl FromStr for Packing {
    type Err = ParsePackingError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let error = || ParsePackingError(name.to_owned());
        if name == "trits" {
            return Ok(Packing::TRITS);
        }
        let mut parts = name.split('_');
        let code = parts.next().ok_or_else(error)?;
        let code = Code::ALL
            .into_iter()
            .find(|c| c.name() == code)
            .ok_or_else(error)?;
        let mut number = |letter: char| match parts.next() {
            None => Ok(None),
            Some(part) => {
                let number = part
                    .strip_prefix(letter)
                    .and_then(|digits| digits.parse().ok());
                // A leading zero or a plus would be a second name.
                let canonical = number.filter(|n: &usize| *n > 0 && part[1..] == n.to_string());
                canonical.map(Some).ok_or_else(error)
            }
        };
        let lanes = number('l')?.ok_or_else(error)?;
        let panels = number('p')?.ok_or_else(error)?;
        let block = number('k')?.ok_or_else(error)?;
        let group = number('g')?.unwrap_or(0);
        let packing = Packing {
            code,
            lanes,
            panels,
            block,
            group,
        };
        match parts.next() {
            None if packing.is_valid() => Ok(packing),
            _ => Err(error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_a_block_and_no_step_holds_two() {
        let t5: Packing = "t5_l64_p2_k48".parse().unwrap();
        // 300 columns: groups of 128, 128 and 44, in 26, 26 and 9 steps of five.
        let grouped = t5.grouped(128);
        assert_eq!(grouped.blocks(300), 3);
        let steps = [0, 1, 2].map(|block| grouped.block_steps(300, block));
        assert_eq!((steps, grouped.steps(300)), ([26, 26, 9], 61));
        // Without groups only the last step is padded.
        assert_eq!((t5.blocks(300), t5.steps(300)), (2, 60));
        assert_eq!(t5.block_steps(300, 1), 12);
    }

    #[test]
    fn names_round_trip() {
        let packing = Packing {
            code: Code::T5,
            lanes: 64,
            panels: 4,
            block: 96,
            group: 0,
        };
        assert_eq!(packing.to_string(), "t5_l64_p4_k96");
        assert_eq!("t5_l64_p4_k96".parse(), Ok(packing));
        let grouped = packing.grouped(128);
        assert_eq!(grouped.to_string(), "t5_l64_p4_k26_g128");
        assert_eq!("t5_l64_p4_k26_g128".parse(), Ok(grouped));
        assert_eq!("trits".parse(), Ok(Packing::TRITS));
        for bad in [
            "",
            "t5",
            "t6_l64_p4_k96",
            "t5_l64_p4",
            "t5_l64_p4_k0",
            "t5_l064_p4_k9",
            "t5_l10_p1_k1",
            "t5_l64_p4_k96_x",
            "t5_l64_p4_k26_g0",
            "t5_l64_p4_k27_g128",
            "t5_l64_p4_k26_g128_g128",
            "t5_l10_p1_k1",
            "r5_l64_p1_k1",
        ] {
            assert!(bad.parse::<Packing>().is_err(), "{bad}");
        }
    }

    #[test]
    fn lanes_are_a_permutation_of_rows() {
        let codes = [Code::B2, Code::D3, Code::T5, Code::W3];
        for (code, lanes) in codes.into_iter().flat_map(|c| [8, 32, 64].map(|l| (c, l))) {
            let packing = Packing {
                code,
                lanes,
                panels: 1,
                block: 1,
                group: 0,
            };
            let mut seen = vec![false; lanes];
            (0..lanes).for_each(|row| seen[packing.lane_of(row)] = true);
            assert!(seen.into_iter().all(|s| s));
        }
    }
}
