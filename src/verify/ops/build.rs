//! The graph of a case: its given tensors as inputs and states, the op, and its backward pass seeded
//! with the case's `dy`.
use super::attrs::Attrs;
use super::images::{ImageStorage, gives_images};
use crate::graph::{self, Gradients, Graph, TensorId};
use crate::ops::{BatchNorm, Fill};
use crate::tensor::{Shape, TensorDesc};
use crate::verify::{
    golden::Tensors,
    layout::Layout,
    manifest::OpEntry,
    replay::{PlanRun, Read, Stage, bytes},
};
use anyhow::{Context, Result, bail, ensure};

/// Appends a case to the graph.
///
/// # Errors
/// When the op or an attribute is not known, or a tensor is missing or does not fit.
pub fn stages(
    g: &mut Graph,
    entry: &OpEntry,
    tensors: &Tensors,
    images: ImageStorage,
) -> Result<Vec<Stage>> {
    let start = g.nodes().len();
    let case = Build {
        g,
        entry,
        tensors,
        images,
        start,
        run: PlanRun::default(),
    };
    let runs = match entry.op.as_str() {
        "conv2d" => case.conv2d(),
        "batch_norm" => case.batch_norm(),
        "relu" => case.relu(),
        "max_pool" => case.max_pool(),
        "global_avg_pool" => case.global_avg_pool(),
        "linear" => case.linear(),
        "cross_entropy" => case.cross_entropy(),
        "sgd" => case.sgd(),
        "adamw" => case.adamw(),
        op => bail!("the op {op} is not known"),
    }?;
    let nodes = start..g.nodes().len();
    Ok(vec![Stage { nodes, runs }])
}

/// A case while its graph grows.
pub(super) struct Build<'a> {
    pub(super) g: &'a mut Graph,
    entry: &'a OpEntry,
    pub(super) tensors: &'a Tensors<'a>,
    images: ImageStorage,
    /// The case's first node.
    start: usize,
    /// The case's first run.
    pub(super) run: PlanRun,
}

impl Build<'_> {
    fn conv2d(mut self) -> Result<Vec<PlanRun>> {
        let window = self.attrs(&["kernel", "stride", "pad"])?.window(Some(1))?;
        let (x, w, b) = self.weighted()?;
        let y = self.g.conv2d(x, w, b, window)?;
        self.finish_weighted(x, w, b, y)
    }

    fn linear(mut self) -> Result<Vec<PlanRun>> {
        self.attrs(&[])?;
        let (x, w, b) = self.weighted()?;
        let b = b.context("the op linear needs the input b")?;
        let y = self.g.linear(x, w, b)?;
        self.finish_weighted(x, w, Some(b), y)
    }

    fn weighted(&mut self) -> Result<(TensorId, TensorId, Option<TensorId>)> {
        let x = match self.entry.op.as_str() {
            "conv2d" => self.image("x")?,
            _ => self.input("x", Layout::Activation)?,
        };
        let w = self.input("w", Layout::Weight)?;
        let b = match self.given("b") {
            true => Some(self.input("b", Layout::Activation)?),
            false => None,
        };
        Ok((x, w, b))
    }

    fn finish_weighted(
        mut self,
        x: TensorId,
        w: TensorId,
        b: Option<TensorId>,
        y: TensorId,
    ) -> Result<Vec<PlanRun>> {
        self.read("y", y, Layout::Activation);
        let grads = self.backward(y)?;
        self.read_grad(&grads, "dx", x, Layout::Activation);
        self.read_grad(&grads, "dw", w, Layout::Weight);
        if let Some(b) = b {
            self.read_grad(&grads, "db", b, Layout::Activation);
        }
        Ok(vec![self.run])
    }

    fn relu(mut self) -> Result<Vec<PlanRun>> {
        self.attrs(&[])?;
        let x = self.image("x")?;
        let y = self.g.relu(x)?;
        self.finish(x, y)
    }

    fn max_pool(mut self) -> Result<Vec<PlanRun>> {
        let window = self.attrs(&["kernel", "stride", "pad"])?.window(None)?;
        let x = self.image("x")?;
        let y = self.g.max_pool(x, window)?;
        let node = self.g.nodes().last().context("the pooling made a node")?;
        self.read("indices", node.outputs[1], Layout::Activation);
        self.finish(x, y)
    }

    fn global_avg_pool(mut self) -> Result<Vec<PlanRun>> {
        self.attrs(&[])?;
        let x = self.image("x")?;
        let y = self.g.global_avg_pool(x)?;
        self.finish(x, y)
    }

    fn finish(mut self, x: TensorId, y: TensorId) -> Result<Vec<PlanRun>> {
        self.read("y", y, Layout::Activation);
        let grads = self.backward(y)?;
        self.read_grad(&grads, "dx", x, Layout::Activation);
        Ok(vec![self.run])
    }

    fn batch_norm(mut self) -> Result<Vec<PlanRun>> {
        let attrs = self.attrs(&["eps", "momentum", "training"])?;
        let training = attrs.flag("training")?;
        let eps = attrs.number_or("eps", 1e-5)? as f32;
        let momentum = attrs.number_or("momentum", 0.1)? as f32;
        let x = self.image("x")?;
        let bn = BatchNorm {
            gamma: self.state("gamma", Layout::Activation)?,
            beta: self.state("beta", Layout::Activation)?,
            running_mean: self.state("running_mean", Layout::Activation)?,
            running_var: self.state("running_var", Layout::Activation)?,
        };
        let y = match training {
            true => self.g.batch_norm_train(x, &bn, eps, momentum)?,
            false => self.g.batch_norm_eval(x, &bn, eps)?,
        };
        self.read("y", y, Layout::Activation);
        let grads = self.backward(y)?;
        self.read_grad(&grads, "dx", x, Layout::Activation);
        self.read_grad(&grads, "dgamma", bn.gamma, Layout::Activation);
        self.read_grad(&grads, "dbeta", bn.beta, Layout::Activation);
        if !training {
            return Ok(vec![self.run]);
        }
        self.read("running_mean_1", bn.running_mean, Layout::Activation);
        self.read("running_var_1", bn.running_var, Layout::Activation);
        let mut second = self.tensors.f32(&self.full("x"))?;
        second.data.iter_mut().for_each(|x| *x = *x * 0.5 + 0.25);
        let (_, second) = self.images.store(&Layout::Activation.to_ours(&second)?);
        let second = PlanRun {
            writes: vec![(x, second)],
            reads: vec![
                Read::new("running_mean_2", bn.running_mean, Layout::Activation),
                Read::new("running_var_2", bn.running_var, Layout::Activation),
            ],
        };
        Ok(vec![self.run, second])
    }

    fn cross_entropy(mut self) -> Result<Vec<PlanRun>> {
        let attrs = self.attrs(&["label_smoothing"])?;
        let smoothing = attrs.number_or("label_smoothing", 0.0)? as f32;
        let logits = self.input("logits", Layout::Activation)?;
        let values = self.tensors.u32(&self.full("labels"))?;
        let classes = self.g.shape(logits).c();
        ensure!(
            values.data.iter().all(|&label| (label as usize) < classes),
            "a label is not less than the {classes} classes"
        );
        let desc = TensorDesc::u32(Layout::Examples.shape(&values.shape)?);
        let labels = self.g.input("labels", desc);
        self.run.writes.push((labels, bytes(&values.data)));
        let [losses, correct] = self.g.cross_entropy(logits, labels, None, smoothing)?;

        // From cursor 0 the mean goes to the first slot of the log.
        let log = self.g.log_loss(losses, correct)?;
        self.run.writes.push((log.cursor, bytes(&[0_u32])));
        self.read("loss", log.loss, Layout::First);

        let shape = self.g.shape(losses);
        let value = 1.0 / shape.len() as f32;
        let seed = self.g.push1(Fill { value, shape }, &[])?;
        let nodes = self.start..self.g.nodes().len();
        let grads = graph::backward(self.g, nodes, &[(losses, seed)])?;
        self.read_grad(&grads, "dlogits", logits, Layout::Activation);
        Ok(vec![self.run])
    }

    pub(super) fn attrs(&self, known: &[&str]) -> Result<Attrs<'_>> {
        Attrs::new(&self.entry.attrs, known)
    }

    fn given(&self, name: &str) -> bool {
        self.entry.inputs.iter().any(|input| input == name)
    }

    /// The name of a given tensor in the file.
    pub(super) fn full(&self, name: &str) -> String {
        format!("{}/{name}", self.entry.case)
    }

    /// A given f32 tensor as an input of the graph.
    fn input(&mut self, name: &str, layout: Layout) -> Result<TensorId> {
        let (shape, values) = self.load(name, layout)?;
        let id = self.g.input(name, TensorDesc::f32(shape));
        self.run.writes.push((id, bytes(&values)));
        Ok(id)
    }

    /// Given images, or a gradient of images, as an input of the graph.
    fn image(&mut self, name: &str) -> Result<TensorId> {
        let (shape, values) = self.load(name, Layout::Activation)?;
        let (dtype, bytes) = self.images.store(&values);
        let id = self.g.input(name, TensorDesc { shape, dtype });
        self.run.writes.push((id, bytes));
        Ok(id)
    }

    /// A given f32 tensor as a state of the graph.
    pub(super) fn state(&mut self, name: &str, layout: Layout) -> Result<TensorId> {
        let (shape, values) = self.load(name, layout)?;
        let id = self.g.state(name, TensorDesc::f32(shape));
        self.run.writes.push((id, bytes(&values)));
        Ok(id)
    }

    fn load(&self, name: &str, layout: Layout) -> Result<(Shape, Vec<f32>)> {
        let full = self.full(name);
        let values = self.tensors.f32(&full)?;
        let shape = layout.shape(&values.shape).context(full)?;
        Ok((shape, layout.to_ours(&values)?))
    }

    /// The gradients from the given `dy` of `y` on; none where the case has no `dy`.
    fn backward(&mut self, y: TensorId) -> Result<Gradients> {
        if !self.given("dy") {
            return Ok(Gradients::new());
        }
        let dy = match gives_images(&self.entry.op) {
            true => self.image("dy")?,
            false => self.input("dy", Layout::Activation)?,
        };
        let (got, want) = (self.g.desc(dy), self.g.desc(y));
        ensure!(got == want, "dy is {got}, but y is {want}");
        let nodes = self.start..self.g.nodes().len();
        graph::backward(self.g, nodes, &[(y, dy)])
    }

    /// Reads a result after the first run, if the case wants it.
    fn read(&mut self, name: &str, tensor: TensorId, layout: Layout) {
        if self.entry.wants.contains_key(name) {
            self.run.reads.push(Read::new(name, tensor, layout));
        }
    }

    /// Reads the gradient of `tensor`, if there is one and the case wants it.
    fn read_grad(&mut self, grads: &Gradients, name: &str, tensor: TensorId, layout: Layout) {
        if let Some(&grad) = grads.get(&tensor) {
            self.read(name, grad, layout);
        }
    }
}
