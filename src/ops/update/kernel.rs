//! The kernels over segments, rendered of the files in `shaders/update/`; a rule's is named after the rule.
use super::formula::Formula;
use super::segment::{BLOCK, CONSTANTS, MAX_SEGMENTS};
use crate::ops::conv2d::render;
use crate::ops::wgsl::wgsl;
use minijinja::context;

const SEGMENTS: &str = wgsl!("update/segments").source;
const STEP: &str = wgsl!("update/step").source;
const ACCUMULATE: &str = wgsl!("update/accumulate").source;
const CHECK: &str = wgsl!("update/check").source;
const SQUARES: &str = wgsl!("update/squares").source;

/// What is done with every segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UpdateKernel {
    /// The step of a rule.
    Step(&'static Formula),
    /// The gradients are added to sums.
    Accumulate,
    /// The gradients are searched for overflows.
    Check,
    /// The gradients' squares are added up.
    Squares,
}

impl UpdateKernel {
    /// Everything that the kernels are rendered of, `shaders/update/`.
    pub const SOURCES: [&str; 5] = [SEGMENTS, STEP, ACCUMULATE, CHECK, SQUARES];

    /// A name for people and files.
    pub fn label(self) -> String {
        match self {
            UpdateKernel::Step(formula) => format!("update.{}", formula.name),
            UpdateKernel::Accumulate => "accumulate".to_string(),
            UpdateKernel::Check => "gradient_check".to_string(),
            UpdateKernel::Squares => "gradient_squares".to_string(),
        }
    }

    /// The module's WGSL source.
    pub fn wgsl(self) -> String {
        let (part, formula) = match self {
            UpdateKernel::Step(formula) => (STEP, Some(formula)),
            UpdateKernel::Accumulate => (ACCUMULATE, None),
            UpdateKernel::Check => (CHECK, None),
            UpdateKernel::Squares => (SQUARES, None),
        };
        let mut constants: Vec<String> = formula.map_or(Vec::new(), |formula| {
            formula.constants.iter().map(|c| c.to_string()).collect()
        });
        assert!(constants.len() <= CONSTANTS, "too many constants");
        constants.extend((constants.len()..CONSTANTS).map(|i| format!("unused_{i}")));
        let context = context! {
            block => BLOCK,
            segments => MAX_SEGMENTS,
            constants,
            corrected => formula.is_some_and(|formula| formula.averages > 0),
            states => formula.map(|formula| formula.tensors()),
            formula => formula.map(|formula| formula.wgsl.trim()),
        };
        render(&[SEGMENTS, part], context)
    }
}
