//! What a rule of update says about itself. One file per rule: its formula in WGSL and in Rust side by side.

/// Most tensors that a rule changes: the parameters and two states beside them.
pub const MAX_TENSORS: usize = 3;

/// The part of a rule that its kernel is made of.
#[derive(PartialEq, Eq, Hash, Debug)]
pub struct Formula {
    /// The rule's name, with that of its variant if it has several.
    pub name: &'static str,
    /// Names of the numbers that are the same for all parameters, at most six: `params.<name>` in `wgsl`.
    pub constants: &'static [&'static str],
    /// How many of the first constants are `1 − β` of averages that start at zero. For each of them `wgsl` has
    /// `correction[i]`, what the weights in it add up to; see `BiasCorrection`.
    pub averages: usize,
    /// The states of a parameter, which have its shape and start at zero. A checkpoint calls them
    /// `<state>.<parameter>`.
    pub states: &'static [&'static str],
    /// What happens to an element: from its gradient `g`, `lr` and `weight_decay` to new values of the variables
    /// `p` and those called like the states.
    pub wgsl: &'static str,
    /// Floating-point operations per element.
    pub flops: usize,
}

impl Formula {
    /// The variables that it changes: the parameter and its states.
    pub fn tensors(&self) -> Vec<&'static str> {
        ["p"]
            .into_iter()
            .chain(self.states.iter().copied())
            .collect()
    }
}

/// What is the same for all elements of a segment.
pub struct Rates<'a> {
    /// Learning rate.
    pub lr: f32,
    /// Weight decay.
    pub weight_decay: f32,
    /// What the weights in each average add up to.
    pub correction: &'a [f32],
}

/// What every rule says about itself.
pub trait RuleDef: Sync {
    /// Its kernel.
    fn formula(&self) -> &'static Formula;

    /// The values of the formula's constants.
    fn constants(&self) -> Vec<f32>;

    /// The formula on the CPU, for some elements with the gradients `g`: parameters first, then the states in their
    /// order. States that the rule does not have are empty.
    fn step(&self, rates: &Rates, g: &[f32], tensors: [&mut [f32]; MAX_TENSORS]);
}
