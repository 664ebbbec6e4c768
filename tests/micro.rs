//! Steps in micro-batches: what they add up to.
use crate::device;
use crate::small::{BATCH, LR, MOMENTUM, OPTIMIZER, SIZE, arch, few, session, spec};
use crate::training::devices;
use resnet::backend::Backend;
use resnet::backend::cpu::Cpu;
use resnet::data::Preprocess;
use resnet::graph::{Graph, TensorId};
use resnet::model::initialise;
use resnet::ops::resize_taps;
use resnet::plan::{Limits, plan};
use resnet::tensor::DType;
use resnet::train::{DataTensors, Optimizer, SessionSpec, passes, train};
use std::collections::BTreeMap;

/// Of a loss whose gradients are stored as f16.
const SCALE: f32 = 256.0;

/// The state of a run by name, and the mean loss and the right answers of each of its steps.
pub type Outcome = (BTreeMap<String, Vec<f32>>, Vec<(f32, u32)>);

/// The outcome of so many batches of [`few`].
fn steps(micro: Option<usize>, fuse: bool, count: usize, backend: Box<dyn Backend>) -> Outcome {
    outcome(&spec(micro, fuse), &batches()[..count], backend)
}

/// The outcome of these batches of [`few`].
pub fn outcome(spec: &SessionSpec, batches: &[Vec<u32>], backend: Box<dyn Backend>) -> Outcome {
    let mut session = session(spec, &few(), backend);
    let scaling = session
        .optimizer_state()
        .iter()
        .find(|(n, _)| n == "loss_scale");
    if let Some(&(_, scaling)) = scaling {
        session.write(scaling, &[SCALE, 0.0]).unwrap();
    }
    for batch in batches {
        session.train(batch).unwrap();
    }
    let results = session.results().unwrap();
    let results = results.iter().map(|r| (r.loss, r.correct)).collect();
    let params = session.params().to_vec();
    let params = params.iter().map(|p| (p.name.clone(), p.tensor));
    let states: Vec<_> = params.chain(session.optimizer_state().to_vec()).collect();
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
    let mut momenta: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    let (mut states, results) = sums_by_hand(micro, count, stored, |name, values, sums| {
        let m = momenta
            .entry(format!("momentum.{name}"))
            .or_insert_with(|| vec![0.0; values.len()]);
        for ((p, m), g) in values.iter_mut().zip(m).zip(sums) {
            let d = g + OPTIMIZER.weight_decay * *p;
            *m = MOMENTUM * *m + d;
            *p -= LR * (d + MOMENTUM * *m);
        }
    });
    states.extend(momenta);
    if stored == DType::F16 {
        states.insert("loss_scale".to_string(), vec![SCALE, count as f32]);
    }
    (states, results)
}

/// The same with another update: it is given a parameter's name, its values and its gradient.
pub fn sums_by_hand(
    micro: usize,
    count: usize,
    stored: DType,
    mut update: impl FnMut(&str, &mut [f32], &[f32]),
) -> Outcome {
    let data = few();
    let images = &data.train;
    let mut g = Graph::default();
    let source = DataTensors {
        stored,
        ..DataTensors::resident(
            &mut g,
            "train",
            images.labels.len(),
            data.info.size,
            1,
            &Preprocess::of_size(SIZE),
        )
    };
    let still = Optimizer::sgd(0.0, false, 0.0);
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
    let (taps, _) = resize_taps(data.info.size, SIZE);
    cpu.write(source.images, &images.pixels).unwrap();
    cpu.write(source.labels, bytemuck::cast_slice(&images.labels))
        .unwrap();
    cpu.write(source.taps, bytemuck::cast_slice(&taps)).unwrap();
    let params = plans[&2].1.network.params.clone();
    for (tensor, values) in initialise(&params, 7) {
        cpu.write(tensor, bytemuck::cast_slice(&values)).unwrap();
    }

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
            loss += share * device::floats(&cpu.read(pass.log.loss).unwrap())[log];
            correct += words(cpu.read(pass.log.correct).unwrap())[log];
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
            let sum: Vec<f32> = sums[&p.tensor].iter().map(|g| g * unscale).collect();
            update(&p.name, &mut values, &sum);
            cpu.write(p.tensor, bytemuck::cast_slice(&values)).unwrap();
        }
    }
    let mut states = BTreeMap::new();
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
        let spec = SessionSpec {
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
