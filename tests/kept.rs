//! Weights that the CPU keeps prepared from run to run: the same bits as without, whatever is written in between.
use crate::device::floats;
use crate::training::{narrow, resnet18, sample};
use resnet::backend::Backend;
use resnet::backend::cpu::Cpu;
use resnet::data::{Preprocess, Split};
use resnet::graph::Graph;
use resnet::kernels::Window;
use resnet::kernels::precision::{Matmul, Unit};
use resnet::model::{Arch, initialise};
use resnet::ops::Fill;
use resnet::ops::tuning::TuningTable;
use resnet::plan::{Limits, plan};
use resnet::tensor::{DType, Shape, TensorDesc};
use resnet::train::{Feed, Optimizer, Program, Session, SessionSpec, StepPlans};
use std::num::NonZeroUsize;
use std::sync::Arc;

const EVALUATION: Option<Optimizer> = None;

const TRAINING: Option<Optimizer> = Some(Optimizer::sgd(0.9, false, 0.0));

fn spec(arch: Arch, batch_size: usize, optimizer: Option<Optimizer>) -> SessionSpec {
    SessionSpec {
        arch,
        batch_size,
        micro_batch: None,
        preprocess: Preprocess::of_size(32),
        feed: Feed::Resident,
        augmentation: None,
        views: false,
        limit_batches: Some(1),
        optimizer,
        fuse: true,
        stored: DType::F32,
        tilings: TuningTable::default(),
    }
}

fn session(spec: &SessionSpec, threads: usize, matmul: Matmul) -> Session {
    let (data, cpu) = (sample(), Cpu::open(NonZeroUsize::new(threads), matmul));
    let prepared = StepPlans::new(spec, &data, Limits::NONE).unwrap();
    let mut session = Session::open(prepared, Arc::new(data), Box::new(cpu.unwrap())).unwrap();
    for (tensor, values) in initialise(session.params(), 7) {
        session.write(tensor, &values).unwrap();
    }
    session
}

/// The bits of the logits of the first test images.
fn logits(session: &mut Session, batch: usize) -> Vec<u32> {
    let indices: Vec<u32> = (0..batch as u32).collect();
    session.evaluate(Split::Test, &indices).unwrap();
    session.results().unwrap();
    let logits = session.logits().unwrap();
    logits.into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_kept_weight_changes_no_bit_and_follows_the_written_one() {
    let bf16 = |unit| Matmul::Bf16 { terms: 2, unit };
    let units = [Unit::Scalar, Unit::Avx512].map(|unit| unit.if_there().map(bf16));
    for matmul in units.into_iter().flatten().chain([Matmul::F32]) {
        // A batch by the definition, and one that is large enough for tiles.
        for batch in [2, 4] {
            // A session that trains keeps nothing; more threads than images share an image.
            let mut anew = session(&spec(narrow(), batch, TRAINING), 1, matmul);
            let mut kept = session(&spec(narrow(), batch, EVALUATION), 7, matmul);
            let first = logits(&mut anew, batch);
            for run in 0..2 {
                assert_eq!(logits(&mut kept, batch), first, "run {run}, {matmul:?}");
            }
            anew.set_learning_rate(0.1).unwrap();
            let indices: Vec<u32> = (0..batch as u32).collect();
            anew.train(&indices).unwrap();
            anew.results().unwrap();
            let trained = anew.params().to_vec();
            for (from, to) in trained.iter().zip(kept.params().to_vec()) {
                let values = anew.read(from.tensor).unwrap();
                kept.write(to.tensor, &values).unwrap();
            }
            let second = logits(&mut anew, batch);
            assert_ne!(first, second);
            assert_eq!(logits(&mut kept, batch), second, "written, {matmul:?}");
        }
    }
}

#[test]
fn a_plan_that_writes_a_weight_ends_its_keeping() {
    let (x_shape, w_shape) = (Shape([1, 4, 4, 32]), Shape([3, 3, 32, 32]));
    let window = Window {
        kernel: 3,
        stride: 1,
        pad: 1,
    };
    let mut g = Graph::default();
    let x = g.input("x", TensorDesc::f32(x_shape));
    let w = g.state("w", TensorDesc::f32(w_shape));
    let y = g.conv2d(x, w, None, window).unwrap();
    let convolution = 0..g.nodes().len();
    let (value, shape) = (2.0, w_shape);
    g.push_update(Fill { value, shape }, &[], &[w]).unwrap();
    let update = convolution.end..g.nodes().len();

    let mut cpu = Cpu::new().unwrap();
    let convolve = plan(&g, convolution, &[y], Limits::NONE).unwrap();
    assert!(cpu.scratch(&[&convolve]) >= 4 * w_shape.len() as u64);
    let convolve = cpu.compile(convolve).unwrap();
    for (tensor, shape) in [(x, x_shape), (w, w_shape)] {
        let ones = vec![1.0_f32; shape.len()];
        cpu.write(tensor, bytemuck::cast_slice(&ones)).unwrap();
    }
    let run = |cpu: &mut Cpu| {
        cpu.run(convolve).unwrap();
        floats(&cpu.read_value(convolve, y).unwrap())
    };
    let by_ones = run(&mut cpu);
    assert_eq!(by_ones[0], 4.0 * 32.0);
    let update = plan(&g, update, &[], Limits::NONE).unwrap();
    let update = cpu.compile(update).unwrap();
    for _ in 0..2 {
        cpu.run(update).unwrap();
        let by_twos: Vec<f32> = by_ones.iter().map(|y| 2.0 * y).collect();
        assert_eq!(run(&mut cpu), by_twos);
    }
}

#[test]
fn what_is_kept_is_in_the_estimate_and_only_where_it_pays() {
    let (cpu, data) = (Cpu::new().unwrap(), sample());
    let kept = |batch, optimizer| {
        let spec = SessionSpec {
            preprocess: Preprocess::of_size(96),
            ..spec(resnet18(1), batch, optimizer)
        };
        let prepared = StepPlans::new(&spec, &data, Limits::NONE).unwrap();
        let runs = [Program::Train, Program::Evaluate].map(|program| prepared.runs(program));
        cpu.scratch(&runs.concat())
    };
    // 11.2 million parameters, nearly all of them in convolutions.
    assert!(kept(2, EVALUATION) > 4 * 11_000_000);
    assert_eq!(kept(2, TRAINING), 0);
    assert_eq!(kept(256, EVALUATION), 0);
}
