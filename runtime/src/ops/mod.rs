//! The floating-point operations of the forward pass, one per file.
//!
//! Their results must not depend on the instruction set, the thread count or how many positions
//! are processed at once, so they share four rules:
//!
//! * Sums run over 16 *virtual lanes* ([`lanes`]): element `i` is added to lane `i % 16`, and the
//!   lanes are added as a tree. The order is part of the meaning, not of the hardware; a machine
//!   with 4 or 16 lanes performs the same additions.
//! * A product is rounded before it is added (Rust never fuses the two by itself).
//! * Wider vectors than every x86-64 has are a second copy of the same code ([`multiversion`]): the lanes are the same, so the bits are.
//! * `exp`, `sin`, `cos` and `pow` are our own or `libm`'s, never the system's.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod exp;
pub(crate) mod half;
pub(crate) mod head;
pub(crate) mod lanes;
pub(crate) mod planes;
pub(crate) mod quantize;
pub(crate) mod rms_norm;
pub(crate) mod rope;
pub(crate) mod screen;
