//! Cases of whole networks: the training and evaluation steps that `resnet train` runs, on given weights.
mod verdict;

use super::{
    golden::{Set, Tensors},
    judge::{Case, Check},
    layout::Layout,
    manifest::NetworkEntry,
    replay::{self, PlanRun, Read, Write, bytes},
};
use crate::backend::Backend;
use crate::graph::{Graph, TensorId};
use crate::model::{Arch, Block, Param, Role, Stage};
use crate::ops::{first_scale, resize_taps};
use crate::tensor::DType;
use crate::train::{DataTensors, Optimizer, StepGraph, evaluate, learning_rate, train};
use anyhow::{Result, bail, ensure};
use verdict::{Judge, LOSSES};

/// A case of a network, ready to run.
pub struct NetworkCase<'a> {
    entry: &'a NetworkEntry,
    tensors: Tensors<'a>,
    params: Vec<Param>,
    /// What the gradients are multiplied by.
    scale: f32,
    stages: Vec<replay::Stage>,
    /// The same with images stored as f16 or bfloat16.
    half: Option<(DType, Box<NetworkCase<'a>>)>,
}

impl<'a> NetworkCase<'a> {
    /// Appends the case to the graph, under names that begin with `scope`.
    ///
    /// # Errors
    /// When the network is not known here, or a tensor is missing or does not fit.
    pub fn build(
        g: &mut Graph,
        set: &'a Set,
        entry: &'a NetworkEntry,
        scope: &str,
        stored: DType,
    ) -> Result<NetworkCase<'a>> {
        g.set_scope(scope);
        let mut case = NetworkCase::steps(g, set, entry, DType::F32)?;
        if stored != DType::F32 {
            g.set_scope(format!("{scope}stored/"));
            let half = NetworkCase::steps(g, set, entry, stored)?;
            case.half = Some((stored, Box::new(half)));
        }
        Ok(case)
    }

    /// Appends the network's training step, and its evaluation where the file has weights for it.
    fn steps(
        g: &mut Graph,
        set: &'a Set,
        entry: &'a NetworkEntry,
        stored: DType,
    ) -> Result<NetworkCase<'a>> {
        let tensors = set.tensors(&entry.file)?;
        let arch = arch(entry)?;
        let data = CaseImages::new(g, entry, &tensors, "images_u8", stored)?;
        let labels = tensors.u32("labels")?.data;
        ensure!(
            labels.len() == data.count && data.count >= entry.batch * entry.batches,
            "{} batches of {} need as many images and labels; {} has {} and {}",
            entry.batches,
            entry.batch,
            entry.file,
            data.count,
            labels.len()
        );
        ensure!(
            labels.iter().all(|&label| (label as usize) < entry.classes),
            "{} has a label that is not less than the {} classes",
            entry.file,
            entry.classes
        );
        let plain = Optimizer::sgd(0.0, false, 0.0);
        let lr = learning_rate(g);
        let pass = train(g, &arch, &data.source, entry.batch, plain)?;
        let params = pass.network.params.clone();
        let scale = match pass.scaling {
            Some(_) => first_scale(entry.batch),
            None => 1.0,
        };
        let mut case = NetworkCase {
            entry,
            tensors,
            params,
            scale,
            stages: Vec::new(),
            half: None,
        };

        let mut first = case.step(&pass, "init", "after1", 0)?;
        first.writes.push((data.source.labels, bytes(&labels)));
        first.writes.extend(data.writes);
        first.writes.push((lr, bytes(&[entry.lr])));
        let stages = pass.network.stages.iter().enumerate();
        let stages = stages.map(|(s, &y)| (format!("act/layer{}", s + 1), y));
        let stem = pass.network.layers.iter().find(|l| l.name == "conv1");
        let stem = stem.map(|l| ("act/conv1".to_string(), l.output));
        let logits = ("logits".to_string(), pass.network.logits);
        for (name, y) in stem.into_iter().chain(stages).chain([logits]) {
            case.read(&mut first, &name, y, Layout::Activation);
        }
        for p in case.params.iter().filter(|p| p.trainable()) {
            let gradient = pass.gradients[&p.tensor];
            case.read(&mut first, &format!("grad/{}", p.name), gradient, layout(p));
        }
        let mut runs = vec![first];
        if case.has("ckpt4") {
            runs.push(case.step(&pass, "ckpt4", "after5", 4)?);
        }
        let nodes = pass.nodes;
        case.stages.push(replay::Stage { nodes, runs });

        if case.has("after20") {
            let stage = case.evaluation(g, &arch, stored)?;
            case.stages.push(stage);
        }
        Ok(case)
    }

    /// Runs and judges the case.
    pub fn run(&self, g: &mut Graph, backend: &mut dyn Backend, fuse: bool) -> Case {
        let name = self.entry.name();
        let play = |case: &Self| {
            let outputs = replay::play(g, backend, &case.stages, fuse)?;
            let judge = Judge {
                entry: case.entry,
                tensors: &case.tensors,
                params: &case.params,
                scale: case.scale,
            };
            judge.judge(&outputs)
        };
        match self.checks(play) {
            Ok(checks) => Case::judged(name, "network", checks),
            Err(why) => Case::refused(name, "network", &why),
        }
    }

    fn checks(&self, mut play: impl FnMut(&Self) -> Result<Vec<Check>>) -> Result<Vec<Check>> {
        let mut checks = play(self)?;
        if let Some((dtype, half)) = &self.half {
            let half = play(half)?;
            checks.extend(verdict::in_half(*dtype, &checks, half)?);
        }
        Ok(checks)
    }

    /// Step `step` from the weights called `from`, read as `to` once it is done.
    fn step(&self, pass: &StepGraph, from: &str, to: &str, step: usize) -> Result<PlanRun> {
        let NetworkEntry { batch, batches, .. } = *self.entry;
        let first = step % batches * batch;
        let indices: Vec<u32> = (first..first + batch).map(|i| i as u32).collect();
        let mut run = PlanRun {
            writes: self.weights(from)?,
            reads: Vec::new(),
        };
        run.writes.push((pass.indices, bytes(&indices)));
        run.writes.push((pass.log.cursor, bytes(&[0_u32])));
        let scaling = pass.scaling.map(|t| (t, bytes(&[self.scale, 0.0])));
        run.writes.extend(scaling);
        if self.tensors.has(LOSSES) {
            let name = format!("losses[{step}]");
            run.reads
                .push(Read::new(name, pass.log.loss, Layout::First));
        }
        for p in &self.params {
            self.read(&mut run, &format!("{to}/{}", p.name), p.tensor, layout(p));
        }
        Ok(run)
    }

    /// The evaluation of the images that are not trained on.
    fn evaluation(&self, g: &mut Graph, arch: &Arch, stored: DType) -> Result<replay::Stage> {
        // Nobody asks for the loss of these images, so their labels stay zeros.
        let data = CaseImages::new(g, self.entry, &self.tensors, "eval_images_u8", stored)?;
        let pass = evaluate(g, arch, &data.source, data.count)?;
        let indices: Vec<u32> = (0..data.count as u32).collect();
        let mut run = PlanRun {
            writes: self.weights("after20")?,
            reads: Vec::new(),
        };
        run.writes.extend(data.writes);
        run.writes.push((pass.indices, bytes(&indices)));
        let logits = pass.network.logits;
        self.read(&mut run, "eval_logits_after20", logits, Layout::Activation);
        Ok(replay::Stage {
            nodes: pass.nodes,
            runs: vec![run],
        })
    }

    /// Every parameter and running statistic of the group called `from`.
    fn weights(&self, from: &str) -> Result<Vec<Write>> {
        let file = &self.entry.file;
        for name in self.tensors.names() {
            if let Some(name) = name.strip_prefix(&format!("{from}/")) {
                ensure!(
                    self.params.iter().any(|p| p.name == name),
                    "{file} has {from}/{name}, which the network does not have"
                );
            }
        }
        let value = |p: &Param| {
            let name = format!("{from}/{}", p.name);
            let torch = self.tensors.f32(&name)?;
            ensure!(
                torch.shape == p.torch_shape(),
                "{name} in {file} is {:?}, but the network has {:?}",
                torch.shape,
                p.torch_shape()
            );
            Ok((p.tensor, bytes(&layout(p).to_ours(&torch)?)))
        };
        self.params.iter().map(value).collect()
    }

    /// Whether the file has any tensor of a group.
    fn has(&self, group: &str) -> bool {
        let prefix = format!("{group}/");
        self.tensors.names().iter().any(|n| n.starts_with(&prefix))
    }

    /// Reads a result, if the file says what is wanted.
    fn read(&self, run: &mut PlanRun, name: &str, tensor: TensorId, layout: Layout) {
        if self.tensors.has(&format!("{name}.want")) {
            run.reads.push(Read::new(name, tensor, layout));
        }
    }
}

/// Images of the file as a part of the data set, which keeps their size.
struct CaseImages {
    source: DataTensors,
    count: usize,
    writes: Vec<Write>,
}

impl CaseImages {
    fn new(
        g: &mut Graph,
        entry: &NetworkEntry,
        tensors: &Tensors,
        name: &str,
        stored: DType,
    ) -> Result<CaseImages> {
        let NetworkEntry {
            size, in_channels, ..
        } = *entry;
        let mut images = tensors.u8(name)?;
        if let [n, h, w] = images.shape[..] {
            images.shape = vec![n, 1, h, w];
        }
        let count = images.shape[0];
        ensure!(
            images.shape == [count, in_channels, size, size],
            "{name} in {} is {:?}, but images of {in_channels} channels and {size} pixels are needed",
            entry.file,
            images.shape
        );
        let source = DataTensors {
            stored,
            ..DataTensors::resident(g, name, count, size, in_channels, size)
        };
        let (taps, _) = resize_taps(size, size);
        let images = Layout::Activation.to_ours(&images)?;
        let writes = vec![(source.images, images), (source.taps, bytes(&taps))];
        Ok(CaseImages {
            source,
            count,
            writes,
        })
    }
}

/// The network that an entry describes.
fn arch(entry: &NetworkEntry) -> Result<Arch> {
    let block = match entry.block.as_str() {
        "Basic" => Block::Basic,
        "Bottleneck" => Block::Bottleneck,
        "PreActBasic" => Block::PreActBasic,
        other => bail!("the block {other} is not known"),
    };
    ensure!(
        entry.layers.len() == entry.widths.len(),
        "{} numbers of blocks, but {} widths",
        entry.layers.len(),
        entry.widths.len()
    );
    // A size of nothing, or one beyond all memory, would not get as far as the check of the weights.
    let sizes = [
        ("stem", &[entry.stem][..]),
        ("in_channels", &[entry.in_channels]),
        ("classes", &[entry.classes]),
        ("batch", &[entry.batch]),
        ("batches", &[entry.batches]),
        ("size", &[entry.size]),
        ("layers", &entry.layers),
        ("widths", &entry.widths),
    ];
    for (name, sizes) in sizes {
        for size in sizes {
            let most = if name == "size" { 4096 } else { 65_535 };
            ensure!((1..=most).contains(size), "{name} {size} is not usable");
        }
    }
    let stages = entry.layers.iter().zip(&entry.widths);
    let stages = stages.map(|(&blocks, &width)| Stage { blocks, width });
    Ok(Arch {
        in_channels: entry.in_channels,
        classes: entry.classes,
        stem: entry.stem,
        stages: stages.collect(),
        block,
        conv_bias: entry.conv_bias,
        shortcut_bn: entry.shortcut_bn,
    })
}

/// PyTorch's order of a parameter.
fn layout(p: &Param) -> Layout {
    match p.role {
        Role::ConvWeight | Role::LinearWeight => Layout::Weight,
        _ => Layout::Activation,
    }
}
