//! Cases of whole networks: the training and evaluation steps that `resnet train` runs, on given weights.
mod noise;
mod shake;
#[cfg(test)]
mod tests;
mod verdict;

use super::{
    golden::{Set, Tensors},
    judge::{Case, Check, roundoff},
    layout::Layout,
    manifest::NetworkEntry,
    replay::{self, Outputs, PlanRun, Read, Write, bytes},
};
use crate::backend::Backend;
use crate::data::Preprocess;
use crate::graph::{Graph, TensorId};
use crate::model::{Arch, Block, Param, Role, Stage};
use crate::ops::{first_scale, resize_taps};
use crate::tensor::DType;
use crate::train::{DataTensors, Optimizer, StepGraph, evaluate, learning_rate, train};
use anyhow::{Result, bail, ensure};
use shake::Shake;
use std::collections::BTreeMap;
use verdict::{Judge, LOSSES};

/// A case of a network, ready to run.
pub struct NetworkCase<'a> {
    entry: &'a NetworkEntry,
    tensors: Tensors<'a>,
    params: Vec<Param>,
    /// What the gradients are multiplied by.
    scale: f32,
    stages: Vec<replay::Stage>,
    /// The unit roundoff of what is coarser than f32 in it; 0 for nothing.
    coarse: f64,
    /// The same with images stored as f16 or bfloat16.
    half: Option<(DType, Box<NetworkCase<'a>>)>,
}

impl<'a> NetworkCase<'a> {
    /// Appends the case to the graph, under names that begin with `scope`. The device rounds factors of products by a
    /// relative `factors`.
    ///
    /// # Errors
    /// When the network is not known here, or a tensor is missing or does not fit.
    pub fn build(
        g: &mut Graph,
        set: &'a Set,
        entry: &'a NetworkEntry,
        scope: &str,
        stored: DType,
        factors: f64,
    ) -> Result<NetworkCase<'a>> {
        g.set_scope(scope);
        let mut case = NetworkCase::steps(g, set, entry, DType::F32)?;
        // Both factors of a product are rounded, where a change is of the weights alone.
        let products = 2.0 * factors;
        case.coarse = products;
        case.shake(products)?;
        if stored != DType::F32 {
            g.set_scope(format!("{scope}stored/"));
            let mut half = NetworkCase::steps(g, set, entry, stored)?;
            half.coarse = roundoff(stored) + products;
            case.shake(half.coarse)?;
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
            coarse: 0.0,
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
        let play = |case: &Self| replay::play(g, backend, &case.stages, fuse);
        match self.checks(play) {
            Ok(checks) => Case::judged(name, "network", checks),
            Err(why) => Case::refused(name, "network", &why),
        }
    }

    fn checks(&self, mut play: impl FnMut(&Self) -> Result<Outputs>) -> Result<Vec<Check>> {
        let single = play(self)?;
        let mut checks = self.judge(self, &single)?.judge(&single)?;
        if let Some((dtype, half)) = &self.half {
            let outputs = play(half)?;
            let half = half.judge(self, &single)?.judge(&outputs)?;
            checks.extend(half.into_iter().map(|check| Check {
                tensor: format!("{} in {dtype}", check.tensor),
                ..check
            }));
        }
        Ok(checks)
    }

    /// What judges this case. What the case in f32 gave tells how far coarser arithmetic may move its results.
    fn judge(&self, in_f32: &NetworkCase, single: &Outputs) -> Result<Judge<'_>> {
        let mut judge = self.judge_exactly();
        judge.coarse = noise::noise(&in_f32.judge_exactly(), single, self.coarse)?;
        Ok(judge)
    }

    fn judge_exactly(&self) -> Judge<'_> {
        Judge {
            entry: self.entry,
            tensors: &self.tensors,
            params: &self.params,
            scale: self.scale,
            roundoff: self.coarse,
            coarse: BTreeMap::new(),
        }
    }

    /// Appends to every stage its runs with changed weights.
    fn shake(&mut self, by: f64) -> Result<()> {
        let mut stages = std::mem::take(&mut self.stages);
        for (s, stage) in stages.iter_mut().enumerate() {
            let groups: &[&str] = if s == 0 {
                &["init", "ckpt4"]
            } else {
                &["after20"]
            };
            // Without the runs of other changes.
            let shaken = |run: &&PlanRun| run.reads.iter().any(|r| shake::is_shaken(&r.name));
            let runs: Vec<PlanRun> = stage
                .runs
                .iter()
                .filter(|run| !shaken(run))
                .cloned()
                .collect();
            for shake in Shake::all(by) {
                for (run, group) in runs.iter().zip(groups) {
                    let mut run = run.clone();
                    let weights = self.weights(group, Some(shake))?;
                    run.writes
                        .retain(|(t, _)| weights.iter().all(|(w, _)| w != t));
                    run.writes.extend(weights);
                    for read in &mut run.reads {
                        read.name = shake.name(&read.name);
                    }
                    stage.runs.push(run);
                }
            }
        }
        self.stages = stages;
        Ok(())
    }

    /// Step `step` from the weights called `from`, read as `to` once it is done.
    fn step(&self, pass: &StepGraph, from: &str, to: &str, step: usize) -> Result<PlanRun> {
        let NetworkEntry { batch, batches, .. } = *self.entry;
        let first = step % batches * batch;
        let indices: Vec<u32> = (first..first + batch).map(|i| i as u32).collect();
        let mut run = PlanRun {
            writes: self.weights(from, None)?,
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
            writes: self.weights("after20", None)?,
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

    /// Every parameter and running statistic of the group called `from`, the parameters changed if `shake` says so.
    fn weights(&self, from: &str, shake: Option<Shake>) -> Result<Vec<Write>> {
        let file = &self.entry.file;
        for name in self.tensors.names() {
            if let Some(name) = name.strip_prefix(&format!("{from}/")) {
                ensure!(
                    self.params.iter().any(|p| p.name == name),
                    "{file} has {from}/{name}, which the network does not have"
                );
            }
        }
        let value = |(number, p): (usize, &Param)| {
            let name = format!("{from}/{}", p.name);
            let mut torch = self.tensors.f32(&name)?;
            ensure!(
                torch.shape == p.torch_shape(),
                "{name} in {file} is {:?}, but the network has {:?}",
                torch.shape,
                p.torch_shape()
            );
            if let (Some(shake), true) = (shake, p.trainable()) {
                shake.apply(number, &mut torch.data);
            }
            Ok((p.tensor, bytes(&layout(p).to_ours(&torch)?)))
        };
        self.params.iter().enumerate().map(value).collect()
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
            ..DataTensors::resident(
                g,
                name,
                count,
                size,
                in_channels,
                &Preprocess::of_size(size),
            )
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
        "PreActBottleneck" => Block::PreActBottleneck,
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
        stem_kind: entry.stem_kind,
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
