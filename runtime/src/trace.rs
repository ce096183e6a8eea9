//! A look inside a forward pass, for tests and for comparing with other implementations.
//!
//! Off unless [`Engine::observe`](crate::Engine::observe) is given an observer. It is called on the
//! engine's thread, between parallel regions, and cannot change anything.

/// Called for each [`Event`] of a pass.
pub type Observer = Box<dyn FnMut(Event<'_>) + Send>;

/// Something computed for one position.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The int8 activations that a ternary linear layer is about to multiply.
    Quantized {
        /// Index into the step's work.
        work: usize,
        /// Position in the sequence.
        position: usize,
        /// The linear layer: its tensor's name without `.weight`.
        linear: &'a str,
        /// The activations before rounding, after the layer's own norm if it has one.
        input: &'a [f32],
        /// The activations.
        values: &'a [i8],
        /// What the activations were multiplied by: 127 / max|x|, as Hugging Face rounds it. 1 where groups of them have steps.
        scale: f32,
        /// What an activation of one stands for in each group of [`ACTIVATION_GROUP`](crate::config::ACTIVATION_GROUP) or fewer; none where a
        /// position has one scale.
        steps: &'a [f32],
    },
    /// The residual stream after a layer.
    Residual {
        /// Index into the step's work.
        work: usize,
        /// Position in the sequence.
        position: usize,
        /// The layer, from 0.
        layer: usize,
        /// `hidden_size` values.
        values: &'a [f32],
    },
}
