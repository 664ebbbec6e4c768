//! A case: a small graph with contents for its inputs and states, and how one is made.
use anyhow::Result;
use resnet::graph::{Graph, Kind, TensorId, backward};
use resnet::tensor::{DType, Shape, TensorDesc};

/// A graph, with its backward pass where it has one, and what its inputs and states hold.
#[derive(Default)]
pub struct Case {
    pub name: String,
    pub g: Graph,
    /// Contents of every input and state before the run.
    pub data: Vec<(TensorId, Vec<u8>)>,
    /// The result that the gradient is taken of, and the input with its weights `dy`.
    pub seed: Option<(TensorId, TensorId)>,
    /// Number of nodes before the backward pass.
    pub forward: usize,
    /// Tensors and their gradients.
    pub gradients: Vec<(TensorId, TensorId)>,
    pub numbers: u64,
}

/// A case whose result has a gradient with respect to every f32 input and state that it reads.
pub fn differentiable(name: &str, build: impl FnOnce(&mut Case) -> Result<TensorId>) -> Case {
    let mut case = plain(name, |_| Ok(()));
    let y = build(&mut case).unwrap_or_else(|e| panic!("{name}: {e:#}"));
    case.forward = case.g.nodes().len();
    let dy = case.uniform("dy", case.g.shape(y).0, -1.0, 1.0);
    let grads = backward(&mut case.g, 0..case.forward, &[(y, dy)])
        .unwrap_or_else(|e| panic!("{name}: {e:#}"));
    case.seed = Some((y, dy));
    let known = case.data.iter().map(|(t, _)| *t);
    case.gradients = known
        .filter(|&t| t != dy)
        .filter_map(|t| Some((t, *grads.get(&t)?)))
        .collect();
    case.zero_the_rest();
    case
}

/// A case without a gradient.
pub fn plain(name: &str, build: impl FnOnce(&mut Case) -> Result<()>) -> Case {
    let mut case = Case {
        name: name.to_string(),
        ..Default::default()
    };
    build(&mut case).unwrap_or_else(|e| panic!("{name}: {e:#}"));
    case.forward = case.g.nodes().len();
    case.zero_the_rest();
    case
}

impl Case {
    /// Gives zeros to the inputs and states that were given nothing, as the backends do.
    fn zero_the_rest(&mut self) {
        for (t, tensor) in self.g.tensors() {
            let known = self.data.iter().any(|(known, _)| *known == t);
            if tensor.kind != Kind::Value && !known {
                self.data.push((t, vec![0; tensor.desc.bytes()]));
            }
        }
    }

    /// The next pseudo-random number (splitmix64), the same in every run.
    fn next(&mut self) -> u64 {
        self.numbers = self.numbers.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.numbers ^ (self.numbers >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to less than 1.
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32
    }

    fn contents(&mut self, t: TensorId, values: Vec<f32>) -> TensorId {
        self.data.push((t, bytemuck::cast_slice(&values).to_vec()));
        t
    }

    /// An input of numbers between two bounds.
    pub fn uniform(&mut self, name: &str, shape: [usize; 4], low: f32, high: f32) -> TensorId {
        let t = self.g.input(name, TensorDesc::f32(Shape(shape)));
        let values = self.draw(shape, low, high);
        self.contents(t, values)
    }

    /// A state of numbers between two bounds.
    pub fn state(&mut self, name: &str, shape: [usize; 4], low: f32, high: f32) -> TensorId {
        let t = self.g.state(name, TensorDesc::f32(Shape(shape)));
        let values = self.draw(shape, low, high);
        self.contents(t, values)
    }

    fn draw(&mut self, shape: [usize; 4], low: f32, high: f32) -> Vec<f32> {
        let one = |_| low + (high - low) * self.unit();
        (0..Shape(shape).len()).map(one).collect()
    }

    /// An input of numbers at least 1/8 away from zero, the kink of ReLU.
    pub fn nonzero(&mut self, name: &str, shape: [usize; 4]) -> TensorId {
        let t = self.g.input(name, TensorDesc::f32(Shape(shape)));
        let mut values = self.draw(shape, -1.0, 1.0);
        for v in &mut values {
            *v += 0.125_f32.copysign(*v);
        }
        self.contents(t, values)
    }

    /// An input of numbers that all differ by at least 1/8: no small step changes which is largest.
    pub fn distinct(&mut self, name: &str, shape: [usize; 4]) -> TensorId {
        let t = self.g.input(name, TensorDesc::f32(Shape(shape)));
        let count = Shape(shape).len();
        let mut values: Vec<f32> = (0..count)
            .map(|i| (i as f32 - count as f32 / 2.0) / 8.0)
            .collect();
        for i in (1..count).rev() {
            let j = (self.next() % (i as u64 + 1)) as usize;
            values.swap(i, j);
        }
        self.contents(t, values)
    }

    /// An input of whole numbers below a bound.
    pub fn below(&mut self, name: &str, shape: [usize; 4], dtype: DType, bound: u64) -> TensorId {
        let shape = Shape(shape);
        let t = self.g.input(name, TensorDesc { shape, dtype });
        let values: Vec<u32> = (0..shape.len())
            .map(|_| (self.next() % bound) as u32)
            .collect();
        let bytes = match dtype {
            DType::U8 => values.iter().map(|&v| v as u8).collect(),
            DType::U32 => bytemuck::cast_slice(&values).to_vec(),
            DType::F32 | DType::F16 | DType::Bf16 => panic!("whole numbers are not {dtype}"),
        };
        self.data.push((t, bytes));
        t
    }

    /// Every value that a node makes.
    pub fn values(&self) -> Vec<TensorId> {
        let made = self.g.nodes().iter().flat_map(|node| &node.outputs);
        made.filter(|t| self.g.tensor(**t).kind == Kind::Value)
            .copied()
            .collect()
    }

    /// The values that nobody reads: what a run is for.
    pub fn results(&self) -> Vec<TensorId> {
        let read = |t: &TensorId| self.g.nodes().iter().any(|node| node.inputs.contains(t));
        self.values().into_iter().filter(|t| !read(t)).collect()
    }
}
