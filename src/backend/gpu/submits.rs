//! Where a run is cut into several submits. Windows resets a GPU that works on one submit for two
//! seconds, which a slow integrated card would take for a large batch.
use crate::plan::{Plan, Roofline};
use std::ops::Range;

/// The longest that a submit may take by our estimate, in seconds.
const LONGEST: f64 = 0.2;

/// An integrated GPU of the year 2013: none that offers Vulkan, Metal or DX12 is much slower. It
/// stands in for the device until a run was timed.
const SLOW: Roofline = Roofline {
    flops: 0.3e12,
    bandwidth: 20e9,
};

/// Runs whose time is taken. The first may contain the driver's own compilation.
const TIMED: usize = 2;

/// The submits of a plan.
pub struct Submits {
    /// Estimates for each dispatch on [`SLOW`], in seconds.
    estimates: Vec<f64>,
    ranges: Vec<Range<usize>>,
    timed: usize,
    fastest: f64,
}

impl Submits {
    pub fn new(plan: &Plan) -> Submits {
        let estimates: Vec<f64> = plan.dispatches.iter().map(|d| SLOW.seconds(d)).collect();
        Submits {
            ranges: cut(&estimates, LONGEST),
            estimates,
            timed: 0,
            fastest: f64::INFINITY,
        }
    }

    /// The dispatches of each submit.
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// Whether the next run is to be timed.
    pub fn is_timed(&self) -> bool {
        self.timed < TIMED
    }

    /// Cuts anew, knowing what a whole run took in seconds.
    pub fn measured(&mut self, seconds: f64) {
        self.timed += 1;
        self.fastest = self.fastest.min(seconds);
        let estimated: f64 = self.estimates.iter().sum();
        self.ranges = cut(&self.estimates, LONGEST * estimated / self.fastest);
    }
}

/// Consecutive ranges of which none takes longer than `longest`, unless a single dispatch does.
fn cut(estimates: &[f64], longest: f64) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let (mut start, mut sum) = (0, 0.0);
    for (i, seconds) in estimates.iter().enumerate() {
        if i > start && sum + seconds > longest {
            ranges.push(start..i);
            (start, sum) = (i, 0.0);
        }
        sum += seconds;
    }
    if start < estimates.len() {
        ranges.push(start..estimates.len());
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_submit_is_longer_than_allowed_unless_one_dispatch_is() {
        let estimates = [1.0, 2.0, 1.5, 0.5, 9.0, 1.0];
        assert_eq!(cut(&estimates, 3.0), [0..2, 2..4, 4..5, 5..6]);
        assert_eq!(cut(&estimates, 15.0).len(), 1);
        assert_eq!(cut(&estimates, 0.1).len(), 6);
        assert!(cut(&[], 1.0).is_empty());
    }

    #[test]
    fn the_measured_time_decides_and_the_fastest_run_counts() {
        let mut submits = Submits {
            estimates: vec![0.1; 10],
            ranges: Vec::new(),
            timed: 0,
            fastest: f64::INFINITY,
        };
        submits.measured(10.0);
        assert_eq!(submits.ranges().len(), 10);
        assert!(submits.is_timed());
        submits.measured(0.05);
        assert_eq!(submits.ranges().len(), 1);
        assert!(!submits.is_timed());
    }
}
