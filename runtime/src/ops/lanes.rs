//! Sixteen virtual lanes: the fixed order in which every floating-point sum is taken.
//!
//! Sixteen `f32` fill the widest vector register in use; narrower machines hold the lanes in
//! several registers. Written as plain loops over `[f32; 16]`, which the compiler vectorises
//! without being allowed to reorder anything.

/// Partial sums; lane `i` holds those of elements `i`, `i + 16`, `i + 32`, …
pub(crate) type Lanes = [f32; LANES];

/// Number of virtual lanes.
pub(crate) const LANES: usize = 16;

/// Adds the lanes as a balanced tree: halves onto each other until one is left.
#[inline(always)]
pub(crate) fn sum_lanes(mut lanes: Lanes) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// `Σ f(xᵢ)` in lane order.
#[inline(always)]
pub(crate) fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f(x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += f(x);
    }
    sum_lanes(lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_added_as_a_tree() {
        // 2^24 absorbs single ones but not pairs: the order shows in the result.
        let mut lanes = [1.0; LANES];
        lanes[0] = 16_777_216.0;
        // Lane 0 absorbs lane 8 (+1 → rounded away); the other sums reach it as 2, 4 and 8.
        assert_eq!(sum_lanes(lanes), 16_777_216.0 + 2.0 + 4.0 + 8.0);
    }

    #[test]
    fn a_partial_chunk_goes_to_the_first_lanes() {
        let x: Vec<f32> = (0..37).map(|i| i as f32 * 0.1).collect();
        let mut lanes = [0.0; LANES];
        for (i, x) in x.iter().enumerate() {
            lanes[i % LANES] += x * x;
        }
        assert_eq!(sum(&x, |x| x * x).to_bits(), sum_lanes(lanes).to_bits());
        assert_eq!(sum(&[], |x| x), 0.0);
    }
}
