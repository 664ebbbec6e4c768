//! Whether a classifier is as often right as it says.

/// Bins of confidences, as in the paper's figures.
const BINS: usize = 15;

/// Confidences in bins of equal width, with what was right among them.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Calibration {
    bins: [Bin; BINS],
}

#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Bin {
    examples: u64,
    right: u64,
    /// Sum of the confidences.
    confidence: f64,
}

impl Calibration {
    /// Adds an answer: the probability of the predicted class, and whether that is the true one.
    pub fn add(&mut self, confidence: f64, right: bool) {
        // A bin has its upper bound and not its lower one.
        let at = (confidence * BINS as f64).ceil() as usize;
        let bin = &mut self.bins[at.clamp(1, BINS) - 1];
        bin.examples += 1;
        bin.right += u64::from(right);
        bin.confidence += confidence;
    }

    /// The expected calibration error: the mean over all answers of the distance between accuracy and mean confidence in
    /// their bin (Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks", equation 3,
    /// <https://arxiv.org/abs/1706.04599>). NaN where there was no answer.
    pub fn error(&self) -> f64 {
        let all: u64 = self.bins.iter().map(|bin| bin.examples).sum();
        let distance = |bin: &Bin| (bin.right as f64 - bin.confidence).abs();
        self.bins.iter().map(distance).sum::<f64>() / all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_the_mean_distance_of_confidence_and_accuracy() {
        let mut calibration = Calibration::default();
        // Four answers of 0.9 of which three are right, and one of 0.5 that is wrong.
        for right in [true, true, true, false] {
            calibration.add(0.9, right);
        }
        calibration.add(0.5, false);
        let want = (4.0 * (0.9 - 0.75) + 0.5) / 5.0;
        assert!((calibration.error() - want).abs() < 1e-12);
    }

    #[test]
    fn a_bound_belongs_to_the_bin_below_it() {
        let mut calibration = Calibration::default();
        for (confidence, bin) in [(0.0, 0), (1.0 / 15.0, 0), (0.0667, 1), (1.0, 14)] {
            calibration = Calibration::default();
            calibration.add(confidence, true);
            assert_eq!(calibration.bins[bin].examples, 1, "{confidence}");
        }
        assert_eq!(calibration.error(), 0.0);
    }
}
