//! Where parameters that one node updates lie in their pack, and their gradients in theirs.
use crate::tensor::TensorDesc;
use anyhow::{Result, ensure};

/// Most segments of one node: the table of them lies in the kernel's uniform block, which stays within 16 KiB.
pub const MAX_SEGMENTS: usize = 511;

/// Most constants of a rule: the words of the uniform block that the table of segments leaves.
pub const CONSTANTS: usize = 6;

/// Elements per workgroup of the kernels, and per task on the CPU.
pub const BLOCK: usize = 1024;

/// One parameter among those that a node updates. Places and lengths count elements.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Segment {
    /// Its first element in the pack of the parameters, and in those of the states beside them.
    pub p: usize,
    /// Its elements.
    pub len: usize,
    /// The first element of its first partial gradient in the pack of the gradients; the others follow.
    pub g: usize,
    /// Partial gradients to add up, from first to last; 0 where the gradient is zero.
    pub partials: usize,
    /// Its learning rate in units of the step's.
    pub lr_scale: f32,
    /// Its weight decay, as its rule understands it.
    pub weight_decay: f32,
}

impl Segment {
    /// A parameter with a whole gradient, the step's learning rate and no weight decay.
    pub fn new(p: usize, len: usize, g: usize) -> Segment {
        Segment {
            p,
            len,
            g,
            partials: 1,
            lr_scale: 1.0,
            weight_decay: 0.0,
        }
    }

    /// Blocks of its elements.
    pub fn blocks(&self) -> usize {
        self.len.div_ceil(BLOCK)
    }
}

/// Blocks of all segments.
pub fn blocks(segments: &[Segment]) -> usize {
    segments.iter().map(Segment::blocks).sum()
}

/// Errs unless the segments are few enough and inside the gradients `g` and `len` elements of parameters.
pub fn check(segments: &[Segment], g: TensorDesc, len: usize) -> Result<()> {
    ensure!(g == TensorDesc::f32(g.shape), "gradients {g} are not f32");
    let count = segments.len();
    ensure!(
        count <= MAX_SEGMENTS,
        "{count} segments are more than {MAX_SEGMENTS}"
    );
    for s in segments {
        ensure!(
            s.p + s.len <= len && s.g + s.partials * s.len <= g.shape.len(),
            "{s:?} is not inside {len} parameters and their gradients {g}"
        );
    }
    Ok(())
}

/// The sum of the partial gradients of a block, and as many zeros as it is shorter than others.
pub fn gradient(s: &Segment, g: &[f32], block: usize) -> [f32; BLOCK] {
    let first = block * BLOCK;
    let len = BLOCK.min(s.len - first);
    let mut sum = [0.0; BLOCK];
    for part in 0..s.partials {
        let g = &g[s.g + part * s.len + first..][..len];
        sum.iter_mut().zip(g).for_each(|(sum, g)| *sum += g);
    }
    sum
}

/// The kernels' uniform block: the table of the segments behind the constants of a rule.
pub fn params(segments: &[Segment], scaled: bool, constants: &[f32]) -> Vec<u32> {
    let mut params = vec![segments.len() as u32, u32::from(scaled)];
    params.extend(constants.iter().map(|c| c.to_bits()));
    params.resize(2 + CONSTANTS, 0);
    let mut group = 0;
    for s in segments {
        params.extend([group, s.p, s.len, s.g, s.partials].map(|v| v as u32));
        params.extend([s.lr_scale.to_bits(), s.weight_decay.to_bits(), 0]);
        group += s.blocks();
    }
    // The uniform block has a fixed size.
    params.resize(2 + CONSTANTS + 8 * MAX_SEGMENTS, 0);
    params
}
