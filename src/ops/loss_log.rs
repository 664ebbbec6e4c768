//! The log of losses on the device: each step leaves its mean loss and its count of right answers
//! in a ring, so that the host need not wait for every step to know them.
use super::wgsl::wgsl;
use super::{Launch, OpDef, Shader, View, ViewMut, arity};
use crate::graph::{Graph, TensorId};
use crate::kernels::CpuContext;
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, ensure};

/// Steps that the ring of [`Graph::log_loss`] holds. A host that reads it at least this often misses none.
pub const LOSS_LOG_CAPACITY: usize = 1024;

/// `[losses: N×1×1×1, correct: N×1×1×1]`, states `[cursor: 1×1×1×1, loss: 1×1×1×capacity,
/// correct: 1×1×1×capacity]`: writes `mean(losses)` and `Σ correct` at `cursor mod capacity`, then
/// adds 1 to the cursor.
#[derive(Clone, PartialEq, Debug)]
pub struct LossLog {
    /// Slots of the ring.
    pub capacity: usize,
}

/// The states of [`LossLog`]. The step that was `k`-th to be recorded, from 0, is in slot
/// `k mod LOSS_LOG_CAPACITY`, as long as `cursor ≤ k + LOSS_LOG_CAPACITY`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LossLogStates {
    /// `loss_log.cursor`: how many steps have been recorded, u32.
    pub cursor: TensorId,
    /// `loss_log.loss`: mean loss of each step, f32.
    pub loss: TensorId,
    /// `loss_log.correct`: number of right answers of each step, u32.
    pub correct: TensorId,
}

impl Graph {
    /// Records the outputs of [`Graph::cross_entropy`] in the ring, of which a graph has one.
    ///
    /// # Errors
    /// When the inputs are not one f32 and one u32 per example.
    pub fn log_loss(&mut self, losses: TensorId, correct: TensorId) -> Result<LossLogStates> {
        let ring = Shape::channels(LOSS_LOG_CAPACITY);
        let states = LossLogStates {
            cursor: self.state("loss_log.cursor", TensorDesc::u32(Shape::channels(1))),
            loss: self.state("loss_log.loss", TensorDesc::f32(ring)),
            correct: self.state("loss_log.correct", TensorDesc::u32(ring)),
        };
        let op = LossLog {
            capacity: LOSS_LOG_CAPACITY,
        };
        let updated = [states.cursor, states.loss, states.correct];
        self.push_update(op, &[losses, correct], &updated)?;
        Ok(states)
    }
}

impl OpDef for LossLog {
    fn name(&self) -> &'static str {
        "loss_log"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [losses, correct] = arity(inputs)?;
        let examples = Shape::examples(losses.shape.n());
        ensure!(
            losses == TensorDesc::f32(examples) && correct == TensorDesc::u32(examples),
            "losses {losses} and right answers {correct} are not one f32 and one u32 per example"
        );
        let ring = Shape::channels(self.capacity);
        Ok(vec![
            TensorDesc::u32(Shape::channels(1)),
            TensorDesc::f32(ring),
            TensorDesc::u32(ring),
        ])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let (losses, correct) = (inputs[0].f32(), inputs[1].u32());
        let [cursor, loss_ring, correct_ring] = outputs else {
            unreachable!("three states are inferred");
        };
        let cursor = &mut cursor.u32()[0];
        let slot = *cursor as usize % self.capacity;
        let sum: f64 = losses.iter().map(|&loss| f64::from(loss)).sum();
        loss_ring.f32()[slot] = (sum / losses.len() as f64) as f32;
        correct_ring.u32()[slot] = correct.iter().sum();
        *cursor = cursor.wrapping_add(1);
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let params = vec![inputs[0].shape.n() as u32, self.capacity as u32];
        Launch::new(Shader::Plain(wgsl!("loss_log")), "forward", params, 1)
    }

    fn flops(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> u64 {
        inputs[0].shape.len() as u64
    }
}
