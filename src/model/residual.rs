//! The residual blocks of a network in a graph: which tensors each of them adds up.
use super::{Layer, LayerKind, Network};
use crate::graph::{Graph, TensorId};

/// A residual block: it computes `branch + shortcut` of its input, and a ReLU of that unless it is one of
/// pre-activation.
#[derive(Clone, Debug)]
pub struct Residual {
    /// PyTorch's name, such as `layer2.0`.
    pub name: String,
    /// What it computes from, x.
    pub input: TensorId,
    /// What its layers with weights make of that, F(x).
    pub branch: TensorId,
    /// What the branch is added to: x itself, or a projection where the shape changes.
    pub shortcut: TensorId,
    /// The output of the ReLU after the sum, or of the first one of a pre-activation block.
    pub relu: TensorId,
}

impl Residual {
    /// Whether the shortcut is a projection of x.
    pub fn projects(&self) -> bool {
        self.shortcut != self.input
    }
}

impl Network {
    /// Its residual blocks in order of execution, in the graph that it was built in and before that is fused: the sums
    /// are nodes of their own there.
    pub fn residuals(&self, g: &Graph) -> Vec<Residual> {
        let sums = self.layers.iter().enumerate();
        let sums = sums.filter(|(_, layer)| layer.kind == LayerKind::Add);
        let residual = |(at, sum): (usize, &Layer)| {
            let name = sum.name.strip_suffix("add")?;
            let first = self.layers.iter().position(|l| l.name.starts_with(name))?;
            let is_relu = |l: &&Layer| l.kind == LayerKind::Relu && l.name.starts_with(name);
            let after_sum = self.layers.get(at + 1).filter(is_relu);
            let relu = after_sum.or_else(|| self.layers.iter().find(is_relu))?;
            let node = g.nodes().iter().find(|n| n.outputs == [sum.output])?;
            let &[branch, shortcut] = &node.inputs[..] else {
                return None;
            };
            Some(Residual {
                name: name.trim_end_matches('.').to_string(),
                input: self.layers[first.checked_sub(1)?].output,
                branch,
                shortcut,
                relu: relu.output,
            })
        };
        sums.filter_map(residual).collect()
    }
}
