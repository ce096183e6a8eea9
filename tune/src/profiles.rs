//! Profiles joined and compared.
//!
//! Merging takes, for each thing that two profiles have an entry for, the one of higher rigor, then the newer, then the faster (one that was
//! not timed counts as slow, and one that was stored against the noise comes last); what is left is decided by the entries' text. That is the maximum in a total order, so that it does not matter in which order, or how often,
//! profiles are merged: the results of a hundred machines can be joined in any way. (Rigor before age is FFTW's rule.)

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::Serialize;
use tern_kernels::profile::Key;
use tern_kernels::{BatchEntry, Entry, Profile};

/// Profiles of different CPUs, which have nothing to say to each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "profiles of different CPUs, `{first}` and `{second}`, cannot be merged: what is fastest on one says nothing about the other"
)]
pub struct MergeError {
    /// The key of one.
    pub first: String,
    /// The key of the other.
    pub second: String,
}

/// Both profiles in one, see the [module](self). The header is that of the one tuned last.
///
/// # Errors
///
/// They are of different CPUs.
pub fn merge(a: Profile, b: Profile) -> Result<Profile, MergeError> {
    if a.host.key != b.host.key {
        return Err(MergeError {
            first: a.host.key,
            second: b.host.key,
        });
    }
    let header = |p: &Profile| Profile {
        entries: Vec::new(),
        batches: Vec::new(),
        ..p.clone()
    };
    // The rigor follows from the entries, so it may not decide.
    let age = |p: &Profile| {
        let header = Profile {
            rigor: Default::default(),
            ..header(p)
        };
        (p.date.clone(), header.to_toml())
    };
    let newest = match age(&a) >= age(&b) {
        true => header(&a),
        false => header(&b),
    };
    let mut entries: BTreeMap<_, Entry> = BTreeMap::new();
    for entry in a.entries.into_iter().chain(b.entries) {
        keep_better(&mut entries, entry.key(), entry, compare_entries);
    }
    let mut batches: BTreeMap<_, BatchEntry> = BTreeMap::new();
    for entry in a.batches.into_iter().chain(b.batches) {
        keep_better(&mut batches, entry.key(), entry, compare_batches);
    }
    let merged = Profile {
        entries: entries.into_values().collect(),
        batches: batches.into_values().collect(),
        ..newest
    };
    Ok(merged.settled())
}

fn keep_better<K: Ord, T>(
    best: &mut BTreeMap<K, T>,
    key: K,
    entry: T,
    compare: fn(&T, &T) -> Ordering,
) {
    let is_better = best
        .get(&key)
        .is_none_or(|known| compare(&entry, known) == Ordering::Greater);
    if is_better {
        best.insert(key, entry);
    }
}

/// Whether an entry is worth more than another one for the same thing.
fn compare_entries(a: &Entry, b: &Entry) -> Ordering {
    // One that was stored against the noise is worth less than any that was not.
    let merit = |e: &Entry| (!e.noisy, e.rigor, e.date.clone());
    (merit(a).cmp(&merit(b)))
        .then(time(b.median_us).total_cmp(&time(a.median_us)))
        .then_with(|| text(a).cmp(&text(b)))
}

/// 0 is no time.
fn time(us: f64) -> f64 {
    if us > 0.0 { us } else { f64::INFINITY }
}

/// The same for several tokens.
fn compare_batches(a: &BatchEntry, b: &BatchEntry) -> Ordering {
    let merit = |e: &BatchEntry| (e.rigor, e.date.clone());
    (merit(a).cmp(&merit(b)))
        .then(time(b.median_us).total_cmp(&time(a.median_us)))
        .then_with(|| text(a).cmp(&text(b)))
}

/// The profile with the entries of `new` in place of its own for the same shapes and thread counts, and for several tokens of these.
///
/// # Errors
///
/// They are of different CPUs.
pub fn replaced(mut old: Profile, new: Profile) -> Result<Profile, MergeError> {
    let is_new = |rows, cols, threads| {
        let mut entries = new.entries.iter();
        entries.any(|e| (e.rows, e.cols, e.threads) == (rows, cols, threads))
    };
    old.entries.retain(|e| !is_new(e.rows, e.cols, e.threads));
    old.batches.retain(|e| !is_new(e.rows, e.cols, e.threads));
    merge(old, new)
}

fn text<T: Serialize>(entry: &T) -> String {
    // Numbers and strings: that always serialises.
    toml::to_string(entry).unwrap_or_default()
}

/// How two profiles differ in one thing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// What for: shape, threads, tokens.
    pub name: String,
    /// What the first profile says; `None` if it has no entry.
    pub first: Option<Side>,
    /// What the second says.
    pub second: Option<Side>,
}

/// One side of a [`Difference`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Side {
    /// Kernel and, for one token, its tile.
    pub choice: String,
    /// Median time in microseconds; 0 if it was not timed.
    pub median_us: f64,
}

/// The entries that only one of two profiles has, or for which they choose differently. Those that differ in nothing but times
/// are left out.
pub fn differences(a: &Profile, b: &Profile) -> Vec<Difference> {
    type Sides = BTreeMap<Key, (String, Side)>;
    let sides = |profile: &Profile| -> Sides {
        let gemv = profile.entries.iter().map(|e| {
            let choice = format!("{} {}", e.kernel, crate::tile_text(&e.tile));
            (e.key(), (e.name(), side(choice, e.median_us)))
        });
        let batch = profile.batches.iter().map(|e| {
            let choice = format!("{} on {}", e.kernel, e.packing);
            (e.key(), (e.name(), side(choice, e.median_us)))
        });
        gemv.chain(batch).collect()
    };
    let (mut first, mut second) = (sides(a), sides(b));
    let mut keys: Vec<Key> = first.keys().chain(second.keys()).cloned().collect();
    keys.sort_unstable();
    keys.dedup();
    let difference = |key: Key| {
        let (a, b) = (first.remove(&key), second.remove(&key));
        let name = a.as_ref().or(b.as_ref())?.0.clone();
        let (first, second) = (a.map(|(_, side)| side), b.map(|(_, side)| side));
        let choice = |side: &Option<Side>| side.as_ref().map(|side| side.choice.clone());
        (choice(&first) != choice(&second)).then_some(Difference {
            name,
            first,
            second,
        })
    };
    keys.into_iter().filter_map(difference).collect()
}

fn side(choice: String, median_us: f64) -> Side {
    Side { choice, median_us }
}

#[cfg(test)]
#[path = "profiles_tests.rs"]
mod tests;
