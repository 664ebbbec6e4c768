//! Which convolutions a training step has, and their tuning before the session is opened.
use super::step_plans::{Program, SessionSpec, StepPlans};
use crate::backend::{Backend, Tuned};
use crate::data::ImageSource;
use crate::graph::TensorId;
use crate::ops::tuning::Convolution;
use crate::tensor::TensorDesc;
use anyhow::Result;
use std::cmp::Reverse;
use std::collections::BTreeMap;

impl StepPlans {
    /// Times the convolutions on the device and plans with the fastest tilings. Returns a word for the user where
    /// there was something to do.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn tune(
        &mut self,
        source: &dyn ImageSource,
        backend: &mut dyn Backend,
    ) -> Result<Option<String>> {
        let found = backend.tune(&self.convolutions(), self.memory())?;
        let Some(Tuned { tilings, mut note }) = found else {
            return Ok(None);
        };
        let tuned = SessionSpec {
            tilings,
            ..self.spec.clone()
        };
        // More splits of a gradient need more memory.
        let fitting = StepPlans::new(&tuned, source, backend.limits()).and_then(|plans| {
            plans.check_memory(source, backend)?;
            Ok(plans)
        });
        match fitting {
            Ok(plans) => *self = plans,
            Err(_) => note += "\nthe tuned tile sizes need too much memory; using the defaults",
        }
        Ok(Some(note))
    }

    /// The different convolutions of a full batch's training step, those first on which it spends most
    /// operations.
    pub fn convolutions(&self) -> Vec<Convolution> {
        let mut all: BTreeMap<String, (u64, Convolution)> = BTreeMap::new();
        for step in self.passes(Program::Train) {
            let nodes = &self.graph.nodes()[step.pass.nodes.clone()];
            for node in self.graph.live(nodes, &[step.pass.network.logits]) {
                let descs = |ts: &[TensorId]| -> Vec<TensorDesc> {
                    ts.iter().map(|&t| self.graph.desc(t)).collect()
                };
                let (op, inputs) = (node.op.clone(), descs(&node.inputs));
                let flops = op.def().flops(&inputs, &descs(&node.outputs));
                let convolution = Convolution { op, inputs };
                if let Some(key) = convolution.key() {
                    all.entry(key).or_insert((0, convolution)).0 += flops;
                }
            }
        }
        let mut all: Vec<(u64, Convolution)> = all.into_values().collect();
        all.sort_by_key(|(flops, _)| Reverse(*flops));
        all.into_iter()
            .map(|(_, convolution)| convolution)
            .collect()
    }
}
