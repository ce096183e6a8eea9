//! The middle of some samples and how far they scatter: median and MAD.
//!
//! Timings on a shared machine have a long tail to the slow side: one interrupt makes a sample ten times longer. The
//! mean follows such a sample, the median does not. Scatter is given as the median absolute deviation (MAD) for the
//! same reason. The samples are kept, so that a record can be judged again later.

use serde::{Deserialize, Serialize};

/// Factor from a MAD to the standard deviation of normally distributed samples, 1 / 0.6745.
const SIGMA_PER_MAD: f64 = 1.4826;

/// Standard error of a median relative to that of a mean, sqrt(pi / 2), for normally distributed samples.
const MEDIAN_PENALTY: f64 = 1.2533;

/// A time in microseconds, to the nanosecond: that is as fine as profiles and logs need, more digits only make them longer.
pub(crate) fn rounded(us: f64) -> f64 {
    (us * 1000.0).round() / 1000.0
}

/// Median, scatter and the samples themselves, all in the samples' own unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle sample (the mean of the two middle ones if their number is even).
    pub median: f64,
    /// Median absolute deviation from the median.
    pub mad: f64,
    /// Every sample, in the order in which they were taken.
    pub samples: Vec<f64>,
}

impl Spread {
    /// Summarises `samples`; `None` if there are none.
    pub fn of(samples: Vec<f64>) -> Option<Spread> {
        if samples.is_empty() {
            return None;
        }
        let median = median(&samples);
        let deviations: Vec<f64> = samples
            .iter()
            .map(|sample| (sample - median).abs())
            .collect();
        let mad = self::median(&deviations);
        Some(Spread {
            median,
            mad,
            samples,
        })
    }

    /// Standard error of the median, estimated from the MAD: what a difference must exceed to mean anything.
    pub fn error(&self) -> f64 {
        MEDIAN_PENALTY * SIGMA_PER_MAD * self.mad / (self.samples.len() as f64).sqrt()
    }

    /// The MAD as a share of the median.
    pub fn relative_mad(&self) -> f64 {
        if self.median == 0.0 {
            0.0
        } else {
            self.mad / self.median
        }
    }

    /// Median and scatter of `numerator[i] / denominator[i]`: samples of the same round saw the same state of the
    /// machine, so their ratio is steadier than the ratio of the medians. Surplus samples of either are ignored.
    pub fn ratio(numerator: &[f64], denominator: &[f64]) -> Option<Spread> {
        Spread::of(
            numerator
                .iter()
                .zip(denominator)
                .map(|(a, b)| a / b)
                .collect(),
        )
    }
}

/// The median of `samples`, which must not be empty.
fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_mad_ignore_one_wild_sample() {
        let spread = Spread::of(vec![10.0, 11.0, 9.0, 10.0, 500.0]).unwrap();
        assert_eq!((spread.median, spread.mad), (10.0, 1.0));
        assert_eq!(spread.samples.len(), 5);
    }

    #[test]
    fn an_even_number_of_samples_has_its_median_between_the_middle_two() {
        assert_eq!(Spread::of(vec![4.0, 1.0, 3.0, 2.0]).unwrap().median, 2.5);
    }

    #[test]
    fn no_samples_have_no_spread() {
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn paired_ratio_cancels_drift_that_both_saw() {
        let ratio = Spread::ratio(&[10.0, 20.0, 30.0], &[5.0, 10.0, 15.0]).unwrap();
        assert_eq!((ratio.median, ratio.mad, ratio.error()), (2.0, 0.0, 0.0));
    }
}
