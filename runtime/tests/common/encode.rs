//! Ternary tensors written one code at a time, by the formulas of the formats' descriptions: slow, and nothing of the library's is in it but
//! the conversion of a scale to f16.

use tern_runtime::gguf::{I2sLayout, TensorType, quantize};

/// A matrix as functions of row and column: codes (trit + 1), and the scale that holds from a column on.
pub struct Matrix<'a> {
    pub rows: usize,
    pub cols: usize,
    pub code: &'a dyn Fn(usize, usize) -> u8,
    pub scale: &'a dyn Fn(usize, usize) -> f32,
}

impl Matrix<'_> {
    /// The bytes of a scale in half precision.
    fn half(&self, row: usize, col: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        quantize::row(TensorType::F16, &[(self.scale)(row, col)], &mut bytes).unwrap();
        bytes
    }
}

/// Bytes of one block: two-bit codes or base-3 digits that are put in their places.
struct Block {
    bytes: Vec<u8>,
    digits: Vec<u16>,
}

impl Block {
    fn new(len: usize) -> Block {
        Block {
            bytes: vec![0; len],
            digits: vec![0; len],
        }
    }

    fn bits(&mut self, byte: usize, shift: usize, code: u8) {
        self.bytes[byte] |= code << shift;
    }

    fn digit(&mut self, byte: usize, power: u32, code: u8) {
        self.digits[byte] += u16::from(code) * 3u16.pow(power);
    }

    /// The block as bytes, where digits become the ceiling of 256 v / 243.
    fn base_3(self) -> Vec<u8> {
        let digits = self.digits.into_iter();
        digits.map(|v| (v * 256).div_ceil(243) as u8).collect()
    }
}

fn tq1_0(code: impl Fn(usize) -> u8) -> Vec<u8> {
    let mut block = Block::new(52);
    for e in 0..256 {
        let (byte, n) = match e {
            0..160 => (e % 32, e / 32),
            160..240 => (32 + (e - 160) % 16, (e - 160) / 16),
            _ => (48 + (e - 240) % 4, (e - 240) / 4),
        };
        block.digit(byte, 4 - n as u32, code(e));
    }
    block.base_3()
}

fn ptq1_0(code: impl Fn(usize) -> u8) -> Vec<u8> {
    let mut block = Block::new(26);
    for e in 0..128 {
        let (byte, n) = match e {
            0..80 => (e % 16, e / 16),
            80..120 => (16 + (e - 80) % 8, (e - 80) / 8),
            _ => (24 + (e - 120) % 2, (e - 120) / 2),
        };
        block.digit(byte, 4 - n as u32, code(e));
    }
    block.base_3()
}

fn tq2_0(code: impl Fn(usize) -> u8) -> Vec<u8> {
    let mut block = Block::new(64);
    for e in 0..256 {
        block.bits(32 * (e / 128) + e % 32, 2 * (e % 128 / 32), code(e));
    }
    block.bytes
}

fn q2_0(weights: usize, code: impl Fn(usize) -> u8) -> Vec<u8> {
    let mut block = Block::new(weights / 4);
    for e in 0..weights {
        block.bits(e / 4, 2 * (e % 4), code(e));
    }
    block.bytes
}

fn iq1_bn(code: impl Fn(usize) -> u8) -> Vec<u8> {
    let mut block = Block::new(13);
    for e in 0..64 {
        let (group, place) = (e / 16, e % 16);
        match place {
            15 => block.digit(12, group as u32, code(e)),
            _ => block.digit(3 * group + place / 5, place as u32 % 5, code(e)),
        }
    }
    block.base_3()
}

fn iq2_bn(code: impl Fn(usize) -> u8) -> Vec<u8> {
    let mut block = Block::new(16);
    for e in 0..64 {
        block.bits(e % 16, 2 * (e / 16), code(e));
    }
    block.bytes
}

fn iq2_bn_r4(code: impl Fn(usize, usize) -> u8) -> Vec<u8> {
    let mut block = Block::new(64);
    for row in 0..4 {
        for e in 0..64 {
            let (l, t, i) = (e / 16, e % 16 / 4, e % 4);
            block.bits(16 * l + 4 * row + i, 2 * t, code(row, e));
        }
    }
    block.bytes
}

fn i2_s(layout: I2sLayout, matrix: &Matrix<'_>) -> Vec<u8> {
    let count = matrix.rows * matrix.cols;
    let mut bytes = Block::new(count / 4);
    for n in 0..count {
        let (row, col) = (n / matrix.cols, n % matrix.cols);
        let (byte, g) = match layout {
            I2sLayout::Planes32 => (n / 128 * 32 + n % 32, n % 128 / 32),
            I2sLayout::Planes16 => (n / 64 * 16 + n % 16, n % 64 / 16),
            I2sLayout::Sequential => (n / 4, n % 4),
            I2sLayout::Rows4 => (row / 4 * matrix.cols + col, row % 4),
        };
        bytes.bits(byte, 6 - 2 * g, (matrix.code)(row, col));
    }
    bytes.bytes
}

/// The whole tensor.
pub fn encode(kind: TensorType, matrix: &Matrix<'_>) -> Vec<u8> {
    let Matrix {
        rows,
        cols,
        code,
        scale,
    } = *matrix;
    if let TensorType::I2s(layout) = kind {
        let mut bytes = i2_s(layout, matrix);
        bytes.extend(scale(0, 0).to_le_bytes());
        // The bytes behind the scale are undefined.
        bytes.extend([0xee; 28]);
        return bytes;
    }
    let mut bytes = Vec::new();
    if kind == TensorType::Iq2BnR4 {
        for four in (0..rows).step_by(4) {
            bytes.extend((four..four + 4).flat_map(|row| scale(row, 0).to_le_bytes()));
            for col in (0..cols).step_by(64) {
                bytes.extend(iq2_bn_r4(|row, e| code(four + row, col + e)));
            }
        }
        return bytes;
    }
    let block = kind.block();
    for row in 0..rows {
        match kind {
            TensorType::Iq1Bn => bytes.extend(matrix.half(row, 0)),
            TensorType::Iq2Bn => bytes.extend(scale(row, 0).to_le_bytes()),
            _ => {}
        }
        for col in (0..cols).step_by(block) {
            let code = |e: usize| code(row, col + e);
            let (codes, is_first) = match kind {
                TensorType::Tq1_0 => (tq1_0(code), false),
                TensorType::Tq2_0 => (tq2_0(code), false),
                TensorType::Ptq1_0 => (ptq1_0(code), false),
                TensorType::Iq1Bn => (iq1_bn(code), true),
                TensorType::Iq2Bn => (iq2_bn(code), true),
                _ => (q2_0(block, code), true),
            };
            let has_scale = !matches!(kind, TensorType::Iq1Bn | TensorType::Iq2Bn);
            let scale = if has_scale {
                matrix.half(row, col)
            } else {
                Vec::new()
            };
            let parts = if is_first {
                [scale, codes]
            } else {
                [codes, scale]
            };
            bytes.extend(parts.concat());
        }
    }
    bytes
}
