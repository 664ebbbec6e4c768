//! Steps in micro-batches: what they add up to, what they cost, and what `auto` takes.
use crate::device;
use crate::training::{devices, narrow, sample};
use anyhow::Result;
use resnet::backend::cpu::Cpu;
use resnet::backend::{Backend, PlanId};
use resnet::config::MicroBatch;
use resnet::data::Dataset;
use resnet::graph::{DType, Graph, TensorId};
use resnet::model::{Arch, initialise};
use resnet::ops::{Tilings, resize_taps};
use resnet::plan::{Limits, Plan, plan};
use resnet::train::{
    Optimizer, Part, Prepared, Session, Source, Spec, micro_batch, passes, refused_to_resume, train,
};
use std::collections::BTreeMap;
use std::path::Path;

pub const BATCH: usize = 8;
pub const SIZE: usize = 32;
const LR: f32 = 0.0625;
/// Of a loss whose gradients are stored as f16.
const SCALE: f32 = 256.0;

const OPTIMIZER: Optimizer = Optimizer {
    momentum: 0.75,
    nesterov: true,
    weight_decay: 0.03125,
};

/// Fourteen images: a batch of eight and a remainder of six.
pub fn few() -> Dataset {
    let mut data = sample();
    let images = &mut data.train;
    images.count = 14;
    images.pixels.truncate(14 * images.size * images.size);
    images.labels.truncate(14);
    data
}

/// Two stages, so that BatchNorm has many values in a pass of two images and rounding stays small.
fn arch() -> Arch {
    let mut arch = narrow();
    arch.stages.truncate(2);
    arch
}

pub fn spec(micro_batch: Option<usize>, fuse: bool) -> Spec {
    Spec {
        arch: arch(),
        batch_size: BATCH,
        micro_batch,
        image_size: SIZE,
        limit_batches: None,
        optimizer: Some(OPTIMIZER),
        fuse,
        stored: DType::F32,
        tilings: Tilings::default(),
    }
}

pub fn session(spec: &Spec, data: &Dataset, backend: Box<dyn Backend>) -> Session {
    let prepared = Prepared::new(spec, data, backend.limits()).unwrap();
    let mut session = Session::open(prepared, data, backend).unwrap();
    for (tensor, values) in initialise(session.params(), 7) {
        session.write(tensor, &values).unwrap();
    }
    session.set_learning_rate(LR).unwrap();
    session
}

/// The state of a run by name, and the mean loss and the right answers of each of its steps.
pub type Outcome = (BTreeMap<String, Vec<f32>>, Vec<(f32, u32)>);

/// The outcome of so many batches of [`few`].
fn steps(micro: Option<usize>, fuse: bool, count: usize, backend: Box<dyn Backend>) -> Outcome {
    outcome(&spec(micro, fuse), &batches()[..count], backend)
}

/// The outcome of these batches of [`few`].
pub fn outcome(spec: &Spec, batches: &[Vec<u32>], backend: Box<dyn Backend>) -> Outcome {
    let mut session = session(spec, &few(), backend);
    let scaling = session.momenta().iter().find(|(n, _)| n == "loss_scale");
    if let Some(&(_, scaling)) = scaling {
        session.write(scaling, &[SCALE, 0.0]).unwrap();
    }
    for batch in batches {
        session.step(Part::Train, batch).unwrap();
    }
    let results = session.results().unwrap();
    let results = results.iter().map(|r| (r.loss, r.correct)).collect();
    let params = session.params().to_vec();
    let params = params.iter().map(|p| (p.name.clone(), p.tensor));
    let states: Vec<_> = params.chain(session.momenta().to_vec()).collect();
    let read = |(name, t): (String, TensorId)| (name, session.read(t).unwrap());
    (states.into_iter().map(read).collect(), results)
}

/// Two epochs of eight and six images.
pub fn batches() -> Vec<Vec<u32>> {
    let ranges = [0..8, 8..14, 6..14, 0..6];
    ranges.map(|r| r.collect()).to_vec()
}

/// The same by hand: whole steps on the micro-batches, whose learning rate is zero, give the gradients;
/// they are weighted, added and applied here. Those of f16 are weighted by the scale of their loss, so that
/// they are rounded as those of one pass among several.
pub fn by_hand(micro: usize, count: usize, stored: DType) -> Outcome {
    let data = few();
    let images = &data.train;
    let mut g = Graph::default();
    let source = Source {
        stored,
        ..Source::new(&mut g, "train", images.count, images.size, 1, SIZE)
    };
    let still = Optimizer {
        momentum: 0.0,
        nesterov: false,
        weight_decay: 0.0,
    };
    let sizes = [2, 4, 6];
    let made = sizes.map(|n| train(&mut g, &arch(), &source, n, still).unwrap());
    let mut cpu = Cpu::new().unwrap();
    let mut plans = BTreeMap::new();
    for pass in made {
        let trained = pass.network.params.iter().filter(|p| p.trainable());
        let keep: Vec<TensorId> = trained.map(|p| pass.gradients[&p.tensor]).collect();
        let plan = plan(&g, pass.nodes.clone(), &keep, Limits::NONE).unwrap();
        plans.insert(pass.batch, (cpu.compile(plan).unwrap(), pass));
    }
    let (taps, _) = resize_taps(images.size, SIZE);
    cpu.write(source.images, &images.pixels).unwrap();
    cpu.write(source.labels, bytemuck::cast_slice(&images.labels))
        .unwrap();
    cpu.write(source.taps, bytemuck::cast_slice(&taps)).unwrap();
    let params = plans[&2].1.network.params.clone();
    for (tensor, values) in initialise(&params, 7) {
        cpu.write(tensor, bytemuck::cast_slice(&values)).unwrap();
    }

    let mut momenta: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    let mut results = Vec::new();
    let mut log = 0;
    for batch in batches().iter().take(count) {
        let mut sums: BTreeMap<TensorId, Vec<f32>> = BTreeMap::new();
        let (mut loss, mut correct) = (0.0, 0);
        for part in passes(batch, Some(micro)) {
            let (id, pass) = &plans[&part.len()];
            let share = part.len() as f32 / batch.len() as f32;
            cpu.write(pass.indices, bytemuck::cast_slice(part)).unwrap();
            let mut weight = share;
            if let Some(scaling) = pass.scaling {
                let scale = [SCALE * share, 0.0];
                cpu.write(scaling, bytemuck::cast_slice(&scale)).unwrap();
                weight = 1.0;
            }
            cpu.run(*id).unwrap();
            for p in params.iter().filter(|p| p.trainable()) {
                let gradient = cpu.read_value(*id, pass.gradients[&p.tensor]).unwrap();
                let sum = sums
                    .entry(p.tensor)
                    .or_insert_with(|| vec![0.0; p.shape.len()]);
                for (sum, g) in sum.iter_mut().zip(device::floats(&gradient)) {
                    *sum += weight * g;
                }
            }
            let words = |bytes: Vec<u8>| -> Vec<u32> { bytemuck::pod_collect_to_vec(&bytes) };
            loss += share * device::floats(&cpu.read(pass.record.loss).unwrap())[log];
            correct += words(cpu.read(pass.record.correct).unwrap())[log];
            log += 1;
        }
        results.push((loss, correct));
        let unscale = if stored == DType::F16 {
            1.0 / SCALE
        } else {
            1.0
        };
        for p in params.iter().filter(|p| p.trainable()) {
            let mut values = device::floats(&cpu.read(p.tensor).unwrap());
            let name = format!("momentum.{}", p.name);
            let m = momenta
                .entry(name)
                .or_insert_with(|| vec![0.0; values.len()]);
            for ((p, m), g) in values.iter_mut().zip(m).zip(&sums[&p.tensor]) {
                let d = g * unscale + OPTIMIZER.weight_decay * *p;
                *m = OPTIMIZER.momentum * *m + d;
                *p -= LR * (d + OPTIMIZER.momentum * *m);
            }
            cpu.write(p.tensor, bytemuck::cast_slice(&values)).unwrap();
        }
    }
    let mut states = momenta;
    if stored == DType::F16 {
        states.insert("loss_scale".to_string(), vec![SCALE, count as f32]);
    }
    for p in params {
        states.insert(p.name, device::floats(&cpu.read(p.tensor).unwrap()));
    }
    (states, results)
}

#[test]
fn an_unfused_step_on_the_cpu_has_the_bits_of_the_sum_by_hand() {
    // The weight of half the batch is a power of two, so that nothing rounds but the sum.
    for stored in [DType::F32, DType::F16] {
        let cpu = Box::new(Cpu::new().unwrap());
        let spec = Spec {
            stored,
            ..spec(Some(4), false)
        };
        let (ours, results) = outcome(&spec, &batches()[..1], cpu);
        let (wanted, by_hand) = by_hand(4, 1, stored);
        assert_eq!(results, by_hand);
        assert_eq!(
            ours.keys().collect::<Vec<_>>(),
            wanted.keys().collect::<Vec<_>>()
        );
        for (name, wanted) in wanted {
            assert_eq!(ours[&name], wanted, "{name}, {stored}");
        }
    }
}

#[test]
fn micro_batches_add_up_to_the_sum_by_hand() {
    let before: BTreeMap<String, Vec<f32>> = steps(None, false, 0, Box::new(Cpu::new().unwrap())).0;
    // A micro-batch of six does the remainder in one pass.
    for micro in [4, 6] {
        let (wanted, by_hand) = by_hand(micro, 4, DType::F32);
        for (device, open) in devices(DType::F32) {
            for fuse in [false, true] {
                let (ours, results) = steps(Some(micro), fuse, 4, open());
                let what = format!("{device}, micro-batch {micro}, fused: {fuse}");
                for ((loss, right), (wanted, wanted_right)) in results.iter().zip(&by_hand) {
                    assert!((loss - wanted).abs() < 1e-3 * wanted, "{what}: {loss}");
                    assert_eq!(right, wanted_right, "{what}");
                }
                for (name, wanted) in &wanted {
                    let moved = wanted.iter().zip(&before[name]).map(|(a, b)| (a - b).abs());
                    let allowed = 2e-3 * moved.fold(0.0, f32::max) + 1e-6;
                    for (a, b) in ours[name].iter().zip(wanted) {
                        assert!((a - b).abs() <= allowed, "{what}: {name} {a}, not {b}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_micro_batch_of_the_whole_batch_changes_no_bit() {
    for (device, open) in devices(DType::F32) {
        let whole = steps(None, true, 4, open());
        assert_eq!(steps(Some(BATCH), true, 4, open()), whole, "{device}");
        assert_ne!(steps(Some(4), true, 4, open()), whole, "{device}");
    }
}

#[test]
fn micro_batches_need_less_memory() {
    let memory = |micro_batch, fuse| {
        let spec = Spec {
            batch_size: 256,
            ..spec(micro_batch, fuse)
        };
        let prepared = Prepared::new(&spec, &sample(), Limits::NONE).unwrap();
        prepared.memory()
    };
    for fuse in [false, true] {
        let whole = memory(None, fuse);
        assert_eq!(memory(Some(256), fuse), whole);
        let (half, eighth) = (memory(Some(128), fuse), memory(Some(32), fuse));
        assert!(half < whole * 3 / 4, "{half} {whole}");
        assert!(eighth < whole / 2, "{eighth} {whole}");
    }
}

#[test]
fn the_log_is_read_before_it_is_full() {
    let data = sample();
    let spec = Spec {
        batch_size: 1200,
        ..spec(Some(2), true)
    };
    let mut session = session(&spec, &data, Box::new(Cpu::new().unwrap()));
    assert!(!session.is_full());
    let indices: Vec<u32> = (0..1200).collect();
    session.step(Part::Train, &indices).unwrap();
    assert!(session.is_full());
    assert_eq!(session.results().unwrap().len(), 1);
    assert!(!session.is_full());
    let spec = Spec {
        batch_size: 2050,
        ..spec
    };
    let mut many = data;
    many.train.count = 2050;
    let error = Prepared::new(&spec, &many, Limits::NONE).err().unwrap();
    assert!(error.to_string().contains("1025 passes"), "{error:#}");
}

/// The CPU with less memory.
struct Small {
    cpu: Cpu,
    memory: u64,
    buffer: u64,
}

impl Backend for Small {
    fn stores_f16(&self) -> bool {
        true
    }

    fn device(&self) -> &str {
        "a small device"
    }
    fn limits(&self) -> Limits {
        Limits::NONE
    }
    fn memory(&self) -> Result<Option<u64>> {
        Ok(Some(self.memory))
    }
    fn scratch(&self, plans: &[&Plan]) -> u64 {
        self.cpu.scratch(plans)
    }
    fn max_buffer(&self) -> u64 {
        self.buffer
    }
    fn memory_used(&self) -> Result<u64> {
        self.cpu.memory_used()
    }
    fn compile(&mut self, plan: Plan) -> Result<PlanId> {
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
    fn read(&mut self, tensor: TensorId) -> Result<Vec<u8>> {
        self.cpu.read(tensor)
    }
    fn read_value(&mut self, plan: PlanId, tensor: TensorId) -> Result<Vec<u8>> {
        self.cpu.read_value(plan, tensor)
    }
    fn wait(&mut self) -> Result<()> {
        self.cpu.wait()
    }
}

#[test]
fn auto_takes_the_largest_part_that_fits() {
    let data = sample();
    let spec = Spec {
        batch_size: 64,
        image_size: 64,
        limit_batches: Some(2),
        ..spec(None, true)
    };
    let needed = |micro_batch| {
        let spec = Spec {
            micro_batch,
            ..spec.clone()
        };
        let prepared = Prepared::new(&spec, &data, Limits::NONE).unwrap();
        (prepared.memory(), prepared.largest_buffer())
    };
    let small = |memory, buffer| {
        let cpu = Cpu::new().unwrap();
        Small {
            cpu,
            memory,
            buffer,
        }
    };
    let auto = |small: &Small| {
        let auto = Some(MicroBatch::Auto);
        micro_batch(auto, &spec, &data, small).unwrap()
    };
    let (whole, buffer) = needed(None);
    let (half, _) = needed(Some(32));
    let (quarter, _) = needed(Some(16));
    assert_eq!(auto(&small(whole, u64::MAX)), Some(64));
    assert_eq!(auto(&small(whole - 1, u64::MAX)), Some(32));
    assert_eq!(auto(&small(half, u64::MAX)), Some(32));
    assert_eq!(auto(&small(half - 1, u64::MAX)), Some(16));
    assert_eq!(auto(&small(quarter, u64::MAX)), Some(16));
    assert_eq!(auto(&small(whole, buffer)), Some(64));
    assert_eq!(auto(&small(whole, buffer - 1)), Some(32));

    let refused = |small: &Small| {
        let prepared = Prepared::new(&spec, &data, Limits::NONE).unwrap();
        let error = prepared.check_memory(&spec, &data, small).unwrap_err();
        error.to_string()
    };
    let said = refused(&small(half, u64::MAX));
    assert!(said.contains("a small device has"), "{said}");
    assert!(said.contains("--micro-batch 32"), "{said}");
    assert!(said.contains("--batch-size 3"), "{said}");
    let said = refused(&small(whole, buffer - 1));
    assert!(said.contains("a small device allows"), "{said}");
    assert!(said.contains("--micro-batch"), "{said}");
    let said = refused(&small(1 << 10, u64::MAX));
    assert!(said.contains("no batch size would fit"), "{said}");
    // What fits not at all is refused as it stands.
    assert_eq!(auto(&small(1 << 10, u64::MAX)), Some(64));
}

#[test]
fn what_the_cpu_takes_to_widen_f16_counts() {
    let data = sample();
    let spec = Spec {
        batch_size: 64,
        limit_batches: Some(2),
        stored: DType::F16,
        ..spec(None, true)
    };
    let prepared = Prepared::new(&spec, &data, Limits::NONE).unwrap();
    let fits = |memory| {
        let cpu = Cpu::new().unwrap();
        let small = Small {
            cpu,
            memory,
            buffer: u64::MAX,
        };
        prepared.check_memory(&spec, &data, &small).is_ok()
    };
    // The gradient of the stem's pooling is 64 × 16 × 16 × 8, and made from a tensor as large and a small one.
    let both = 2 * 4 * 64 * 16 * 16 * 8;
    assert!(!fits(prepared.memory() + both));
    assert!(fits(prepared.memory() + 2 * both));
}

#[test]
fn a_run_that_does_not_fit_is_not_told_to_resume_with_other_settings() {
    let refusal =
        anyhow::anyhow!("batch size 8 needs 2 MiB, but there is 1: --batch-size 4 would fit");
    let said = refused_to_resume(&refusal, Path::new("runs/001/weights.safetensors")).to_string();
    for word in [
        "batch size 8 needs 2 MiB",
        "a resumed run keeps its settings",
        "--device",
        "resnet train --init runs/001/weights.safetensors",
    ] {
        assert!(said.contains(word), "{said}");
    }
}
