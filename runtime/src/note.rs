//! What a person should know of a model beside its numbers, and whether it is worth a warning.
//!
//! `tern inspect` shows all notes. Where a model is run, only those count that may mean wrong results: a guess for want of a word in its
//! files, and what looks wrong. The user's own word settles a guess, so each says which option gives it.

/// One thing to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// One sentence.
    pub text: String,
    /// Whether results may be wrong.
    pub is_warning: bool,
    /// What the user can say of it.
    pub settled_by: Option<Setting>,
}

/// What the user can say of a model whose files are silent or wrong ([`LoadOptions`](crate::LoadOptions)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    /// The function of the feed-forward gate.
    Activation,
    /// How many activations share a scale.
    ActivationScales,
    /// What weight scales do.
    WeightScales,
}

impl Note {
    /// A fact, or a decision that is sure.
    pub fn fact(text: impl Into<String>) -> Note {
        Note {
            text: text.into(),
            is_warning: false,
            settled_by: None,
        }
    }

    /// What was taken for want of a word in the files, until the user says it.
    pub fn guess(text: impl Into<String>, settled_by: Setting) -> Note {
        Note {
            text: format!("a guess: {}", text.into()),
            is_warning: true,
            settled_by: Some(settled_by),
        }
    }

    /// What looks wrong.
    pub fn suspicious(text: impl Into<String>) -> Note {
        Note {
            text: format!("suspicious: {}", text.into()),
            is_warning: true,
            settled_by: None,
        }
    }
}
