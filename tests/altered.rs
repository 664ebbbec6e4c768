//! The CPU, but for what a test changes of it.
use anyhow::Result;
use resnet::backend::cpu::Cpu;
use resnet::backend::{Backend, PlanId};
use resnet::graph::TensorId;
use resnet::plan::{Limits, Plan};
use resnet::tensor::DType;
use std::collections::HashSet;

/// A backend that stands for another; the default is the CPU under its own name.
pub struct Altered {
    pub name: Option<&'static str>,
    /// Bytes of memory that it has.
    pub memory: Option<u64>,
    /// The most bytes of one buffer.
    pub max_buffer: Option<u64>,
    /// Bits of the low byte of a value in f16 that it keeps.
    pub kept_bits: u8,
    pub cpu: Cpu,
    /// The values in f16.
    pub half: HashSet<TensorId>,
}

impl Default for Altered {
    fn default() -> Altered {
        Altered {
            name: None,
            memory: None,
            max_buffer: None,
            kept_bits: 0xff,
            cpu: Cpu::new().unwrap(),
            half: HashSet::new(),
        }
    }
}

impl Backend for Altered {
    fn device(&self) -> &str {
        self.name.unwrap_or(self.cpu.device())
    }
    fn limits(&self) -> Limits {
        self.cpu.limits()
    }
    fn stores_f16(&self) -> bool {
        self.cpu.stores_f16()
    }
    fn memory(&self) -> Result<Option<u64>> {
        match self.memory {
            None => self.cpu.memory(),
            memory => Ok(memory),
        }
    }
    fn scratch(&self, plans: &[&Plan]) -> u64 {
        self.cpu.scratch(plans)
    }
    fn max_buffer(&self) -> u64 {
        self.max_buffer.unwrap_or(self.cpu.max_buffer())
    }
    fn memory_used(&self) -> Result<u64> {
        self.cpu.memory_used()
    }
    fn compile(&mut self, plan: Plan) -> Result<PlanId> {
        let made = plan.dispatches.iter().flat_map(|d| &d.outputs);
        let half = made.filter(|b| b.desc.dtype == DType::F16);
        self.half.extend(half.map(|b| b.tensor));
        self.cpu.compile(plan)
    }
    fn run(&mut self, plan: PlanId) -> Result<()> {
        self.cpu.run(plan)
    }
    fn profile(&mut self, plan: PlanId) -> Result<Vec<f64>> {
        self.cpu.profile(plan)
    }
    fn write(&mut self, tensor: TensorId, bytes: &[u8]) -> Result<()> {
        self.cpu.write(tensor, bytes)
    }
    fn write_part(&mut self, tensor: TensorId, offset: usize, bytes: &[u8]) -> Result<()> {
        self.cpu.write_part(tensor, offset, bytes)
    }
    fn read(&mut self, tensor: TensorId) -> Result<Vec<u8>> {
        self.cpu.read(tensor)
    }
    fn read_value(&mut self, plan: PlanId, tensor: TensorId) -> Result<Vec<u8>> {
        let mut bytes = self.cpu.read_value(plan, tensor)?;
        if self.half.contains(&tensor) {
            bytes
                .iter_mut()
                .step_by(2)
                .for_each(|low| *low &= self.kept_bits);
        }
        Ok(bytes)
    }
    fn wait(&mut self) -> Result<()> {
        self.cpu.wait()
    }
}
