//! The least time that a dispatch takes on a card: its arithmetic or its traffic, whichever is longer.
use super::{Dispatch, Plan};

/// What a kernel reaches of a card's arithmetic, of its bandwidth, and what its launch costs in seconds.
const ALU_SHARE: f64 = 0.55;
const BANDWIDTH_SHARE: f64 = 0.8;
const LAUNCH: f64 = 5e-6;

/// A card's peaks.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Roofline {
    /// f32 operations per second, a multiply-add counted as two.
    pub flops: f64,
    /// Bytes per second.
    pub bandwidth: f64,
}

impl Roofline {
    /// Seconds that a dispatch would take at the card's peaks.
    pub fn bound(&self, dispatch: &Dispatch) -> f64 {
        let arithmetic = dispatch.flops() as f64 / self.flops;
        arithmetic.max(dispatch.bytes() as f64 / self.bandwidth)
    }

    /// Seconds that a good kernel takes: max(FLOPs / 55 % of the peak, bytes / 80 % of the bandwidth) + 5 µs.
    pub fn seconds(&self, dispatch: &Dispatch) -> f64 {
        let reached = Roofline {
            flops: self.flops * ALU_SHARE,
            bandwidth: self.bandwidth * BANDWIDTH_SHARE,
        };
        reached.bound(dispatch) + LAUNCH
    }

    /// Seconds of one run of a plan, its dispatches one after the other.
    pub fn run(&self, plan: &Plan) -> f64 {
        plan.dispatches.iter().map(|d| self.seconds(d)).sum()
    }
}
