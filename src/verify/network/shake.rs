//! How much coarser arithmetic may change a network's results: measured by changing its weights.
//!
//! A format of fewer digits rounds what every layer reads and writes. A change of every weight by a unit roundoff does
//! the same to every layer's results and, on the way back, to its gradients. So what it makes of a result in f32 is what
//! the format may make of it, for any network and device, ReLUs that change their sign included.

/// Each weight times `1 ± by`, the sign by chance.
#[derive(Clone, Copy, Debug)]
pub struct Shake {
    /// The relative change.
    pub by: f64,
    /// Which signs.
    pub seed: u64,
}

/// Runs with other signs. The largest of their changes is taken.
const RUNS: u64 = 6;

/// What begins the names of all results of changed weights.
const PREFIX: &str = "shaken";

impl Shake {
    /// The changes that stand for a format with this unit roundoff; none for an exact one.
    pub fn all(by: f64) -> impl Iterator<Item = Shake> {
        let runs = if by > 0.0 { RUNS } else { 0 };
        (0..runs).map(move |seed| Shake { by, seed })
    }

    /// What a result of the changed weights is called.
    pub fn name(self, result: &str) -> String {
        format!("{PREFIX} {:e} {}/{result}", self.by, self.seed)
    }

    /// Changes the values of parameter number `param`.
    pub fn apply(self, param: usize, values: &mut [f32]) {
        let mut state = self.seed << 32 | param as u64;
        for v in values {
            // splitmix64
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let by = if z >> 63 == 0 { self.by } else { -self.by };
            *v = (f64::from(*v) * (1.0 + by)) as f32;
        }
    }
}

/// Whether a result is one of changed weights.
pub fn is_shaken(name: &str) -> bool {
    name.starts_with(PREFIX)
}
